"""The opcode walk finds every import that a pickle would make, and makes none."""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from forged import HARMLESS, PAYLOAD, blocked, checkpoint, inspected, stack_global, text
from picklescan import scanner

from gatekeeper.candidate.allowed import ALLOWED
from gatekeeper.candidate.pickles import suspicions, walk

ARGUMENTS = b"(S'true'\nt"
FOREIGN = [
    "os.system", "builtins.eval", "__builtin__.exec", "pip.main", "bdb.Bdb", "runpy.run_module",
    "torch.utils.collect_env.run", "torch.distributed.rpc.rpc_sync", "numpy.f2py.compile",
    "nobody.knows", "builtins.getattr", "torch.storage._load_from_bytes", "torch.load",
    "torch.jit._script.load", "collections.namedtuple", "functools.partial",
]  # fmt: skip


def told(pickled: bytes) -> list[tuple[str, int]]:
    return [(s.name, s.offset) for s in suspicions(walk(io.BytesIO(pickled)))]


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_not_allowed_is_denied_by_name_and_offset(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    line = b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"
    assert told(b"\x80\x02K\x010" + line + ARGUMENTS + b"R.") == [(name, 5)]
    stacked = b"\x80\x04" + stack_global(module, attribute)
    assert told(stacked + b"\x8c\x04true\x85R.") == [(name, len(stacked) - 1)]


@pytest.mark.parametrize(
    ("pickled", "name"),
    [
        (PAYLOAD, "os.system"),
        (b"(S'true'\nios\nsystem\n.", "os.system"),  # INST
        (b"(cos\nsystem\nS'true'\no.", "os.system"),  # OBJ
        (b"\x80\x02cos\nsystem\n)\x81.", "os.system"),  # NEWOBJ
        (b"\x80\x04cos\nsystem\n)}\x92.", "os.system"),  # NEWOBJ_EX
        (b"\x80\x02\x82\x01.", "<extension 1>"),  # EXT1
        (b"\x80\x02\x83\x01\x00.", "<extension 1>"),  # EXT2
        (b"\x80\x02\x84\x01\x00\x00\x00.", "<extension 1>"),  # EXT4
        (b"\x80\x04" + stack_global("builtins", "int.real") + b".", "builtins.int.real"),
        (b"ccollections\nOrderedDict.__init__.__globals__\n.",
         "collections.OrderedDict.__init__.__globals__"),
        (b"cos\nsystem\n.", "os.system"),  # an import alone runs the module
    ],
)  # fmt: skip
def test_every_way_to_import_is_seen(pickled: bytes, name: str) -> None:
    assert [found for found, _ in told(pickled)] == [name]


def test_names_that_come_from_the_memo_are_seen() -> None:
    fetched = text("os") + b"\x94" + text("system") + b"\x940" + b"0h\x00h\x01\x93"
    assert told(b"\x80\x04" + fetched + ARGUMENTS + b"R.") == [("os.system", 22)]
    # MEMOIZE counts the entries, also those that PUT made at other places.
    sparse = text("os") + b"q\x07" + text("system") + b"\x94" + b"00h\x07h\x01\x93"
    assert told(b"\x80\x04" + sparse + b".")[0][0] == "os.system"
    # An entry may be overwritten: the last one counts.
    twice = text("collections") + b"q\x000" + text("os") + b"q\x000h\x00" + text("system") + b"\x93"
    assert told(b"\x80\x04" + twice + b".")[0][0] == "os.system"


def test_a_name_that_cannot_be_followed_is_denied() -> None:
    computed = b"c_codecs\nencode\n(S'os'\nS'utf8'\ntR" + text("system") + b"\x93"
    assert [name for name, _ in told(b"\x80\x04" + computed + b".")] == ["<computed name>"]
    swapped = b"\x80\x04" + text("os") + text("system") + b"2\x93."  # DUP between the two
    assert told(swapped)[0][0] == "system.system"


@pytest.mark.parametrize("write", [b"}b", b"K\x01K\x02s", b"(K\x01K\x02u", b"K\x01a", b"(K\x01e"])
def test_an_allowed_name_that_is_written_into_is_an_attack(write: bytes) -> None:
    rewritten = b"\x80\x02ccollections\nOrderedDict\n" + write + b"."
    (found,) = suspicions(walk(io.BytesIO(rewritten)))
    assert (found.name, found.how) == ("collections.OrderedDict", "overwrites an import")


def test_ordinary_constructors_are_no_suspicion() -> None:
    ordinary = OrderedDict(a=1, b={2, 3}, c=frozenset({4}), d=complex(1, 2), e=bytearray(b"x"))
    for protocol in range(6):
        walked = walk(io.BytesIO(pickle.dumps(ordinary, protocol)))
        assert (list(suspicions(walked)), walked.broken) == ([], "")


def test_a_part_of_python_is_no_layer_of_a_network() -> None:
    layer = b"ctorch.nn.modules.linear\nLinear\n)\x81"
    own = b"\x80\x02(" + layer + b"cmine\nLayer\n)\x81t."
    assert told(own) == []
    stolen = b"\x80\x02(" + layer + b"csubprocess\nPopen\n)\x81t."
    assert told(stolen)[0][0] == "subprocess.Popen"


@pytest.mark.parametrize("tail", [b"", b"\xff\xff", b"T\xff\xff\xff\x7f", b"h\x09", b"0000.", b"("])
def test_a_payload_before_a_broken_stream_is_blocked(tail: bytes, tmp_path: Path) -> None:
    inspection = inspected(b"\x80\x02" + PAYLOAD[:-1] + tail, tmp_path)
    assert blocked(inspection) == {"code-execution"}
    assert inspection.findings[0].offset == 2
    assert blocked(inspected(PAYLOAD[:-1] + tail, tmp_path)) == {"code-execution"}


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.onnx", "model"])
def test_a_second_pickle_after_a_good_one_is_blocked(name: str, tmp_path: Path) -> None:
    for good in (HARMLESS, b"I1\n."):
        inspection = inspected(good + PAYLOAD, tmp_path, name)
        assert blocked(inspection) == {"code-execution"}
        assert inspection.findings[0].offset == len(good)
        assert "os.system" in inspection.findings[0].message


def test_a_pickle_behind_a_legacy_file_is_told_by_its_place_in_the_file(tmp_path: Path) -> None:
    out = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, out, _use_new_zipfile_serialization=False)
    legacy = out.getvalue()
    inspection = inspected(legacy + b"\x80\x02" + PAYLOAD, tmp_path)
    assert [one.offset for one in inspection.findings] == [len(legacy) + 2]


