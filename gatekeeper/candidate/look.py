"""Looks into a file without parsing it: its kind, its pickles, the structure of its archive."""

from __future__ import annotations

import io
import mmap
from typing import BinaryIO

from gatekeeper.candidate import safetensors_file
from gatekeeper.candidate.allowed import JOBLIB
from gatekeeper.candidate.arrays import look_at_array
from gatekeeper.candidate.described import check_described
from gatekeeper.candidate.graph import hostile, outline
from gatekeeper.candidate.joblib_file import spelled_out
from gatekeeper.candidate.kinds import UNREADABLE, kind_of
from gatekeeper.candidate.legacy import PICKLES, end_of_storages
from gatekeeper.candidate.members import look_at_archive
from gatekeeper.candidate.seen import Seen
from gatekeeper.candidate.standins import MalformedError, UnsupportedError
from gatekeeper.candidate.torchfile import check_legacy
from gatekeeper.candidate.walks import walk_all

_SMALL = 1 << 20  # bytes
_LAYERED = ("torch-zip", "torch-legacy")  # whole networks of known layers are read from these


def look(stream: BinaryIO, seen: Seen) -> str:
    """Look at an open file, note in `seen` what is found, and name its kind."""
    stream = _at_hand(stream)
    kind = kind_of(stream)
    if kind == "zip":
        kind = look_at_archive(stream, seen)
        stream.seek(0)
        if stream.read(2) != b"PK":
            walk_all(stream, seen, certain=False)
    elif kind == "torch-legacy":
        _look_at_legacy(stream, seen)
    elif kind == "pickle":
        walk_all(stream, seen)
        if not JOBLIB.isdisjoint(seen.foreign):
            kind = "joblib"
            _look_at_joblib(stream, seen)
    elif kind == "npy":
        look_at_array(stream, seen)
    else:
        # A plain pickle hides under any name, and protocol 0 has no magic.
        walk_all(stream, seen, certain=False)
        if seen.findings:
            kind = "pickle"
        elif kind == "safetensors":
            _look_at_header(stream, seen)
        elif kind == "onnx":
            _look_at_graph(stream, seen)
    strangers = seen.foreign + (seen.layers if kind not in _LAYERED else [])
    # Beside a finding, what is foreign is what was found.
    if strangers and not seen.findings and kind not in ("torchscript", "pt2"):
        names = ", ".join(dict.fromkeys(strangers[:3]))
        reason, hint = UNREADABLE["whole-module"]
        seen.refuse(f"{reason} ({names})", hint)
    return kind


def _at_hand(stream: BinaryIO) -> BinaryIO:
    """Hold a small file in memory: it is gone through many times."""
    if stream.seek(0, 2) > _SMALL:
        return stream
    stream.seek(0)
    return io.BytesIO(stream.read(_SMALL + 1))


def _look_at_legacy(stream: BinaryIO, seen: Seen) -> None:
    walked = walk_all(stream, seen, most=PICKLES)
    if seen.unreadable or len(walked) < PICKLES:
        seen.refuse("the file is cut off inside of its pickles")
        return
    storages = {key: one for walk_ in walked for key, one in walk_.storages.items()}
    try:
        end = end_of_storages(stream, walked[-1].end, storages, walked[-1].words)
    except ValueError as error:
        seen.refuse(str(error))
        return
    if left := stream.seek(0, 2) - end:
        # Whoever loads from the same open file once more runs what stands there.
        seen.refuse(f"{left:,} bytes follow its last storage")
        walk_all(stream, seen, start=end, certain=False)
    check_described(lambda: check_legacy(stream), seen)


def _look_at_joblib(stream: BinaryIO, seen: Seen) -> None:
    # Where its raw numbers begin, the walk broke off: that is no reason to tell.
    seen.unreadable, seen.hint = UNREADABLE["joblib"]
    known = {finding.offset for finding in seen.findings}
    for found in spelled_out(stream):
        if found.offset not in known:
            known.add(found.offset)
            message = f"the pickle {found.how} {found.name}"
            seen.add("code-execution", "critical", message, "", found.offset)


def _look_at_header(stream: BinaryIO, seen: Seen) -> None:
    try:
        safetensors_file.check(stream)
    except safetensors_file.UnreadTypeError as error:
        seen.refuse(str(error), "Ask its maker for numbers of another type, such as F32.")
    except safetensors_file.SafetensorsError as error:
        seen.refuse(f"the safetensors file is malformed: {error}")


def _look_at_graph(stream: BinaryIO, seen: Seen) -> None:
    try:
        why = outline.read(_mapped(stream))[2]
    except hostile.HostileError as error:
        seen.add(error.rule, "critical", str(error), "", None)
    except MalformedError as error:
        seen.add("malformed-tensor", "critical", str(error), "", None)
    except UnsupportedError as error:
        seen.refuse(str(error))
    else:
        if why:
            seen.refuse(why, "Ask its maker for a state dict or safetensors, and give --card.")


def _mapped(stream: BinaryIO) -> memoryview:
    try:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except io.UnsupportedOperation:  # it lies in memory already
        stream.seek(0)
        return memoryview(stream.read())
