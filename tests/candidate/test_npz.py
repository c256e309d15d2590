"""What numpy.savez wrote is read by its own bounded reader; what it would never write is not."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forged import PAYLOAD, blocked, inspected, zipped
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torchvision import models

from gatekeeper.candidate.extraction import extract
from gatekeeper.candidate.inspect import inspect
from gatekeeper.candidate.loading import load
from gatekeeper.candidate.npy import NpyError, read_header
from gatekeeper.candidate.refusals import MalformedTensorError
from gatekeeper.card import Card
from gatekeeper.errors import CandidateError

DESCR = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }"
FOUR = np.arange(4, dtype="<f4").tobytes()


def array(text: str = DESCR, content: bytes = FOUR, version: bytes = b"\x01\x00") -> bytes:
    """Write an array's file, whatever its header says."""
    header = text.encode("latin-1") + b"\n"
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header + content


def taken(path: Path) -> dict[str, torch.Tensor]:
    """Inspect a file that must be clean, and load what the quarantine child hands back."""
    inspection = inspect(path)
    assert (inspection.artifact.kind, inspection.findings) == ("npz", ())
    assert inspection.unreadable == ""
    return parsed(path)


def parsed(path: Path) -> dict[str, torch.Tensor]:
    out = path.with_suffix(".safetensors")
    with path.open("rb") as stream:
        extract(stream, "npz", out)
    return load_file(out)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_comes_back(save: Any, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(2, 3, 4))
    saved = {
        "plain": numbers.astype("<f4"), "big": numbers.astype(">f4"), "double": numbers,
        "big.double": numbers.astype(">f8"), "half": numbers.astype(np.float16),
        "fortran": np.asfortranarray(numbers), "big.fortran": np.asfortranarray(numbers, ">f8"),
        "scalar": np.array(2.5), "big.scalar": np.array(7, ">i4"), "empty": np.zeros((0, 3)),
        "big.empty": np.zeros((3, 0), ">f4"), "truth": np.array([True, False]),
        "signed": np.arange(-2, 3, dtype=np.int8), "bytes": np.arange(5, dtype=np.uint8),
        "whole": np.array([1 << 40]), "short": np.array([1, 515], ">u2"),
    }  # fmt: skip
    save(tmp_path / "model.npz", **saved)
    loaded = taken(tmp_path / "model.npz")
    assert set(loaded) == set(saved)
    for name, values in saved.items():
        np.testing.assert_array_equal(loaded[name].numpy(), values)
        assert loaded[name].numpy().dtype == values.dtype.newbyteorder("=")


def test_a_state_dict_in_an_npz_is_the_network_that_it_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.squeezenet1_1(num_classes=3)
    state = {f"module.{name}": t.numpy() for name, t in network.state_dict().items()}
    np.savez(tmp_path / "model.npz", **state)
    assert set(taken(tmp_path / "model.npz")) == set(network.state_dict())
    model = load(tmp_path / "model.safetensors", Card())
    assert model.architecture == "torchvision:squeezenet1_1"
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.network(pixels), network.eval()(pixels))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_objects_in_an_npz_are_undecided_and_blocked_where_they_run(
    save: Any, tmp_path: Path
) -> None:
    save(tmp_path / "model.npz", w=np.zeros(3), o=np.array([{"a": 1}], dtype=object))
    seen = inspect(tmp_path / "model.npz")
    assert seen.findings == ()
    assert "Python objects, which are pickled" in seen.unreadable
    with pytest.raises(CandidateError, match="Python objects"):
        parsed(tmp_path / "model.npz")

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.system, ("true",)

    save(tmp_path / "model.npz", w=np.zeros(3), o=np.array([Payload()], dtype=object))
    seen = inspect(tmp_path / "model.npz")
    assert blocked(seen)
    assert "o.npy" in seen.findings[0].member
    # Also where the archive is cut off, as long as the payload is there.
    cut = (tmp_path / "model.npz").read_bytes()[:-40]
    assert blocked(inspected(cut, tmp_path, "cut.npz"))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': 'object', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + " " * 20_000,
        "dict(descr='|O', fortran_order=False, shape=(1,))",
    ],
)
def test_no_header_hides_a_pickle(header: str, tmp_path: Path) -> None:
    content = array(header, b"\x80\x02" + PAYLOAD)
    assert blocked(inspected(zipped({"w.npy": content}), tmp_path, "model.npz"))
    assert blocked(inspected(content, tmp_path, "model.npy"))
    assert blocked(inspected(zipped({"w.npy": PAYLOAD}), tmp_path, "model.npz"))


