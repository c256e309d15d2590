"""The one path, written downwards: read, screen, purify, verify, export, conclude."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gatekeeper import __version__
from gatekeeper.card import own_file
from gatekeeper.errors import UsageError
from gatekeeper.job import Job
from gatekeeper.records import GateRecord
from gatekeeper.report import read_record
from gatekeeper.rundir import RunDirectory, sha256_file
from gatekeeper.steps.conclude import PUBLISHED, conclude
from gatekeeper.steps.export import export
from gatekeeper.steps.purify import purify
from gatekeeper.steps.read import read
from gatekeeper.steps.screen import screen
from gatekeeper.steps.verify import verify
from gatekeeper.steps.workshop import Workshop

Step = Callable[[Workshop], list[str]]
STEPS: dict[str, Step] = {
    "read": read,
    "screen": screen,
    "purify": purify,
    "verify": verify,
    "export": export,
    "conclude": conclude,
}
_RUN = "run.json"


def run(
    job: Job, *, resume: bool = False, tell: Callable[[str], None] = lambda _: None
) -> GateRecord:
    """Take a candidate through the gate and give the record of it.

    Raises:
        UsageError: policy, card, configuration or data are wrong (exit 2).
        GatekeeperError: the gate itself could not finish (exit 3).
    """
    check(job)
    with RunDirectory.open(Path(job.out), resume=resume) as room:
        if resume and not room.file(_RUN).exists():
            tell(f"{job.out} holds no run to resume: starting a new one")
        work = begin(job, room, tell)
        with mistakes_undone(room):
            for name in STEPS:
                take(name, work)
        return read_record(room.file("record.json").read_text(encoding="utf-8"), job.out)


@contextmanager
def mistakes_undone(room: RunDirectory) -> Iterator[None]:
    """Leave a fresh directory as it was where the operator's input is wrong: the next try fits."""
    fresh = not room.state()
    try:
        yield
    except UsageError:
        if fresh:
            room.clear()
        raise


def check(job: Job) -> None:
    """Look at all that the operator gave before a file is made or a foreign byte is read.

    Raises:
        UsageError: policy, card, device or data are wrong.
    """
    try:
        Workshop(job, RunDirectory(Path(job.out))).check()
    except OSError as error:
        message = f"cannot look at {error.filename}: {error.strerror}"
        raise UsageError(message, hint="Check the paths that you gave.") from None


def begin(job: Job, room: RunDirectory, tell: Callable[[str], None]) -> Workshop:
    """Open the workshop in a run directory; the first to come writes down when it began."""
    work = Workshop(job, room, tell)
    known = room.read_json(_RUN) if room.file(_RUN).exists() else {}
    before, now = known.get("job", {}), asdict(job)
    if before != now:
        if before:
            _refuse_another(before["model"], job, room)
            differ = ", ".join(name for name in now if before.get(name) != now[name])
            told = f"what was asked for differs from the earlier run's ({differ})"
            tell(f"{told}: steps that this touches are taken again")
        started = datetime.now(UTC).isoformat(timespec="seconds")
        room.write_json(_RUN, {"started_at": started, "job": asdict(job)})
    return work


def _refuse_another(before: str, job: Job, room: RunDirectory) -> None:
    """Keep the record of one candidate from being overwritten by that of another.

    Raises:
        UsageError: the run is of another file, with other content.
    """
    file = room.file("candidate.json")
    digest = room.read_json("candidate.json")["artifact"]["sha256"] if file.exists() else None
    path = Path(job.model)
    # Empty where the file vanished before it was read: a record of no candidate yet.
    if not digest or not path.is_file() or os.path.realpath(path) == os.path.realpath(before):
        return
    if sha256_file(path) != digest:
        message = f"{job.out} is the run of another candidate, {before}"
        raise UsageError(message, hint="Choose another --out; nothing was touched.")


def take(name: str, work: Workshop) -> bool:
    """Take one step, unless it is done with the same inputs; tell whether it was taken."""
    try:
        key = _key(name, work)
    except BaseException:
        _withdraw(work)
        raise
    if work.room.is_done(name, key):
        work.tell(f"{name}: kept from the earlier run")
        return False
    _withdraw(work)
    work.room.forget(list(STEPS)[list(STEPS).index(name) :])
    work.tell(name)
    work.notes.errors.clear()
    work.notes.skipped.clear()
    started = time.perf_counter()
    files = STEPS[name](work)
    work.room.finish(
        name,
        key=key,
        files=files,
        seconds=round(time.perf_counter() - started, 3),
        notes={"errors": list(work.notes.errors), "skipped": list(work.notes.skipped)},
    )
    return True


def _withdraw(work: Workshop) -> None:
    """Take back an earlier verdict: what is about to happen may end before there is a new one."""
    work.room.remove(PUBLISHED)


def _key(name: str, work: Workshop) -> str:
    """Digest what the step depends on: the job, its files by content, and the step before."""
    order = list(STEPS)
    position = order.index(name)
    earlier = work.room.state().get(order[position - 1]) if position else None
    given: dict[str, Any] = {
        "step": name,
        "tool": __version__,
        "candidate": _model_digest(work),
        "card": work.card.sha256,
        "code": _code_digest(work),
        "policy": work.policy.sha256,
        "calibration": work.calibration.sha256,
        "method": work.job.method,
        "seed": work.job.seed,
        "device": str(work.device),
        "data": work.data_digest if position else None,
        "suspects": work.suspects_digest if position else None,
        # A waiver may have expired since.
        "today": datetime.now(UTC).date().isoformat() if name == "conclude" else None,
        "earlier": asdict(earlier) if earlier else None,
    }
    if given["earlier"]:
        given["earlier"].pop("seconds")
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


def _model_digest(work: Workshop) -> str:
    try:
        return work.model_digest
    except OSError:
        return ""  # the first step says why it cannot be read


def _code_digest(work: Workshop) -> str | None:
    """Digest the operator's own file that builds the network, where the card names one."""
    path = own_file(work.card)
    return sha256_file(path) if path is not None and path.is_file() else None
