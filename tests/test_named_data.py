"""Sets of torchvision by name: read from disk in torchvision's own format, never downloaded."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from gatekeeper.config import find_config
from gatekeeper.data import read_images
from gatekeeper.errors import DataError
from gatekeeper.model import Images
from gatekeeper.records import InputSpec

GREY = InputSpec(size=(1, 32, 32), mean=(0.0,), std=(1.0,))


def lay_out_mnist(root: Path, images: Images) -> str:
    """Write `images` as the test part of MNIST, in its own file format."""
    folder = root / "MNIST/raw"
    folder.mkdir(parents=True)
    pixels = images.pixels[:, 0, 2:30, 2:30].numpy()  # (N, 28, 28)
    labels = images.labels.numpy().astype(np.uint8)
    for part in ("train", "t10k"):
        header = struct.pack(">IIII", 2051, *pixels.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = struct.pack(">II", 2049, len(labels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return f"torchvision:MNIST:{root}"


def test_a_set_is_read_from_disk(tmp_path: Path, held_out: Images) -> None:
    source = lay_out_mnist(tmp_path / "here", held_out)
    images, digest = read_images(source, GREY)
    assert images.pixels.shape == (len(held_out), 1, 32, 32)
    assert torch.equal(images.labels, held_out.labels)
    assert images.classes[3] == "3 - three"
    assert read_images(source, GREY)[1] == digest
    few = lay_out_mnist(tmp_path / "there", held_out.select(torch.arange(50)))
    assert read_images(few, GREY)[1] != digest
    named = tuple("abcdefghij")
    assert read_images(few, GREY, classes=named)[0].classes == named


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("torchvision:MNIST:{0}/nowhere", "MNIST is not in"),
        ("torchvision:CIFAR10:{0}", "CIFAR10 is not in"),
        ("torchvision:VisionDataset:{0}", "names no set of images"),
        ("torchvision:MNIST", "names no set of images"),
    ],
)
def test_what_is_not_there_is_not_fetched(source: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told) as refused:
        read_images(source.format(tmp_path), GREY)
    assert refused.value.hint
    assert not any(tmp_path.iterdir())


def test_a_card_of_other_classes_is_refused(tmp_path: Path, held_out: Images) -> None:
    source = lay_out_mnist(tmp_path, held_out.select(torch.arange(50)))
    with pytest.raises(DataError, match="10 classes, the card names 2"):
        read_images(source, GREY, classes=("a", "b"))


def test_the_configuration_finds_it_beside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gatekeeper.yaml").write_text("data: torchvision:MNIST:sets\n", encoding="utf-8")
    monkeypatch.delenv("GATEKEEPER_CONFIG", raising=False)
    assert str(find_config(tmp_path).data) == f"torchvision:MNIST:{tmp_path / 'sets'}"