def test_strange_company_does_not_hide_a_payload(tmp_path: Path) -> None:
    for strange in (b"\x82\x010", b"c\x01 \x02\n?\n0", text("os") + b"N\x930"):
        assert blocked(inspected(strange + PAYLOAD, tmp_path)) == {"code-execution"}
        hidden = checkpoint(HARMLESS, **{"data/0": strange + PAYLOAD, "note.txt": b"N0" + PAYLOAD})
        inspection = inspected(hidden, tmp_path)
        assert blocked(inspection) == {"hidden-pickle"}
        assert {f.member for f in inspection.findings} == {"archive/data/0", "archive/note.txt"}


def test_nothing_in_a_payload_is_imported_or_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    (tmp_path / "gatekeeper_test_bait.py").write_text(f"open({str(witness)!r}, 'w')")
    sys.path.insert(0, str(tmp_path))
    try:
        command = f"touch {witness}".encode()
        bait = b"cgatekeeper_test_bait\nopened\n0cos\nsystem\n(S'" + command + b"'\ntR."
        assert len(inspected(bait, tmp_path).findings) == 2
    finally:
        sys.path.remove(str(tmp_path))
    assert not os.path.lexists(witness)
    assert "gatekeeper_test_bait" not in sys.modules


def test_picklescan_calls_nothing_on_the_short_list_an_attack() -> None:
    """A pickle that names these alone is not shown to it again."""
    for name in sorted(ALLOWED):
        module, _, leaf = name.rpartition(".")
        found = scanner.scan_pickle_bytes(io.BytesIO(f"c{module}\n{leaf}\n.".encode()), "m")
        assert [one.safety for one in found.globals]
        assert all(one.safety != scanner.SafetyLevel.Dangerous for one in found.globals), name
