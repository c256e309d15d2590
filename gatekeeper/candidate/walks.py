"""Walks pickle after pickle, and turns what they would do into findings."""

from __future__ import annotations

import io
import logging
import re
import warnings
from typing import BinaryIO

from gatekeeper.candidate.allowed import JOBLIB, is_allowed, is_known_module
from gatekeeper.candidate.legacy import PICKLES
from gatekeeper.candidate.opcodes import BEGINNINGS
from gatekeeper.candidate.partials import PARTIAL
from gatekeeper.candidate.pickles import (
    Walk,
    foreign_classes,
    looks_like_names,
    suspicions,
    walk,
)
from gatekeeper.candidate.seen import Seen

MOST_PICKLE = 64 << 20  # bytes of one pickle that must be held in memory
_MOST_PICKLES = 1000
_MOST_GUESSED = 5000  # opcodes without a name, in the numbers of a tensor
_VERSION = re.compile(rb"\x80[\x00-\x05](?!\x80)")  # how pickles begin, and few numbers do
_SCRIPT = ("__torch__.", "torch.jit._pickle.")


def walk_all(
    stream: BinaryIO,
    seen: Seen,
    member: str = "",
    *,
    start: int = 0,
    end: int | None = None,
    origin: int = 0,
    certain: bool = True,
    numbers: bool = False,
    most: int = _MOST_PICKLES,
    script: bool = False,
    objects: bool = False,
) -> list[Walk]:
    """Walk pickle after pickle; where it may be no pickle at all, only what executes counts.

    Offsets are told from `origin`: the first byte of the file, or of the member. What holds the
    `numbers` of a tensor may look like anything. Gives those that were walked to their end.
    """
    done: list[Walk] = []
    guessed = False
    if not certain:
        stream.seek(start)
        head = stream.read(3)
        if head[:1] not in BEGINNINGS:
            return done
        guessed = numbers and not _VERSION.match(head)
    here = f"member {member!r}" if member else "the pickle"
    end = stream.seek(0, 2) if end is None else end
    for count in range(most):
        if start >= end:
            return done
        walked = _walked(stream, seen, start, end, guessed=guessed)
        # Numbers that chance wrote meet a bound without a name. So does a payload behind padding,
        # but torch never unpickles a storage. That they use up the look at all members is refused.
        chance = guessed and seen.opcodes_left > 0 and not looks_like_names(walked)
        if walked.too_long and not chance:
            seen.refuse(f"{here} is {walked.broken}")
        # What follows the last pickle of a file need not be one.
        if count and walked.broken and not walked.globals and most != PICKLES:
            return done
        if certain or _runs(walked):
            if walked.broken and certain:
                seen.refuse(f"{here} is {walked.broken}")
            if walked.excess:
                seen.refuse(f"{here} {walked.excess}, more than the gate follows")
            rule = "code-execution" if certain or not member else "hidden-pickle"
            # What holds arrays of objects by its kind is never accepted, and need be no attack.
            kept = objects or any(found.name in JOBLIB for found in walked.globals)
            _judge(
                stream, walked, seen, rule, member, start=start, origin=origin, script=script,
                objects=kept,
            )  # fmt: skip
        if walked.broken:
            return done
        done.append(walked)
        start = walked.end
    if not guessed and most == _MOST_PICKLES and start < end:
        seen.refuse(f"{here} is followed by more than {_MOST_PICKLES:,} others")
    return done


def _walked(stream: BinaryIO, seen: Seen, start: int, end: int, *, guessed: bool) -> Walk:
    """Walk one pickle; where it is a guess, only as far as most are, unless a name was met."""
    stream.seek(start)
    most = min(seen.opcodes_left, _MOST_GUESSED) if guessed else seen.opcodes_left
    walked = walk(stream, most, end)
    if walked.opcodes == most < seen.opcodes_left and looks_like_names(walked):
        stream.seek(start)
        walked = walk(stream, seen.opcodes_left, end)
    seen.opcodes_left -= walked.opcodes
    return walked


def _runs(walked: Walk) -> bool:
    return (walked.executes or not walked.broken) and looks_like_names(walked)


def _judge(
    stream: BinaryIO, walked: Walk, seen: Seen, rule: str, member: str, *,
    start: int, origin: int, script: bool, objects: bool,
) -> None:  # fmt: skip
    """Turn what one pickle would do into findings, with offsets from `origin`."""
    before = len(seen.findings)
    for suspicion in suspicions(walked, objects=objects):
        if not (script and suspicion.name.startswith(_SCRIPT)):
            message = f"the pickle {suspicion.how} {suspicion.name}"
            seen.add(rule, "critical", message, member, start - origin + suspicion.offset)
    if not script:
        read = not member or member.casefold().endswith("data.pkl")
        for name in foreign_classes(walked):
            (seen.layers if read and is_known_module(name) else seen.foreign).append(name)
    # What is on the short list it takes for harmless as well (a test holds the two together).
    open_names = any(not is_allowed(found.name) for found in walked.globals)
    if len(seen.findings) == before and open_names and not walked.broken:
        stream.seek(start)
        _second_opinion(stream.read(min(walked.end - start, MOST_PICKLE)), member, seen)


def _second_opinion(pickle: bytes, member: str, seen: Seen) -> None:
    """Ask picklescan, which keeps a list of known attacks, about a pickle that we let through."""
    from picklescan import scanner

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as in `walk`
        result = scanner.scan_pickle_bytes(io.BytesIO(pickle), member, multiple_pickles=False)
    for found in result.globals:
        name = f"{found.module}.{found.name}"
        # Only where what it is given was followed does a pickle with one come here.
        if found.safety == scanner.SafetyLevel.Dangerous and name != PARTIAL:
            seen.add(
                "code-execution", "critical", f"picklescan calls {name} an attack", member, None
            )
