"""Clean images are read whole, or refused with a reason that names what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gatekeeper.data import read_images
from gatekeeper.errors import DataError
from gatekeeper.records import InputSpec

GREY = InputSpec(size=(1, 8, 8), mean=(0.0,), std=(1.0,))
COLOUR = InputSpec(size=(3, 8, 12), mean=(0.0,) * 3, std=(1.0,) * 3)


def folders(root: Path, counts: dict[str, int], *, mode: str = "L", size: int = 8) -> Path:
    """Images of seeded noise in class folders."""
    chance = np.random.default_rng(0)
    shape = (size, size) if mode == "L" else (size, size, 3)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            noise = chance.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{index}.png")
    return root


def archive(path: Path, *, images: object = None, labels: object = None) -> Path:
    pixels = np.zeros((4, 8, 8), dtype=np.uint8) if images is None else images
    answers = np.array([0, 1, 0, 1]) if labels is None else labels
    np.savez(path, images=np.asarray(pixels), labels=np.asarray(answers))
    return path


def refusal(path: Path, spec: InputSpec | None = GREY, **more: tuple[str, ...]) -> str:
    with pytest.raises(DataError) as refused:
        read_images(path, spec, **more)
    assert refused.value.exit_code == 2
    assert refused.value.hint
    return str(refused.value)


def test_class_folders_are_classes_in_order(tmp_path: Path) -> None:
    images, digest = read_images(folders(tmp_path, {"b": 2, "a": 3, "10": 1}), GREY)
    assert images.classes == ("10", "a", "b")
    assert images.labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert images.pixels.shape == (6, 1, 8, 8)
    assert images.pixels.dtype == torch.uint8
    assert len(digest) == 64


def test_the_cards_order_of_classes_counts(tmp_path: Path) -> None:
    images, _ = read_images(folders(tmp_path, {"a": 1, "b": 2}), GREY, classes=("b", "a"))
    assert images.classes == ("b", "a")
    assert images.labels.tolist() == [1, 0, 0]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("spec", [GREY, COLOUR])
def test_images_are_brought_to_the_networks_size_and_channels(
    tmp_path: Path, mode: str, spec: InputSpec
) -> None:
    images, _ = read_images(folders(tmp_path, {"a": 1, "b": 1}, mode=mode, size=20), spec)
    assert images.pixels.shape[1:] == spec.size
    shape = (2, 20, 20) if mode == "L" else (2, 20, 20, 3)
    same = archive(tmp_path / "same.npz", images=np.full(shape, 7, np.uint8), labels=[0, 1])
    images, _ = read_images(same, spec)
    assert images.pixels.shape[1:] == spec.size
    assert images.pixels.unique().tolist() == [7]


def test_without_a_card_images_stay_as_they_are(tmp_path: Path) -> None:
    assert read_images(folders(tmp_path / "grey", {"a": 1, "b": 1}), None)[0].pixels.shape[1] == 1
    colour = folders(tmp_path / "colour", {"a": 1, "b": 1}, mode="RGB", size=9)
    assert read_images(colour, None)[0].pixels.shape[1:] == (3, 9, 9)
    Image.new("RGB", (5, 5)).save(colour / "b/odd.png")
    assert "b/odd.png has shape (3, 5, 5)" in refusal(colour, None)


def test_the_digest_covers_names_and_contents_and_nothing_else(tmp_path: Path) -> None:
    one = folders(tmp_path / "one", {"a": 2, "b": 2})
    two = folders(tmp_path / "two", {"a": 2, "b": 2})
    (two / "a/notes.txt").write_text("no image")
    (two / ".hidden").mkdir()
    os.utime(two / "a/0.png", (0, 0))
    assert read_images(one, GREY)[1] == read_images(two, GREY)[1]
    (two / "a/0.png").rename(two / "a/2.png")
    assert read_images(one, GREY)[1] != read_images(two, GREY)[1]


def test_the_digest_of_an_archive_is_that_of_its_arrays(tmp_path: Path) -> None:
    pixels = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    plain = archive(tmp_path / "plain.npz", images=pixels)
    np.savez_compressed(
        tmp_path / "small.npz", images=pixels, labels=np.array([0, 1, 0, 1], dtype=np.int32)
    )
    other = archive(tmp_path / "other.npz", images=pixels, labels=[0, 1, 1, 1])
    digests = [read_images(p, GREY)[1] for p in (plain, tmp_path / "small.npz", other)]
    assert digests[0] == digests[1] != digests[2]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


def enlarge(file: Path) -> None:
    Image.new("1", (32_000, 2_500)).save(file)


def overfill(file: Path) -> None:
    """A header that promises far more than Pillow itself would open."""
    content = bytearray(file.read_bytes())
    content[16:24] = (2**30).to_bytes(4, "big") * 2
    file.write_bytes(bytes(content))


def deny(file: Path) -> None:
    file.unlink()
    # The kernel refuses to read this one even to the superuser.
    file.symlink_to("/proc/self/mem")


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def endless(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def dangle(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def say_something_else(file: Path) -> None:
    file.write_text("<html>404</html>")


@pytest.mark.parametrize(
    "damage", [truncate, enlarge, overfill, deny, pipe, endless, dangle, say_something_else]
)
def test_an_image_that_cannot_be_read_is_named(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    root = folders(tmp_path, {"a": 2, "b": 2})
    damage(root / "b/1.png")
    assert str(root / "b/1.png") in refusal(root)


@pytest.mark.parametrize(
    ("counts", "told"),
    [({}, "0 class folder"), ({"a": 3}, "1 class folder"), ({"a": 0, "b": 0}, "no image")],
)
def test_folders_without_enough_in_them_are_counted(
    tmp_path: Path, counts: dict[str, int], told: str
) -> None:
    assert told in refusal(folders(tmp_path, counts))


def test_folders_that_are_not_the_cards_classes_are_named(tmp_path: Path) -> None:
    root = folders(tmp_path, {"a": 1, "b": 1})
    told = refusal(root, classes=("a", "b", "c"))
    assert "2 class folders" in told
    assert "3 classes" in told
    assert "'c'" in told


@pytest.mark.parametrize(
    ("classes", "hint"),
    [
        (("cat", "dog"), "Give a folder for each class of the card: cat, dog."),
        (tuple("abcdefghijkl"), "a, b, c, d, e, f, g, h, i, j and 2 more."),
        (None, DataError.hint),
    ],
)
def test_where_there_is_no_class_folder_the_cards_classes_are_told(
    tmp_path: Path, classes: tuple[str, ...] | None, hint: str
) -> None:
    with pytest.raises(DataError) as refused:
        read_images(tmp_path, None, classes=classes)
    assert refused.value.hint.endswith(hint)


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (np.zeros((4, 8, 8)), [0, 1, 0, 1], "float64"),
        (np.zeros((4, 8, 8, 2), np.uint8), [0, 1, 0, 1], "(4, 8, 8, 2)"),
        (np.zeros((4, 8), np.uint8), [0, 1, 0, 1], "(4, 8)"),
        (np.zeros((4, 0, 8), np.uint8), [0, 1, 0, 1], "(4, 0, 8)"),
        (np.zeros((0, 8, 8), np.uint8), np.zeros(0, int), "(0, 8, 8)"),
        (None, [0, 1, 0], "(3,)"),
        (None, [0, 1, -1, 0], "integers from 0"),
        (None, [0.0, 1.0, 0.0, 1.0], "float64"),
        (None, [1, 1, 1, 1], "one class only"),
        (None, [0, 1, 2, 10**12], "label 1000000000000"),
        (None, np.array([0, 1, 2, 2**64 - 1], np.uint64), "label 18446744073709551615"),
    ],
)
def test_arrays_that_are_no_images_are_described(
    tmp_path: Path, images: object, labels: object, told: str
) -> None:
    assert told in refusal(archive(tmp_path / "x.npz", images=images, labels=labels))


def test_labels_beyond_the_card_are_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", labels=[0, 1, 2, 3])
    assert "label 3, the card names 3 classes" in refusal(path, classes=("a", "b", "c"))


def test_archives_that_are_none_are_refused(tmp_path: Path) -> None:
    assert "neither" in refusal(tmp_path / "nowhere")
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    with (tmp_path / "array.npz").open("wb") as bare:
        np.save(bare, np.zeros(3))
    objects = np.array([{}, {}], dtype=object)
    np.savez(tmp_path / "pickled.npz", images=objects, labels=objects)
    for name in ("text.npz", "other.npz", "array.npz", "pickled.npz"):
        assert name in refusal(tmp_path / name)
    assert "is no .npz archive" in refusal(tmp_path / "text.npz")
    assert "holds Python objects" in refusal(
        tmp_path / "pickled.npz"
    )  # no hint to load it unsafely


@settings(derandomize=True, deadline=None, max_examples=150)
@given(at=st.integers(0, 700), byte=st.integers(0, 255), cut=st.integers(0, 700))
def test_a_damaged_archive_gives_images_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    np.savez_compressed(path, images=np.zeros((4, 8, 8), np.uint8), labels=np.array([0, 1, 0, 1]))
    content = bytearray(path.read_bytes())
    content[at % len(content)] = byte
    path.write_bytes(bytes(content[: len(content) - cut % 3]))
    with suppress(DataError):
        assert len(read_images(path, GREY)[0]) == 4
        return
    assert str(path) in refusal(path)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(at=st.integers(0, 3000), byte=st.integers(0, 255), kind=st.sampled_from(["png", "jpeg"]))
def test_a_damaged_image_gives_pixels_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, kind: str
) -> None:
    root = tmp_path_factory.getbasetemp() / f"damaged-{kind}"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize((16, 16)).save(root / name / f"0.{kind}")
    file = root / "b" / f"0.{kind}"
    content = bytearray(file.read_bytes())
    content[at % len(content)] = byte
    file.write_bytes(bytes(content))
    with suppress(DataError):
        assert read_images(root, GREY)[0].pixels.shape == (2, 1, 8, 8)
        return
    assert str(file) in refusal(root)


def test_an_empty_class_and_a_class_folder_itself_are_named(tmp_path: Path) -> None:
    root = folders(tmp_path, {"a": 2, "b": 1})
    (root / "c").mkdir()
    with pytest.raises(DataError, match=r"no image in .*/c"):
        read_images(root, GREY)
    with pytest.raises(DataError, match="0 class folder") as refused:
        read_images(root / "a", GREY)
    assert "give the folder above" in refused.value.hint
