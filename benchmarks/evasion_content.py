"""Rows 1 to 9, 12 and 13 of the scorecard: what a file holds."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import hostile_onnx as onnx
import numpy as np
import torch
import torch.utils.collect_env
from evasion_cases import BLOCK, EITHER, HANDLED, UNDECIDED, Case, Content, Words, laid, scanned
from hostile import (
    HARMLESS,
    MAGIC,
    PAYLOAD,
    bomb,
    called,
    checkpoint,
    crowd,
    entry,
    frame,
    gzipped,
    headed,
    lied,
    npz,
    old_tar,
    patched,
    stored,
    tarred,
    tensor,
    text,
    twins,
    without_end,
    zipped,
)

_GOOD, _BAD = checkpoint(HARMLESS), checkpoint(b"\x80\x02" + PAYLOAD)
_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def _row(number: int, expect: str, files: dict[str, Content], name: str = "model.pt") -> list[Case]:
    return [
        Case(row=number, what=what, expect=expect, lay=laid(content, name))
        for what, content in files.items()
    ]


def _shown_four_times() -> bytes:
    """A view of 240 MB, which would take 960 MB as weights in single precision."""
    out, few = io.BytesIO(), torch.full((60 << 20,), 0x38, dtype=torch.uint8)
    torch.save({"w": few.view(torch.float8_e4m3fn).expand(4, -1)}, out)
    return out.getvalue()


def _scans(
    number: int, expect: str, files: dict[str, Content], name: str = "model.pt"
) -> list[Case]:
    return [
        Case(row=number, what=f"{what}, scanned", expect=expect, lay=scanned(content, name))
        for what, content in files.items()
    ]


def _behind_a_layer() -> bytes:
    """A class of torch's own tools behind a layer, in one pickle."""
    tool = torch.utils.collect_env.SystemEnv
    content = (torch.nn.ReLU(), tool(*[""] * len(tool._fields)))
    return checkpoint(pickle.dumps(content, protocol=2))


def _zeros() -> bytes:
    """36 MB of weights that nobody trained: they shrink a thousandfold."""
    out = io.BytesIO()
    np.savez_compressed(out, weight=np.zeros(9 << 20, dtype=np.float32))
    return out.getvalue()


def _through_a_link(folder: Path) -> Words:
    (folder / "w.bin").symlink_to("/etc/passwd")
    return laid(onnx.external("w.bin"), "model.onnx")(folder)


