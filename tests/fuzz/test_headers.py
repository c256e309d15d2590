"""Safetensors headers as text: what passes here, the library reads, and reads alike."""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from gatekeeper.candidate.look import look
from gatekeeper.candidate.safetensors_file import SafetensorsError, check
from gatekeeper.candidate.seen import Seen

repeatable = settings(derandomize=True, deadline=None, max_examples=400)
_WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1, "BOOL": 1, "U64": 8, "F8_E4M3": 1}
_slips = st.sampled_from([0] * 12 + [1, -1, 8, 1 << 62, -(1 << 62)])
_odd = st.sampled_from(['{"a":{}}', "[[]]", "null", "1e400", '"\\ud800"', "NaN", "-0", "true"])


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Write tensors that stand one after the other, and then some lies."""
    parts, place = [], 0
    for number in range(draw(st.integers(0, 4))):
        dtype = draw(st.sampled_from(sorted(_WIDTH)))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        size = _WIDTH[dtype]
        for length in shape:
            size *= length
        offsets = [place + draw(_slips), place + size + draw(_slips)]
        place += size
        entry: dict[str, Any] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        if draw(st.integers(0, 19)) == 0:
            entry[draw(st.sampled_from([*entry, "extra"]))] = 7
        name = draw(st.sampled_from(["w", "b", f"layer.{number}", "", "\u2028", "é"]))
        parts.append(f"{json.dumps(name)}:{json.dumps(entry)}")
    if draw(st.integers(0, 5)) == 0:
        odd = draw(_odd)
        parts.append(draw(st.sampled_from([f'"__metadata__":{{"k":{odd}}}', f'"odd":{odd}'])))
    parts = draw(st.permutations(parts))
    text = ("{" + ",".join(parts) + "}" + " " * draw(st.integers(0, 3))).encode()
    length = len(text) + draw(st.sampled_from([0] * 9 + [-1, 1, 1 << 63]))
    body = bytes(max(0, place + draw(st.sampled_from([0] * 9 + [-1, 1]))))
    return max(0, length).to_bytes(8, "little") + text + body


@repeatable
@given(files())
def test_what_passes_is_read_alike_by_the_library(file: bytes) -> None:
    look(io.BytesIO(file), Seen())
    try:
        passed = check(io.BytesIO(file))
    except SafetensorsError:
        return
    try:
        theirs = {name: tuple(entry["shape"]) for name, entry in deserialize(file)}
    except SafetensorError as error:
        message = f"passed, but the library says: {error}"
        raise AssertionError(message) from None
    assert theirs == {name: shape for name, (_, shape) in passed.items()}
