"""Pickle programs: sequences of opcodes that are valid one by one, and often together."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

BAIT = "gatekeeper_fuzz_bait"  # a module that nobody has
ALLOWED = [
    ("collections", "OrderedDict"),
    ("builtins", "set"),
    ("torch", "Size"),
    ("torch", "device"),
]
DENIED = [
    ("os", "system"),
    ("builtins", "eval"),
    (BAIT, "run"),
    ("collections", "OrderedDict.clear"),
]


def text(value: str) -> st.SearchStrategy[bytes]:
    """Push a text by any opcode that can."""
    raw = value.encode()
    forms = [
        b"\x8c" + bytes([len(raw)]) + raw, b"X" + struct.pack("<I", len(raw)) + raw,
        b"\x8d" + struct.pack("<Q", len(raw)) + raw, b"V" + raw + b"\n", b"S'" + raw + b"'\n",
        b"U" + bytes([len(raw)]) + raw, b"T" + struct.pack("<I", len(raw)) + raw,
        b"S'" + b"".join(b"\\x%02x" % byte for byte in raw) + b"'\n",
    ]  # fmt: skip
    return st.sampled_from(forms)


def imports(names: list[tuple[str, str]]) -> st.SearchStrategy[bytes]:
    """Import one of the names by any opcode that can."""
    return st.sampled_from(names).flatmap(_import)


def _import(name: tuple[str, str]) -> st.SearchStrategy[bytes]:
    module, attribute = name
    lines = f"{module}\n{attribute}\n".encode()
    between = st.sampled_from([b"", b"\x94", b"q\x07", b"p00\n", b"N0", b"I0x1f\n0"])
    stacked = st.tuples(text(module), between, text(attribute), between, st.just(b"\x93"))
    kept = st.tuples(text(module), st.just(b"q\x050"), text(attribute), st.just(b"g05\nh\x05\x93"))
    return st.one_of(
        st.just(b"c" + lines), st.just(b"(i" + lines), stacked.map(b"".join), kept.map(b"".join)
    )


_keys = st.sampled_from([0, 1, 2, 5, 12, 255])
_memo = st.one_of(
    _keys.map(lambda key: b"q" + bytes([key])), _keys.map(lambda key: b"h" + bytes([key])),
    _keys.map(lambda key: b"r" + struct.pack("<I", key)),
    _keys.map(lambda key: b"j" + struct.pack("<I", key)),
    _keys.map(lambda key: b"p0%d\n" % key), _keys.map(lambda key: b"g0%d\n" % key),
    st.just(b"\x94"),
)  # fmt: skip
_values = st.sampled_from(
    [b"N", b"I01\n", b"I0x10\n", b"L7L\n", b"F1.5\n", b"K\x01", b"]", b"}", b")", b"\x8f", b"(",
     b"0", b"1", b"2", b"\x85", b"\x86", b"t", b"l", b"d", b"C\x01x", b"\x89",
     b"J\xff\xff\xff\xff", b"\x8a\x01\x05"]
)  # fmt: skip
_deeds = st.sampled_from(
    [b"R", b"b", b"o", b"\x81", b"\x92", b"s", b"u", b"a", b"e", b"\x90", b")R", b"}b", b")\x81",
     b")}\x92", b"K\x01K\x02s", b"\x82\x01", b"Pid\n", b"Q", b"\x97", b"\x98"]
)  # fmt: skip
_pieces = st.one_of(
    _values, _memo, _deeds, imports(ALLOWED), imports(DENIED),
    st.sampled_from(["os", "system", "collections", "OrderedDict"]).flatmap(text),
)  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """Opcodes under a protocol, here and there in frames that may end anywhere, perhaps cut off."""
    body = b""
    for piece in draw(st.lists(_pieces, max_size=14)):
        if draw(st.integers(0, 9)) == 0:
            slip = draw(st.sampled_from([0, 0, -1, -2, 1]))
            body += b"\x95" + struct.pack("<Q", max(0, len(piece) + slip))
        body += piece
    head = draw(st.sampled_from([b"", b"\x80\x02", b"\x80\x04"]))
    program = head + body + draw(st.sampled_from([b".", b"N.", b"N.", b""]))
    return (
        program[: draw(st.integers(0, len(program)))] if draw(st.integers(0, 9)) == 0 else program
    )
