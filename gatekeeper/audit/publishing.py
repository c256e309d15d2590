"""Writes verdicts back into the registry, where they changed since it was told last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gatekeeper.audit.auditor import Auditor
from gatekeeper.audit.rows import Found
from gatekeeper.audit.settled import Settled
from gatekeeper.errors import RegistryError
from gatekeeper.foreign_text import visible
from gatekeeper.registry.interface import Outcome

_HARDENED = "hardened.onnx"
_REPORT = "report.html"
_MOST_TOLD = 20  # troubles; more of them are counted


def publish(
    auditor: Auditor, settled: Iterable[Settled], rows: Iterable[Found], *, number: int, at: str
) -> list[str]:
    """Tell the registry; gives what it did not take, one line each."""
    now = {(one.seen.model, one.seen.version): one.seen for one in rows}
    due = [
        (one, now[one.version.model, one.version.version])
        for one in settled
        if not one.version.fault
    ]
    due = [(one, seen) for one, seen in due if seen.published != _mark(one)]
    name, ledger, troubles = auditor.name, auditor.ledger, []
    # Written first: what is cut off midway is told again, whatever it was told before.
    blank = [(replace(seen, published=""), None) for _, seen in due if seen.published]
    ledger.keep(name, number, at, blank)
    for one, seen in due:
        try:
            auditor.registry.publish(one.version, _outcome(auditor, one, at))
        except RegistryError as error:
            told = visible(f"{one.version.model}/{one.version.version}")
            troubles.append(f"the verdict on {told} was not taken: {error}. {error.hint}".strip())
        else:
            ledger.keep(name, number, at, [(replace(seen, published=_mark(one)), None)])
    more = len(troubles) - _MOST_TOLD
    return [*troubles[:_MOST_TOLD], *([f"and {more} more verdicts"] if more > 0 else [])]


def _mark(one: Settled) -> str:
    """What the registry is to show; a version that was made anew is told again."""
    return f"{one.key}:{one.decision}:{one.accepted}:{one.version.fingerprint}"


def _outcome(auditor: Auditor, one: Settled, at: str) -> Outcome:
    judgement = one.judgement
    place = judgement.run if judgement else ""
    run = auditor.folder.resolve() / place if place else None
    if run and not (run / _REPORT).is_file():
        run = None  # it was deleted, or lies in the folder of another audit with this ledger
    hardened = run / _HARDENED if run and one.accepted and one.decision == "hardened" else None
    return Outcome(
        decision=one.decision,
        accepted=one.accepted,
        artifact_sha256=one.sha256,
        policy_sha256=judgement.policy_sha256 if judgement else "",
        report=(run / _REPORT).as_uri() if run else "",
        judged_at=judgement.judged_at if judgement else at,
        hardened=hardened if hardened and hardened.is_file() else None,
    )