def _half(archive: bytes) -> bytes:
    return archive[: archive.index(b"PK\x01\x02") // 2 + 40]


def _checksum(archive: bytes) -> bytes:
    return patched(archive, 16, b"\1\2\3\4")


def _encrypted(archive: bytes) -> bytes:
    return b"PK\x03\x04\x14\0\1" + patched(archive, 8, b"\1")[7:]


def _flags(archive: bytes) -> bytes:
    return patched(archive, 9, b"\x20")


_DAMAGES = {
    "zip cut in half": _half, "no end record": without_end, "wrong checksum": _checksum,
    "encrypted": _encrypted, "odd flag bits": _flags,
    "another name in the local header": lambda archive: lied(archive, b"m/data.txt"),
    "bytes before the zip": lambda archive: b"#!/bin/sh\n" + archive,
    "bytes after the zip": lambda archive: archive + b"\nexit\n",
    "directory that begins before the file": lambda archive: archive[:-4] + b"\1" + archive[-3:],
}  # fmt: skip

_strangers: dict[str, Content] = {
    "empty file": b"", "one byte": b"\x80", "random bytes": np.random.default_rng(0).bytes(5000),
    "HTML page": b"<!DOCTYPE html><html></html>", "PNG": b"\x89PNG\r\n\x1a\n" + bytes(32),
    "Git LFS pointer": _LFS,
}  # fmt: skip
_NAMES = [
    "os.system", "builtins.eval", "pip.main", "bdb.Bdb", "runpy.run_path",
    "torch.utils.collect_env.run", "torch.distributed.rpc.rpc_sync", "numpy.f2py.compile",
    "nobody.knows", "builtins.getattr", "torch.load", "collections.OrderedDict.__init__",
]  # fmt: skip
_WAYS = ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX")
_MEMO = text("os") + b"q\x07" + text("system") + b"\x9400h\x07h\x01\x93"
_TWO = b"Vos\np2\n0Vsystem\np3\n0Vcollections\np12\n0VOrderedDict\np13\n0"
_tricks: dict[str, Content] = {
    **{f"`{name}`": checkpoint(called(name)) for name in _NAMES},
    **{f"`os.system` by {way}": checkpoint(called("os.system", way=way)) for way in _WAYS},
    "an extension code (EXT1)": checkpoint(b"\x80\x02\x82\x01)R."),
    "BUILD into an allowed name": checkpoint(b"\x80\x02ccollections\nOrderedDict\n}b."),
    "SETITEM into an allowed name": checkpoint(b"\x80\x02ccollections\nOrderedDict\nK\1K\2s."),
    "names from the memo": checkpoint(b"\x80\x04" + _MEMO + text("true") + b"\x85R."),
    "a memo entry overwritten": checkpoint(
        b"\x80\x04" + text("torch") + b"q\x000" + text("os") + b"q\x000h\x00" + text("system")
        + b"\x93" + text("true") + b"\x85R."
    ),
    "a computed name": checkpoint(
        b"c_codecs\nencode\n(S'os'\nS'utf8'\ntR" + text("system") + b"\x93."
    ),
    "`p00`, where pickletools stops": checkpoint(b"Np00\n0" + PAYLOAD),
    "`I0x10`, where pickletools stops": checkpoint(b"I0x10\n0" + PAYLOAD),
    "a line cut by the end of a frame": checkpoint(
        b"\x80\x04" + _TWO + frame(b"g1") + b"2\n" + frame(b"g1") + b"3\n\x93"
        + text("true") + b"\x85R."
    ),
    "a text cut by the end of a frame": checkpoint(
        b"\x80\x04" + frame(b"X\x17\0\0\0") + b"ccollections\nabc\n)R.---" + b"0" + PAYLOAD
    ),
    "after a million opcodes' room": checkpoint(b"\x80\x02" + b"N0" * 1000 + PAYLOAD),
}  # fmt: skip
_HIDDEN: dict[str, Content] = {
    "payload, then a broken stream": b"\x80\x02" + PAYLOAD[:-1] + b"\xff\xff",
    "a second pickle after a good one": HARMLESS + PAYLOAD,
    "in a storage member": checkpoint(HARMLESS, **{"data/0": b"\x80\x02" + PAYLOAD}),
    "in a .txt member": checkpoint(HARMLESS, **{"note.txt": PAYLOAD}),
    "in a .json member": checkpoint(HARMLESS, **{"config.json": PAYLOAD}),
    "behind padding in a .json member": checkpoint(
        HARMLESS, **{"config.json": b"N0" * 26_000 + PAYLOAD}
    ),
    "in a checkpoint among the members": checkpoint(HARMLESS, **{"inner.pt": _BAD}),
    "in the fourth pickle of a legacy file": MAGIC + HARMLESS + b"\x80\x02" + PAYLOAD,
    "kept by a persistent id, then called": MAGIC
    + HARMLESS
    + b"\x80\x02("
    + text("module")
    + b"ctorchvision.models._api\nload_state_dict_from_url\n"
    + text("")
    + text("")
    + b"tQ("
    + text("file:///x")
    + b"tR.",
}
_MANY = b"\x80\x04" + b"]" * 1_000_000 + b"."
_ENDLESS = checkpoint(b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.")
_BIG = 1 << 60
_bombs: dict[str, Content] = {
    "zip bomb": bomb, "70,000 members": lambda: crowd(70_000, 65_535),
    "70,000 members, one declared": lambda: crowd(70_000, 1),
    "20,000 members": lambda: crowd(20_000, 20_000),
    "dup bomb": b"\x80\x02N" + b"2" * 3_000_000 + b".",
    "memo bomb": b"\x80\x02]" + b"".join(b"r" + struct.pack("<I", n) for n in range(1_200_000)),
    "a million lists deep": _MANY,
    "a million tuples deep": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
    "a text of 2^60 bytes": b"\x80\x04\x8d" + _BIG.to_bytes(8, "little") + b"x",
    "a header of 2^60 bytes": _BIG.to_bytes(8, "little") + b'{"a": 1}',
    "three million objects in a header": lambda: headed(
        b'{"a":[' + b'{"":[]},' * 3_000_000 + b"0]}"
    ),
    "eight million lists in a header": lambda: headed(b'{"a":[' + b"[]," * 8_000_000 + b"0]}"),
}  # fmt: skip
_wide: dict[str, Content] = {
    "20 long texts of wide signs": lambda: b"\x80\x04"
    + b"".join(text("x" * 9_999_990 + "\N{PILE OF POO}") for _ in range(20)) + b".",
}  # fmt: skip
_lies: dict[str, Content] = {
    "size beyond the storage": stored(tensor(size="K\x03K\x03\x86")),
    "stride beyond the storage": stored(tensor(stride="K\x09K\x09\x86")),
    "offset beyond the storage": stored(tensor(offset=9)),
    "negative offset": stored(tensor(offset=-1)),
    "negative stride": stored(tensor(stride="J\xff\xff\xff\xffK\x01\x86")),
    "SETITEM on a tensor": stored(tensor()[:-2] + b"K\x01K\x02ss."),
    "a storage that declares more than it has": stored(tensor().replace(b"K\x04tQ", b"K\x08tQ")),
}
_ONE = {"a": entry([1], [0, 4])}
_headers: dict[str, Content] = {
    "header too long": headed(_ONE)[:20],
    "overlapping offsets": headed({**_ONE, "b": entry([1], [2, 6])}, bytes(6)),
    "offsets out of range": headed({"a": entry([2], [0, 8])}, bytes(4)),
    "negative offsets": headed({"a": entry([1], [-4, 0])}),
    "shape overflow": headed({"a": entry([1 << 40, 1 << 40], [0, 4])}, bytes(4)),
    "duplicate keys": headed(b'{"a": {}, "a": {}}'),
    "trailing bytes": headed(_ONE, bytes(9)), "not JSON": headed(b"{not json}"),
    "deep JSON": headed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}  # fmt: skip
_graphs: dict[str, Content] = {
    "external data in the folder above": lambda: onnx.external("../secret"),
    "external data at an absolute path": lambda: onnx.external("/etc/passwd"),
    "external data at a memory address": lambda: onnx.external("*/_ORT_MEM_ADDR_/*", offset=4096),
    "external data with an offset of 2^60": lambda: onnx.external("w.bin", offset=_BIG),
    "a custom domain": lambda: onnx.custom("com.example", "Evil"),
    "PythonOp": lambda: onnx.custom("com.microsoft", "PythonOp"),
    "a cyclic graph": onnx.cyclic, "a truncated graph": lambda: onnx.graph()[:-20],
    "a weight that lies about its shape": onnx.lying_shape,
}  # fmt: skip
_arrays: dict[str, Content] = {
    "an array of Python objects": npz(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
                                      b"\x80\x02" + PAYLOAD),
    "an array that lies about its shape": npz(
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }", bytes(16)
    ),
}  # fmt: skip
_LAYER = (
    b"ctorch.nn.modules.container\nSequential\n)\x81}" + text("net") + b"cmynets\nNet\n)\x81sb."
)
_code: dict[str, Content] = {
    "whole-module pickle of an unknown class": checkpoint(b"\x80\x02" + _LAYER),
    "TorchScript": zipped({"data.pkl": b"\x80\x02c__torch__\nNet\n)\x81.",
                           "constants.pkl": b"\x80\x02).", "code/__torch__.py": b""}),
    ".pt2": zipped({"archive_format": b"pt2", "version": b"6"}),
    "Keras archive": zipped({"metadata.json": b"{}", "config.json": b"{}"}, prefix=""),
    "Keras HDF5": b"\x89HDF\r\n\x1a\n" + bytes(600),
}  # fmt: skip

CASES = [
    *_row(1, UNDECIDED, _strangers),
    *_scans(1, UNDECIDED, {"Git LFS pointer": _LFS}),
    *_row(2, UNDECIDED, {name: damage(_GOOD) for name, damage in _DAMAGES.items()}),
    *_row(2, BLOCK, {f"{name}, payload inside": damage(_BAD) for name, damage in _DAMAGES.items()}),
    *_row(2, UNDECIDED, {"two members of one name": twins(HARMLESS, HARMLESS)}),
    *_row(2, BLOCK, {"two members of one name, payload first": twins(PAYLOAD, HARMLESS),
                     "two members of one name, payload last": twins(HARMLESS, PAYLOAD)}),
    *_row(3, BLOCK, _tricks),
    *_row(3, BLOCK, {"a class of `torch.utils.collect_env` behind a layer of torch.nn":
                     _behind_a_layer}),
    *_scans(3, BLOCK, {"`os.system`": checkpoint(PAYLOAD)}),
    *_row(4, BLOCK, _HIDDEN),
    *_row(4, BLOCK, {"a plain pickle named .safetensors": PAYLOAD}, "model.safetensors"),
    *_row(4, BLOCK, {"a plain pickle named .onnx": PAYLOAD}, "model.onnx"),
    *_row(4, BLOCK, {"a plain pickle without extension": PAYLOAD}, "model"),
    *_row(5, EITHER, {"tar": tarred(PAYLOAD), "tar without its magic": old_tar,
                      "gzip": gzipped(PAYLOAD), "7z": b"7z\xbc\xaf\x27\x1c" + bytes(40)}),
    *_row(6, BLOCK, {f"`{name}`": zipped({"m/data.pkl": HARMLESS, name: b"x"}, prefix="")
                     for name in ("../../x", "/etc/gatekeeper-x", "..\\x", "C:/x")}),
    *_row(6, BLOCK, {"a link inside": patched(_GOOD, 38, struct.pack("<I", 0o120777 << 16))}),
    *_row(6, EITHER, {"a link inside of a tar": tarred(b"", link="/etc/passwd")}),
    *_row(7, UNDECIDED, _bombs),
    *_row(7, UNDECIDED, {"an honest compressed .npz of 36 MB of zeros": _zeros}, "model.npz"),
    *_row(7, HANDLED, _wide),
    *_scans(7, UNDECIDED, {"work without end": _ENDLESS,
                           "memo of a gigabyte": checkpoint(b"\x80\x02}r\x00\x00\xf0\x03.")}),
    *_row(8, BLOCK, _lies),
    *_scans(8, BLOCK, _lies),
    *_scans(7, UNDECIDED, {"60 MB of 8-bit floats, shown four times": _shown_four_times}),
    *_row(8, BLOCK, _arrays, "model.npz"),
    *_row(9, UNDECIDED, _headers, "model.safetensors"),
    *_row(12, EITHER, _graphs, "model.onnx"),
    Case(row=12, what="external data through a link", expect=EITHER, lay=_through_a_link,
         told=("'w.bin', which is not read",)),
    *_scans(12, EITHER, {"external data at an absolute path": lambda: onnx.external("/etc/passwd")},
            "model.onnx"),
    *_scans(12, UNDECIDED, {"an input of 2^50 numbers":
                            lambda: onnx.graph(inputs=(1 << 25, 1 << 25))}, "model.onnx"),
    *_row(13, UNDECIDED, _code),
    *_scans(13, UNDECIDED, {"TorchScript": _code["TorchScript"]}),
]  # fmt: skip
