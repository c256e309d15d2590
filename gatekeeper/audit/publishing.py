"""Writes verdicts back into the registry, where they changed since it was told last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gatekeeper.audit.auditor import Auditor
from gatekeeper.audit.rows import Found
from gatekeeper.audit.settled import Settled
from gatekeeper.errors import RegistryError
from gatekeeper.foreign_text import visible
from gatekeeper.ledger.entries import Seen
from gatekeeper.registry.interface import Outcome

_HARDENED = "hardened.onnx"
_MOST_TOLD = 20  # troubles; more of them are counted


def publish(
    auditor: Auditor, settled: Iterable[Settled], rows: Iterable[Found], *, number: int, at: str
) -> list[str]:
    """Tell the registry; gives what it did not take, one line each."""
    now = {(one.seen.model, one.seen.version): one.seen for one in rows}
    told: list[tuple[Seen, str | None]] = []
    troubles: list[str] = []
    for one in settled:
        seen = now[one.version.model, one.version.version]
        mark = f"{one.key}:{one.decision}:{one.accepted}"
        if one.version.fault or seen.published == mark:
            continue
        try:
            auditor.registry.publish(one.version, _outcome(auditor, one, at))
        except RegistryError as error:
            name = visible(f"{one.version.model}/{one.version.version}")
            troubles.append(f"the verdict on {name} was not taken: {error}. {error.hint}".strip())
        else:
            told.append((replace(seen, published=mark), None))
    auditor.ledger.keep(auditor.name, number, at, told)
    more = len(troubles) - _MOST_TOLD
    return [*troubles[:_MOST_TOLD], *([f"and {more} more verdicts"] if more > 0 else [])]


def _outcome(auditor: Auditor, one: Settled, at: str) -> Outcome:
    judgement = one.judgement
    place = judgement.run if judgement else ""
    run = auditor.folder.resolve() / place if place else None
    hardened = run / _HARDENED if run and one.accepted and one.decision == "hardened" else None
    return Outcome(
        decision=one.decision,
        accepted=one.accepted,
        artifact_sha256=one.sha256,
        policy_sha256=judgement.policy_sha256 if judgement else "",
        report=(run / "report.html").as_uri() if run else "",
        judged_at=judgement.judged_at if judgement else at,
        hardened=hardened if hardened and hardened.is_file() else None,
    )
