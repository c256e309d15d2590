"""Images written the way that `read_images` reads them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from gatekeeper.model import Images


def write_folders(images: Images, root: Path) -> None:
    """Write one PNG an image into `root/CLASS/NUMBER.png`, without loss; every class has a folder.

    Raises:
        OSError: the folder cannot be written.
    """
    for name in images.classes:
        (root / name).mkdir(parents=True, exist_ok=True)
    for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        folder = root / images.classes[int(label)]
        array = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
        Image.fromarray(array.contiguous().numpy()).save(folder / f"{number:05}.png")
