"""Writes the seeds of each target: small files that hold what the format knows."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
LEGACY = (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x02M\xe9\x03.")
_STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)
STATE = (
    b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + _STORAGE
    + b"K\x00K\x02K\x02\x86K\x02K\x01\x86\x89ccollections\nOrderedDict\n)RtRs."
)  # fmt: skip
FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def pickles() -> list[bytes]:
    """Every protocol, and every way to import."""
    plain = OrderedDict(
        a=[1, 2.5, -(1 << 70), None, True], b={"x": {3}}, c=(b"y", "ä", bytearray(2))
    )
    return [
        *(pickle.dumps(plain, protocol) for protocol in range(6)),
        STATE, b"cos\nsystem\n(S'true'\ntR.", b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.", b"\x80\x04cos\nsystem\n)}\x92.", b"\x80\x02\x82\x01)R.",
        b"\x80\x04\x8c\x02os\x940\x8c\x06system\x94h\x00h\x01\x93)\x81.",
        b"Np00\n0g00\nI0x10\nL5L\nF1.5\n(ltP1\n.",
    ]  # fmt: skip


def archives() -> list[bytes]:
    """Stored and deflated checkpoints, one with a tail, one in another, one of its own class."""
    stored = _checkpoint(STATE, zipfile.ZIP_STORED)
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    of_type = b"ctorch._tensor\n_rebuild_from_type_v2\n(" + rebuild + b"ctorch\nTensor\n("
    tagged = STATE.replace(rebuild + b"(", of_type).replace(b"tRs.", b"t}tRs.")
    return [
        stored, _checkpoint(STATE, zipfile.ZIP_DEFLATED), stored + b"tail",
        _checkpoint(STATE, zipfile.ZIP_STORED, inner=stored),
        _checkpoint(tagged, zipfile.ZIP_STORED),
    ]  # fmt: skip


def _checkpoint(pickled: bytes, compression: int, **more: bytes) -> bytes:
    members = {"data.pkl": pickled, "data/0": FLOATS, "version": b"3\n", **more}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"m/{name}"), content, compression)
    return out.getvalue()


def legacy() -> list[bytes]:
    """One tensor."""
    system = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
    keys = pickle.dumps(["0"], 2)
    state = STATE.replace(b"K\x04tQ", b"K\x04NtQ")  # no view of another storage
    return [b"".join((*LEGACY, system, state, keys, struct.pack("<q", 4), FLOATS))]


def headers() -> list[bytes]:
    """Two tensors, and none."""
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "U8", "shape": [], "data_offsets": [8, 9]},
    }
    texts = [json.dumps(one).encode() for one in (header, {})]
    return [len(text).to_bytes(8, "little") + text + bytes(9) for text in texts]


def documents() -> list[bytes]:
    """The policies that ship, and a card."""
    card = (
        b"architecture: torchvision:resnet18\nclasses: [a, 'b']\ninput:\n  size: [3, 32, 32]\n"
        b"  mean: [0.1, 1:30, .5]\n  std: [1, 0x1, 1e-1]\noutput: logits\n"
    )
    return [card, *(path.read_bytes() for path in sorted((ROOT / "policies").glob("*.yaml")))]


def arrays() -> list[bytes]:
    """Numbers of several kinds, orders and shapes, stored and deflated, and one of objects."""
    found = []
    kinds = {
        "a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.ones((2, 2), ">f8", order="F"),
        "c": np.zeros((0, 3), "i1"), "d": np.array(True), "e": np.array([1, 2], "<u2"),
    }  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        save(out, **kinds)
        found.append(out.getvalue())
    out = io.BytesIO()
    np.savez(out, o=np.array([{}, None], dtype=object))
    return [*found, out.getvalue()]


def _field(number: int, content: bytes | int) -> bytes:
    """One field of a protobuf message: a number, or bytes with their length."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    first = bytes([number & 127 | (128 if number > 127 else 0)])
    return first + (_varint(number >> 7) if number > 127 else b"")


def _node(kind: bytes, takes: list[bytes], gives: bytes, *attributes: bytes) -> bytes:
    names = b"".join(_field(1, name) for name in takes) + _field(2, gives)
    return _field(1, names + _field(4, kind) + b"".join(_field(5, one) for one in attributes))


def graphs() -> list[bytes]:
    """A convolution with its head, a constant, and data that lies outside."""
    dims = [_field(1, length) for length in (1, 1, 2, 2)]
    shape = b"".join(_field(1, one) for one in dims)
    image = _field(11, _field(1, b"x") + _field(2, _field(1, _field(1, 1) + _field(2, shape))))
    weight = b"".join(_field(1, n) for n in (4, 2)) + _field(2, 1) + _field(8, b"w")
    held = _field(5, weight + _field(9, bytes(32)))
    outside = _field(13, _field(1, b"location") + _field(2, b"../w")) + _field(14, 1)
    pads = _field(1, b"axis") + _field(20, 2) + _field(3, 1)
    nodes = _node(b"Flatten", [b"x"], b"f", pads) + _node(b"MatMul", [b"f", b"w"], b"y")
    strange = _node(b"PythonOp", [b"x"], b"y")
    given = image + _field(12, _field(1, b"y"))
    opset = _field(8, _field(2, 18))
    bodies = (nodes + held + given, nodes + _field(5, weight + outside) + given, strange + given)
    return [_field(1, 8) + _field(7, body) + opset for body in bodies]


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _layer(kind: str, **rooms: bytes) -> bytes:
    room, _, name = kind.rpartition(".")
    state = b"".join(_text(key) + value for key, value in rooms.items())
    return f"c{room}\n{name}\n)\x81".encode("latin-1") + b"}(" + state + b"ub"


def modules() -> list[bytes]:
    """A Sequential of layers, a wrapped one, and one with a hook, a partial and a setting."""
    tensor = STATE[STATE.index(b"ctorch._utils") : -2]
    empty, held = b"}", b"}" + _text("weight") + tensor + b"s"
    common = {"training": b"\x88", "_buffers": empty, "_modules": empty}
    norm = b"ctorch.nn.modules.normalization\nLayerNorm\n"
    partial = b"cfunctools\npartial\n" + norm + b"\x85R(" + norm + b")}" + _text("eps")
    linear = _layer("torch.nn.modules.linear.Linear", **common, _parameters=held,
                    in_features=b"K\x02", out_features=b"K\x01")  # fmt: skip
    odd = _layer("torch.nn.modules.activation.ReLU", **common, _parameters=empty,
                 norm=partial + b"G>\xb0\xc6\xf7\xa0\xb5\xed\x8dsNtb", inplace=b"\x89",
                 _forward_hooks=b"}")  # fmt: skip
    children = b"}(" + _text("0") + linear + _text("1") + odd + b"u"
    root = _layer("torch.nn.modules.container.Sequential", training=b"\x89", _parameters=empty,
                  _buffers=empty, _modules=children)  # fmt: skip
    wrapped = _layer("torch.nn.parallel.data_parallel.DataParallel", training=b"\x89",
                     _modules=b"}" + _text("module") + root + b"s")  # fmt: skip
    return [b"\x80\x02" + one + b"." for one in (root, wrapped, b"}" + _text("net") + root + b"s")]


SEEDS = {
    "pickles": pickles, "archives": archives, "legacy": legacy, "headers": headers,
    "documents": documents, "arrays": arrays, "graphs": graphs, "modules": modules,
}  # fmt: skip
