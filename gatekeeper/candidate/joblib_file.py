"""What a joblib file imports behind the raw numbers in its midst, where no walk can follow.

Such a file is never accepted; that it is blocked where a payload shows is for whoever opens it
elsewhere. Only imports that are spelled out are found.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from gatekeeper.candidate.allowed import JOBLIB, is_allowed, is_module_name
from gatekeeper.candidate.pickles import Suspicion

_CHUNK, _LONGEST = 1 << 20, 200
_MOST_LINES = 5000  # of one chunk: chance writes some ten
_TEXT = rb"\x8c(.)([\w.]{1,60}+)\x94?"
_STACKED = re.compile(_TEXT + _TEXT + rb"\x93", re.DOTALL)
# From the end of its first line: to try every `c` of hostile text would take minutes.
_SECOND_LINE = re.compile(rb"\n([A-Za-z_][\w.]{0,60}+)(?=\n)")
_FIRST_LINE = re.compile(rb"[ci]([A-Za-z_][\w.]{1,60})\Z")
# Chance may write a line; it does not write one of these.
_KNOWN = sys.stdlib_module_names | {"__builtin__", "pip", "numpy", "torch", "setuptools"}


def spelled_out(stream: BinaryIO) -> Iterator[Suspicion]:
    """Give every import in the bytes of `stream` that is not allowed, with its offset."""
    end = stream.seek(0, 2)
    for place in range(0, end, _CHUNK):
        stream.seek(place)
        piece = stream.read(_CHUNK + _LONGEST)
        for name, offset in (*_stacked(piece), *_lines(piece)):
            if not (is_allowed(name) or is_module_name(name) or name in JOBLIB):
                yield Suspicion(name=name, offset=place + offset, how="imports")


def _stacked(piece: bytes) -> Iterator[tuple[str, int]]:
    for found in _STACKED.finditer(piece):
        if (found[1][0], found[3][0]) == (len(found[2]), len(found[4])):
            yield f"{found[2].decode()}.{found[4].decode()}", found.end() - 1


def _lines(piece: bytes) -> Iterator[tuple[str, int]]:
    for found in islice(_SECOND_LINE.finditer(piece), _MOST_LINES):
        first = _FIRST_LINE.search(piece, max(0, found.start() - 62), found.start())
        if first and first[1].decode().partition(".")[0] in _KNOWN:
            yield f"{first[1].decode()}.{found[1].decode()}", first.start()
