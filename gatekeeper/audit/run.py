"""Audits a registry: plan, settle what is open, hold it against the last audit, and tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from gatekeeper import __version__
from gatekeeper.audit.auditor import Auditor, auditor_for
from gatekeeper.audit.config import secret_of
from gatekeeper.audit.departed import departed
from gatekeeper.audit.files import write_page
from gatekeeper.audit.order import AuditOrder
from gatekeeper.audit.planning import Plan
from gatekeeper.audit.publishing import publish
from gatekeeper.audit.rows import Found, count, exit_code, found, gone
from gatekeeper.audit.settled import Settled, settled_or_lost
from gatekeeper.audit.summary import SCHEMA_VERSION, Audit, Counts, Trend
from gatekeeper.audit.webhook import send
from gatekeeper.errors import GatekeeperError
from gatekeeper.foreign_text import visible
from gatekeeper.ledger.entries import Finished, Seen
from gatekeeper.registry.interface import Version

_SHOWN = 60  # audits in the trend
Tell = Callable[[str], None]
FanOut = Callable[[Auditor, list[Version]], Iterable[Settled]]


@dataclass(kw_only=True)
class _Course:
    """An audit on its way."""

    number: int
    started_at: str
    before: dict[tuple[str, str], Seen]
    judged: int = 0
    troubles: list[str] = field(default_factory=list)


def audit(
    order: AuditOrder, *, tell: Tell = lambda _: None, fan_out: FanOut | None = None
) -> Audit:
    """Audit the registry that `order` names, and write page and ledger.

    Raises:
        UsageError: the registry, configuration, policy, card or ledger are named wrongly.
        GatekeeperError: ledger or page cannot be written.
    """
    auditor = auditor_for(order)
    try:
        check(auditor)
        started = _now()
        number = auditor.ledger.begin(auditor.name, tool=__version__, at=started)
        before = auditor.ledger.seen(auditor.name)
        course = _Course(number=number, started_at=started, before=before)
        plan = auditor.planner.plan(
            auditor.registry, before, auditor.ledger.judgements(auditor.name)
        )
        tell(f"{len(plan.settled)} version(s) known, {len(plan.open)} to look at")
        settled = [*plan.settled, *_settle(auditor, plan, course, fan_out or threads, tell)]
        return _conclude(auditor, plan, course, settled, tell)
    finally:
        auditor.close()
        auditor_for.cache_clear()


def check(auditor: Auditor) -> None:
    """Look at all that the operator gave, before anything is written.

    Raises:
        UsageError: something is named wrongly, or malformed.
    """
    webhook = auditor.config.webhook
    if webhook is not None:
        secret_of(webhook)
    _ = auditor.registry
    auditor.planner.check()


def threads(auditor: Auditor, versions: list[Version]) -> Iterator[Settled]:
    """Settle versions side by side; each scan is a process, so these only wait."""
    pool = ThreadPoolExecutor(auditor.workers)
    try:
        running = {pool.submit(auditor.take, version): version for version in versions}
        for done in as_completed(running):
            yield settled_or_lost(running[done], done.result)
    finally:
        # Interrupted: what is waiting is not begun, what is running ends with this process.
        pool.shutdown(wait=False, cancel_futures=True)


def _settle(
    auditor: Auditor, plan: Plan, course: _Course, fan_out: FanOut, tell: Tell
) -> list[Settled]:
    """Settle what is open; last what another worker was judging, for which this one waits."""
    done: list[Settled] = []
    busy: list[Settled] = []
    for settled in fan_out(auditor, plan.open) if plan.open else ():
        if settled.busy:
            busy.append(settled)
            continue
        done.append(settled)
        _tell_of(settled, len(done), len(plan.open), tell)
    # Mostly copies of what this very audit judged; then what is left by a scan that failed.
    answered = [auditor.answered(settled) for settled in busy]
    left = [settled.version for settled in answered if settled.busy]
    again = fan_out(auditor, left) if left else ()
    for settled in (*(one for one in answered if not one.busy), *again):
        done.append(auditor.wait(settled, tell) if settled.busy else settled)
        _tell_of(done[-1], len(done), len(plan.open), tell)
    course.judged = sum(1 for one in done if one.judgement and not one.kept)
    return done


def _tell_of(settled: Settled, place: int, of: int, tell: Tell) -> None:
    version = settled.version
    known = " (known)" if settled.kept else ""
    name = visible(f"{version.model}/{version.version}")
    tell(f"[{place}/{of}] {name}: {settled.decision.upper()}{known}")


def _conclude(
    auditor: Auditor, plan: Plan, course: _Course, settled: list[Settled], tell: Tell
) -> Audit:
    now, name, ledger = _now(), auditor.name, auditor.ledger
    rows = [_found(auditor, one, course, now) for one in settled]
    known = sum(1 for seen in course.before.values() if not seen.gone)
    if not settled and not plan.trouble:
        were = f", where {known} version(s) were before" if known else ": look for a typo"
        plan.trouble = f"the registry lists nothing{were}"
    if plan.trouble:
        course.troubles.append(plan.trouble)
    else:
        left, trouble = departed(auditor.registry, course.before, settled)
        rows += [gone(seen) for seen in left]
        course.troubles += [trouble] if trouble else []
    rows.sort(key=lambda one: (one.seen.model, one.seen.version))
    ledger.keep(name, course.number, now, [(r.seen, r.in_history) for r in rows if r.is_news])
    if auditor.config.publish:
        course.troubles += publish(auditor, settled, rows, number=course.number, at=now)
    done = _sum(auditor, course, rows, now)
    write_page(auditor.folder, done)
    done = _told(auditor, done, tell)
    counts = done.counts
    ledger.finish(
        course.number, finished_at=now, exit_code=done.exit_code, judged=done.judged,
        passed=counts.passed, hardened=counts.hardened, rejected=counts.rejected,
        undecided=counts.undecided,
    )  # fmt: skip
    return done


def _found(auditor: Auditor, settled: Settled, course: _Course, now: str) -> Found:
    place = (settled.version.model, settled.version.version)
    return found(settled, course.before.get(place), now=now, folder=auditor.folder)


def _sum(auditor: Auditor, course: _Course, found_rows: list[Found], now: str) -> Audit:
    rows = tuple(one.row for one in found_rows)
    counts = count(rows)
    earlier = [
        Trend(audit=past.number, finished_at=past.finished_at, counts=_counts(past))
        for past in auditor.ledger.trend(auditor.name, _SHOWN - 1)
    ]
    return Audit(
        schema_version=SCHEMA_VERSION,
        tool=__version__,
        number=course.number,
        registry=visible(auditor.registry.address),
        started_at=course.started_at,
        finished_at=now,
        exit_code=exit_code(rows, whole=not course.troubles),
        counts=counts,
        judged=course.judged,
        troubles=tuple(visible(trouble) for trouble in course.troubles),
        trend=(*earlier, Trend(audit=course.number, finished_at=now, counts=counts)),
        rows=rows,
    )


def _told(auditor: Auditor, done: Audit, tell: Tell) -> Audit:
    """Tell the webhook; where it does not listen, that is a trouble of the audit."""
    webhook = auditor.config.webhook
    if webhook is None:
        return done
    try:
        send(webhook, done)
    except GatekeeperError as error:
        trouble = f"{str(error).rstrip('.')}. {error.hint}".strip()
        tell(trouble)
        troubles = (*done.troubles, trouble)
        done = replace(done, troubles=troubles, exit_code=exit_code(done.rows, whole=False))
        write_page(auditor.folder, done)
    return done


def _counts(past: Finished) -> Counts:
    return Counts(
        passed=past.passed, hardened=past.hardened,
        rejected=past.rejected, undecided=past.undecided,
    )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
