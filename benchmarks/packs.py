"""Image sets as archives: unpacked once, and kept as arrays that open in a second."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

import numpy as np

from gatekeeper.data import read_images

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "packs"


def opened(root: Path) -> Path:
    """Give a folder with train and test, unpacking `root.tar.gz` where `root` is not there.

    Raises:
        SystemExit: neither is there.
    """
    if root.is_dir():
        return root
    archive = root.with_name(f"{root.name}.tar.gz")
    kept = CACHE / root.name
    if all((kept / f"{part}.npz").exists() for part in ("train", "test")):
        return kept
    if not archive.exists():
        message = (
            f"neither {root} nor {archive} is there; nothing is downloaded. "
            "Give --data FOLDER with train/CLASS/* and test/CLASS/*."
        )
        raise SystemExit(message)
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch, tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
        for part in ("train", "test"):
            images, _ = read_images(Path(scratch) / root.name / part, None)
            partial = kept / f"{part}.partial.npz"
            pixels = images.pixels.permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
            np.savez(partial, images=pixels, labels=images.labels.numpy())
            partial.rename(kept / f"{part}.npz")
    return kept
