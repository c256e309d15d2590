"""What a pickle calls without naming it where it is called: an `append`, a state, a partial.

Each program really runs its payload where plain `pickle.load` reads it; the walk tells of it.
"""

from __future__ import annotations

import argparse
import io
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models._api
from forged import checkpoint, inspected, stack_global, text, zipped
from torch import nn

from gatekeeper.candidate.pickles import suspicions, walk

# A function of a library that is known, as an attacker would pick one: it is only ever passed.
FUNCTION = ("torchvision.models._api", "load_state_dict_from_url")
NAMESPACE = stack_global("argparse", "Namespace") + b")\x81"


def state(name: str) -> bytes:
    """Give an object an attribute of this name: BUILD with a dict."""
    return b"}" + text(name) + stack_global(*FUNCTION) + b"sb"


PROGRAMS = {
    "append": NAMESPACE + state("append") + text("it") + b"a.",
    "appends": NAMESPACE + state("extend") + b"(" + text("it") + b"e.",
    "add": NAMESPACE + state("add") + b"(" + text("it") + b"\x90.",
    "setstate": NAMESPACE + state("__setstate__") + text("it") + b"b.",
    "partial": stack_global("torchvision.models._api", "partial")
    + b"(" + stack_global(*FUNCTION) + text("it") + b"t\x81)R.",
    "called from the memo": stack_global(*FUNCTION) + b"\x940h\x00" + text("it") + b"\x85R.",
}  # fmt: skip


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the function is called with, in place of fetching it."""
    calls: list[Any] = []
    monkeypatch.setattr(torchvision.models._api, FUNCTION[1], calls.append)
    return calls


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_called_by_a_detour_is_told(name: str, called: list[Any], tmp_path: Path) -> None:
    program = b"\x80\x04" + PROGRAMS[name]
    pickle.loads(program)
    assert called in (["it"], [["it"]])  # plain pickle runs it
    seen = inspected(checkpoint(program), tmp_path)
    assert {finding.rule_id for finding in seen.findings} == {"code-execution"}


@pytest.mark.parametrize(
    "program",
    [
        NAMESPACE + b"}" + text("append") + stack_global("torch.nn", "Linear") + b"sb"
        + text("it") + b"a.",
        NAMESPACE + b"}b}b.",
        b"]}b.",
        b"N)R.",
        stack_global("torch._utils", "_rebuild_parameter_with_state") + b")R}b.",
        stack_global("torch.nn", "Linear") + text("it") + b"\x85\x81.",
        b"}" + text("it") + b"a.",
        b"]" + text("key") + text("value") + b"s.",
    ],
    ids=["class appends", "two states", "state of a list", "call of nothing", "parameter's state",
         "layer from arguments", "append to a dict", "item of a list"],
)  # fmt: skip
def test_a_use_that_no_honest_pickle_makes_is_told(program: bytes) -> None:
    walked = walk(io.BytesIO(b"\x80\x04" + program))
    assert not walked.broken
    assert list(suspicions(walked))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_holds_things_may_be_filled(protocol: int) -> None:
    ordered = OrderedDict(a=1)
    ordered._metadata = {"version": 2}  # type: ignore[attr-defined]
    honest = [
        ordered, defaultdict(list, b=[2]), Counter("abc"), deque([1, 2], maxlen=3), {1, 2},
        frozenset({3}), [4, [5]], {"six": {7: 8}}, argparse.Namespace(lr=0.1),
        nn.Sequential(nn.Flatten(), nn.ReLU()), (9,) * 70,
    ]  # fmt: skip
    for value in (honest, [honest, honest]):
        walked = walk(io.BytesIO(pickle.dumps(value, protocol)))
        assert (list(suspicions(walked)), walked.broken) == ([], "")


def long_program() -> bytes:
    """A name far longer than any that is written by hand."""
    return (
        b"\x80\x04" + text("os") + text("path.os." * 40 + "system") + b"\x93" + text("true")
        + b"\x85R."
    )  # fmt: skip


@pytest.mark.parametrize(
    "members",
    [
        {"data.pkl": b"\x80\x02}.", "note.txt": long_program()},
        {"data.PKL": long_program(), "y/data.pkl": b"\x80\x02}."},
        {"data.pkl": b"\x80\x02}.", "extra.PKL": b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00idtR."},
    ],
    ids=["note.txt", "data.PKL", "extra.PKL"],
)
def test_neither_long_names_nor_large_letters_hide_a_pickle(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    seen = inspected(zipped({**members, "version": b"3\n"}), tmp_path)
    assert seen.findings


def legacy(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=False)
    return out.getvalue()


WEIGHTS = {"a": torch.ones(3), "b": torch.ones(5, dtype=torch.float64), "c": torch.arange(4)}


def test_a_pickle_behind_a_legacy_files_storages_is_told(tmp_path: Path) -> None:
    honest = legacy(WEIGHTS)
    assert inspected(honest, tmp_path).unreadable == ""
    seen = inspected(honest + b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00idtR.", tmp_path)
    assert "bytes follow its last storage" in seen.unreadable
    assert [finding.message for finding in seen.findings] == ["the pickle imports os.system"]


@pytest.mark.parametrize("end", [-1, -9])
def test_a_legacy_file_that_is_cut_off_is_told(end: int, tmp_path: Path) -> None:
    assert "cut off inside of its storages" in inspected(legacy(WEIGHTS)[:end], tmp_path).unreadable


@pytest.mark.parametrize(
    ("what", "other", "told"),
    [
        (b"\x03" + bytes(7) + b"\x00\x00\x80\x3f", b"\x02" + bytes(7) + b"\x00\x00\x80\x3f",
         "another count"),
        (b"e.", b"e0].", "list of storages does not fit"),
    ],
)  # fmt: skip
def test_storages_that_are_not_as_declared_are_told(
    what: bytes, other: bytes, told: str, tmp_path: Path
) -> None:
    honest = legacy({"a": torch.ones(3), "b": torch.ones(4)})
    place = honest.rindex(what)
    forged = honest[:place] + other + honest[place + len(what) :]
    assert told in inspected(forged, tmp_path).unreadable


Tensors = Callable[[], torch.Tensor]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(1100, 1000, dtype=torch.bfloat16),
        lambda: torch.full((3, 1024, 1024), 128, dtype=torch.uint8),
    ],
    ids=["ones in bfloat16", "128 in uint8"],
)
def test_equal_numbers_are_no_endless_pickle(make: Tensors, tmp_path: Path) -> None:
    """Their bytes read as one PROTO after another, of versions that no unpickler takes."""
    out = io.BytesIO()
    torch.save({"mask": make()}, out)
    seen = inspected(out.getvalue(), tmp_path)
    assert (seen.unreadable, seen.findings) == ("", ())
