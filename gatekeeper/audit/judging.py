"""Judges one version: a scan in a process of its own, and what its record says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from gatekeeper.audit.remedies import for_audits
from gatekeeper.errors import GatekeeperError, StepError, UsageError
from gatekeeper.foreign_text import visible
from gatekeeper.job import Job
from gatekeeper.ledger.entries import Judgement
from gatekeeper.records import GateRecord
from gatekeeper.report import read_record
from gatekeeper.rundir import RunDirectory, disk_told
from gatekeeper.verdict import exit_code

_LONGEST = 400  # signs of a reason
_AGAIN = "Audit again; it is tried from the step that was not finished."


class MisfitError(StepError):
    """The scan could not begin: card, images and candidate do not fit each other."""


def judge(job: Job, key: str, *, threads: int, minutes: float) -> Judgement:
    """Scan with `threads` threads in at most `minutes`; gives what the record says.

    Raises:
        MisfitError: what the scan was given does not fit the candidate.
        StepError: the scan was killed, took too long, or could not finish.
    """
    out = Path(job.out)
    started = time.perf_counter()
    _scan(job, threads=threads, minutes=minutes)
    seconds = time.perf_counter() - started
    try:
        record = read_record((out / "record.json").read_text(encoding="utf-8"), job.out)
    except (OSError, GatekeeperError) as error:
        message = f"the scan's record cannot be read: {error}"
        raise StepError(message, hint=_AGAIN) from None
    return _judgement(record, key, run=out, seconds=seconds)


def _scan(job: Job, *, threads: int, minutes: float) -> None:
    """Run the scan to its end."""
    out = Path(job.out)
    with disk_told(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the run's folder, which belongs to the scan alone.
        log = out.with_name(f"{out.name}.log")
        with log.open("wb") as written:
            code = _run(job, written, threads=threads, minutes=minutes)
    if code < 0:
        name = signal.Signals(-code).name
        message = f"the scan was ended by {name} (by hand, or by a machine out of memory)"
        raise StepError(message, hint=_AGAIN)
    if code:
        raise (MisfitError if code == UsageError.exit_code else StepError)(_last_line(log), hint="")
    log.unlink(missing_ok=True)


def _run(job: Job, log: BinaryIO, *, threads: int, minutes: float) -> int:
    """Give the exit code of the scan's process."""
    try:
        return subprocess.run(
            [sys.executable, "-P", "-m", "gatekeeper.audit.child", str(os.getpid())],
            input=json.dumps(asdict(job)).encode(),
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
            timeout=minutes * 60,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        message = f"the scan took longer than {minutes:g} minutes"
        raise StepError(message, hint="Allow more with `minutes`, or screen less.") from None


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return for_audits(visible(lines[-1]))[:_LONGEST] if lines else "it said nothing"


def _judgement(record: GateRecord, key: str, *, run: Path, seconds: float) -> Judgement:
    return Judgement(
        key=key,
        artifact_sha256=record.candidate.sha256,
        decision=record.verdict.decision,
        accepted=exit_code(record) == 0,
        reason=_reason(record),
        findings=len(record.findings),
        bytes=record.candidate.bytes,
        policy=record.policy.name,
        policy_sha256=record.policy.sha256,
        run=f"{run.parent.name}/{run.name}",
        judged_at=record.finished_at,
        seconds=round(seconds, 3),
        final=not _failed(record, run),
    )


def _reason(record: GateRecord) -> str:
    told = (visible(reason).rstrip(".") for reason in record.verdict.reasons)
    reasons = for_audits("; ".join(told).replace(":; ", ": "))
    if len(reasons) <= _LONGEST:
        return reasons
    # At the end of a reason, or of a word: the report has the rest.
    cut = reasons[: _LONGEST - 1]
    end = max(cut.rfind("; "), cut.rfind(" ") if "; " not in cut[_LONGEST // 2 :] else 0)
    return f"{cut[: end if end > 0 else len(cut)]} …"


def _failed(record: GateRecord, run: Path) -> bool:
    """Tell whether a step failed for what may have been the machine's reason."""
    if record.verdict.decision != "undecided":
        return False
    return any(state.notes.get("errors") for state in RunDirectory(run).state().values())