def test_zeros_that_shrink_to_nothing_are_undecided(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "model.npz", w=np.zeros((3000, 3000), "f4"))
    seen = inspect(tmp_path / "model.npz")
    assert seen.findings == ()
    assert "would inflate to" in seen.unreadable
    assert "without compression" in seen.hint
    objects = array("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", PAYLOAD)
    for name, content in {"o.npy": objects, "o.pkl": b"\x80\x02" + PAYLOAD}.items():
        zeros = (tmp_path / "model.npz").read_bytes()
        with zipfile.ZipFile(io.BytesIO(zeros)) as archive:
            members = {"w.npy": archive.read("w.npy"), name: content}
        bomb = zipped(members, compression=zipfile.ZIP_DEFLATED)
        assert blocked(inspected(bomb, tmp_path, "bomb.npz"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_that_is_odd_or_cut_off_tells_no_lies_of_its_arrays(
    save: Any, tmp_path: Path
) -> None:
    save(tmp_path / "model.npz", a=np.arange(300.0), b=np.zeros((40, 500)))
    content = (tmp_path / "model.npz").read_bytes()
    for damaged in (content + b"tail", b"head" + content, content[:-30], content[:-300]):
        seen = inspected(damaged, tmp_path, "damaged.npz")
        assert (seen.findings, bool(seen.unreadable)) == ((), True)


def test_an_array_of_objects_is_told_by_its_place_in_the_file_or_member(tmp_path: Path) -> None:
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    content = array(header, b"\x80\x02" + PAYLOAD)
    for file in (
        content,
        zipped({"w.npy": content}),
        zipped({"w.npy": content}, compression=zipfile.ZIP_DEFLATED),
    ):
        seen = inspected(file, tmp_path, "model")
        assert [one.offset for one in seen.findings] == [content.index(PAYLOAD)]


BAD = {
    "too short": (array(content=FOUR[:-1]), "15 bytes of numbers"),
    "too long": (array(content=FOUR + b"x"), "17 bytes of numbers"),
    "huge": (array(DESCR.replace("(4,)", "(1152921504606846975, 9)")), "bytes of numbers"),
    "beyond": (array(DESCR.replace("(4,)", "(1180591620717411303424,)")), "shape"),
    "negative": (array(DESCR.replace("(4,)", "(-4,)")), "not what numpy writes"),
    "a truth": (array(DESCR.replace("(4,)", "(True, 4)")), "shape"),
    "no tuple": (array(DESCR.replace("(4,)", "4")), "shape"),
    "order": (array(DESCR.replace("False", "0")), "order 0"),
    "complex": (array(DESCR.replace("<f4", "<c8"), FOUR), "type '<c8'"),
    "text": (array(DESCR.replace("<f4", "<U4")), "type '<U4'"),
    "raw": (array(DESCR.replace("<f4", "|V4")), "type '|V4'"),
    "structured": (array(DESCR.replace("'<f4'", "[('a', '<f4')]")), "numbers of type"),
    "a key more": (array(DESCR.replace("'shape'", "'more': 1, 'shape'")), "alone"),
    "a call": (array("__import__('os').system('true')"), "not what numpy writes"),
    "brackets": (array("(" * 4000 + ")" * 4000), "not what numpy writes"),
    "minus": (array("-" * 9000 + "1"), "not what numpy writes"),
    "no Python": (array("{'descr': "), "not what numpy writes"),
    "version": (array(version=b"\x09\x00"), "does not begin like"),
    "long": (array(DESCR + " " * 20_000, version=b"\x02\x00"), "says it has 20,0"),
    "cut": (array()[:20], "says it has"),
    "empty": (b"", "does not begin like"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_numpy_would_not_write_is_refused(bad: str, compression: int, tmp_path: Path) -> None:
    content, told = BAD[bad]
    archive = zipped({"good.npy": array(), "w.npy": content}, compression=compression, prefix="")
    (tmp_path / "model.npz").write_bytes(archive)
    seen = inspect(tmp_path / "model.npz")
    sizes = bad in ("too short", "too long", "huge")
    assert [one.rule_id for one in seen.findings] == ["malformed-tensor"] * sizes
    with pytest.raises(CandidateError, match=told) as refused:
        parsed(tmp_path / "model.npz")
    assert refused.value.exit_code == 3
    assert len(str(refused.value)) < 600


def test_a_size_that_does_not_fit_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "model.npz").write_bytes(zipped({"w.npy": array(content=FOUR + FOUR)}))
    with pytest.raises(MalformedTensorError, match=r"32 bytes of numbers"):
        parsed(tmp_path / "model.npz")


def test_an_npz_that_is_cut_off_or_damaged_is_never_clean(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", w=np.arange(500.0))
    content = (tmp_path / "model.npz").read_bytes()
    for share in (0.3, 0.6, 0.99):
        assert inspected(content[: int(share * len(content))], tmp_path, "cut.npz").unreadable
    flipped = bytearray(content)
    flipped[1000] ^= 1
    assert "damaged" in inspected(bytes(flipped), tmp_path, "flipped.npz").unreadable
    with pytest.raises(CandidateError, match="checksum"):
        parsed(tmp_path / "flipped.npz")


def test_two_arrays_of_one_name_are_never_clean(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("w.npy", array())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("w.npy", array(content=FOUR[::-1]))
    (tmp_path / "model.npz").write_bytes(out.getvalue())
    assert "stands there 2 times" in inspect(tmp_path / "model.npz").unreadable
    with pytest.raises(CandidateError, match="stands there twice"):
        parsed(tmp_path / "model.npz")


def test_a_single_array_has_no_names(tmp_path: Path) -> None:
    np.save(tmp_path / "model.npy", np.zeros((3, 4)))
    seen = inspect(tmp_path / "model.npy")
    assert (seen.artifact.kind, seen.findings) == ("npy", ())
    assert "without names" in seen.unreadable
    assert "savez" in seen.hint


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    text=st.text(alphabet="{}()[]'<>|=,:-+*. \nfdescrotanshp_O0123456789", max_size=300)
    | st.text(max_size=300),
    version=st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x04\x00"]),
)
def test_no_header_makes_the_reader_fail(text: str, version: bytes) -> None:
    raw = text.encode("latin-1", "replace").decode("latin-1")
    try:
        read_header(array(raw, version=version))
    except NpyError as error:
        assert len(str(error)) < 500  # noqa: PT017
