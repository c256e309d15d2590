"""Writes the seeds of each target: small files that hold what the format knows."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

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
    """Stored and deflated checkpoints, and one with a tail."""
    found = []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compression) as archive:
            for name, content in (("data.pkl", STATE), ("data/0", FLOATS), ("version", b"3\n")):
                archive.writestr(zipfile.ZipInfo(f"m/{name}"), content, compression)
        found.append(out.getvalue())
    return [*found, found[0] + b"tail"]


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


SEEDS = {
    "pickles": pickles, "archives": archives, "legacy": legacy, "headers": headers,
    "documents": documents,
}  # fmt: skip
