"""One audit's tools: what a worker needs to look at a version and to judge it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

from gatekeeper.audit.config import AuditConfig, read_audit_config
from gatekeeper.audit.judging import MisfitError, judge
from gatekeeper.audit.looking import Looked, hostile, look
from gatekeeper.audit.order import AuditOrder, placed
from gatekeeper.audit.planning import Planner
from gatekeeper.audit.remedies import for_audits
from gatekeeper.audit.rooms import room_for, sweep
from gatekeeper.audit.settled import Settled
from gatekeeper.audit.terms import Ready, stamp_of
from gatekeeper.config import VARIABLE, Config, read_config
from gatekeeper.errors import ConfigError, GatekeeperError, UsageError
from gatekeeper.foreign_text import visible
from gatekeeper.job import Job
from gatekeeper.ledger.book import Ledger
from gatekeeper.ledger.entries import Judgement
from gatekeeper.policy import Policy
from gatekeeper.registry import open_registry
from gatekeeper.registry.interface import Registry, Version

RUNS = "runs"
_LOOK_AGAIN = 1.0  # seconds
_CHANGED = (
    "the file, or a card, a policy or images that it was judged with, changed meanwhile. "
    "Audit again when they are at rest."
)
Fetch = Callable[[Version, Path], Path]


class Scan(Protocol):
    """Judges one file: here, or as a task of an engine that spreads them."""

    def __call__(
        self, job: Job, key: str, *, again: str, threads: int, minutes: float
    ) -> Judgement:
        """Give the verdict; `again` names the earlier one that does not stand any more."""
        ...


def scan_here(job: Job, key: str, *, again: str, threads: int, minutes: float) -> Judgement:
    """Judge in a process of this machine."""
    del again  # of no account where nothing is remembered
    return judge(job, key, threads=threads, minutes=minutes)


class Auditor:
    """Opens registry, ledger and rules once, and settles one version at a time."""

    def __init__(self, order: AuditOrder) -> None:
        """Work for `order`; nothing is opened before it is asked for."""
        self.order = placed(order)
        self.folder = Path(order.out)

    @cached_property
    def config(self) -> AuditConfig:
        """The audit's configuration, or an empty one."""
        path = self.order.config
        return read_audit_config(Path(path)) if path else AuditConfig()

    @cached_property
    def registry(self) -> Registry:
        """Open the registry that is audited.

        Raises:
            UsageError: there is none, or the audit would write into it.
        """
        wishes = self.config.mlflow.model_dump(exclude_defaults=True)
        registry = open_registry(self.order.registry, **wishes)
        if Path(registry.address).is_dir() and self.folder.resolve().is_relative_to(
            registry.address
        ):
            message = f"{self.folder} lies in the registry, where a stranger may write"
            raise UsageError(message, hint="Give another --out.")
        return registry

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger: the one that was named, else a file beside the page."""
        file = f"sqlite:///{self.folder.resolve() / 'ledger.sqlite'}"
        return Ledger(self.order.ledger or self.config.ledger or file)

    @cached_property
    def planner(self) -> Planner:
        """What holds versions against rules and ledger."""
        return Planner(
            self.config, defaults=self.defaults,
            rehash=self.order.rehash, again=self.order.again,
        )  # fmt: skip

    @cached_property
    def defaults(self) -> Config:
        """Read the organisation's `gatekeeper.yaml`, which no maker of a model may write.

        Raises:
            ConfigError: it is malformed, not there on this machine, or lies in the registry.
        """
        if not self.order.organisation:
            return Config()
        file = Path(self.order.organisation)
        registry = Path(self.registry.address)
        inside = registry.is_dir() and file.resolve().is_relative_to(registry.resolve())
        if inside and not os.environ.get(VARIABLE):
            message = "the nearest gatekeeper.yaml lies in the registry, where a stranger may write"
            raise ConfigError(message, hint="Audit from elsewhere, or say GATEKEEPER_CONFIG=FILE.")
        return read_config(file)

    @property
    def name(self) -> str:
        """The registry as the ledger knows it, wherever the audit is started from."""
        address = self.registry.address
        return str(Path(address).resolve()) if Path(address).is_dir() else address

    @property
    def workers(self) -> int:
        """How many versions are judged side by side."""
        return self.order.workers or self.config.workers

    @property
    def threads(self) -> int:
        """Threads of one scan."""
        return self.config.threads or max(1, (os.cpu_count() or 1) // self.workers)

    def close(self) -> None:
        """Let go of the ledger, where it was opened, and of the place for downloads."""
        sweep(self.folder)
        if "ledger" in self.__dict__:
            self.ledger.close()

    def take(self, version: Version, fetch: Fetch | None = None, scan: Scan = scan_here) -> Settled:
        """Fetch, look at and judge one version; whatever goes wrong is its row's reason."""
        ready = self.planner.ready(version.model)
        assert ready is not None  # planning settled the others
        settled = Settled(version=version, policy=ready.policy.name)
        try:
            with room_for(version, self.folder) as room:
                folder = (fetch or self.registry.fetch)(version, room)
                looked = look(folder, ready)
                settled = self._placed(settled, looked, ready)
                if looked.fault or looked.blocked:
                    return settled
                if ready.fault:
                    return self._without_terms(settled, folder / looked.file, ready.fault)
                settled = self._judged(
                    settled, self._job(looked, ready, folder), looked, ready, scan
                )
                if settled.judgement is None or settled.judgement.run:
                    return settled
                # No scan could begin, which keeps nobody from seeing that a file is hostile.
                return replace(settled, blocked=hostile(folder / looked.file))
        except GatekeeperError as error:
            what = f"{str(error).rstrip('.')}. {error.hint}".strip()
            return replace(settled, fault=for_audits(visible(what)))
        except OSError as error:
            what = f"{error.filename or version.address} cannot be read: {error.strerror}"
            return replace(settled, fault=visible(f"{what}. See that it is still there."))
        except Exception as error:
            # One version must not end the audit of all others.
            what = f"internal error ({type(error).__name__}: {error}). Please report it."
            return replace(settled, fault=visible(what))

    def answered(self, settled: Settled) -> Settled:
        """Give the verdict that another worker found meanwhile; as it is where there is none."""
        known = self.ledger.judgement(settled.key) if settled.busy else None
        if known is None or not self.planner.usable(known):
            return settled
        return replace(settled, busy="", judgement=known, kept=True)

    def wait(self, settled: Settled, tell: Callable[[str], None]) -> Settled:
        """Wait for what another worker is judging: its verdict, or judged here where it died."""
        tell(f"the same bytes are being judged by {settled.busy}: waiting")
        until = time.monotonic() + self.config.minutes * 60
        while (settled := self.answered(settled)).busy and time.monotonic() < until:
            time.sleep(_LOOK_AGAIN)
            if self.ledger.is_free(settled.key):
                settled = self.take(settled.version)
        if settled.busy:
            message = f"{settled.busy} has been judging the same file for very long. Audit again."
            return replace(settled, busy="", fault=message)
        return settled

    def _without_terms(self, settled: Settled, file: Path, fault: str) -> Settled:
        """What the rule lacks keeps nobody from seeing that a file is hostile."""
        found = hostile(file)
        # The fault is the operator's: looked at again next time.
        return replace(settled, fingerprint="", blocked=found, fault="" if found else fault)

    def _placed(self, settled: Settled, looked: Looked, ready: Ready) -> Settled:
        return replace(
            settled,
            # What may have been the machine's fault is looked at again next time.
            fingerprint=self.planner.fingerprint(settled.version, ready) if looked.lasting else "",
            file=looked.file,
            sha256=looked.sha256,
            bytes=looked.bytes,
            card_sha256=looked.card_sha256,
            blocked=looked.blocked,
            fault="" if looked.blocked else looked.fault,
            key=ready.key(looked.sha256, looked.card_sha256) if looked.sha256 else "",
        )

    def _judged(
        self, settled: Settled, job: Job, looked: Looked, ready: Ready, scan: Scan
    ) -> Settled:
        """Give the verdict that is known, or judge, unless another worker does so now."""
        key = settled.key
        if busy := self.ledger.claim(key):
            return replace(settled, busy=busy)
        try:
            known = self.ledger.judgement(key)
            if known is not None and self.planner.usable(known):
                return replace(settled, judgement=known, kept=True)
            again = known.judged_at if known else ""
            judgement = self._scanned(settled, job, ready, again, scan)
            if not _at_rest(judgement, looked, ready):
                return replace(settled, fingerprint="", fault=_CHANGED)
            self.ledger.settle(judgement)
            return replace(settled, judgement=judgement)
        finally:
            self.ledger.release(key)

    def _scanned(
        self, settled: Settled, job: Job, ready: Ready, again: str, scan: Scan
    ) -> Judgement:
        minutes = self.config.minutes
        try:
            return scan(job, settled.key, again=again, threads=self.threads, minutes=minutes)
        except MisfitError as error:
            return _misfit(str(error), settled, ready.policy)

    def _job(self, looked: Looked, ready: Ready, folder: Path) -> Job:
        rule = ready.rule
        key = ready.key(looked.sha256, looked.card_sha256)
        return Job(
            model=str(folder / looked.file),
            out=str(self.folder.resolve() / RUNS / key[:16]),
            data=rule.data,
            verify_data=rule.verify_data,
            card=str(looked.card) if looked.card and looked.card_trusted else None,
            policy=rule.policy or "default",
            calibration=str(rule.calibration) if rule.calibration else None,
            method=rule.method,
            device=rule.device or "auto",
            seed=rule.seed or 0,
        )


@lru_cache(maxsize=4)
def auditor_for(order: AuditOrder) -> Auditor:
    """Give this process's auditor for `order`, so that a worker opens everything once."""
    return Auditor(order)


def _at_rest(judgement: Judgement, looked: Looked, ready: Ready) -> bool:
    """Tell whether a verdict is on the very bytes and by the very terms that its key digests."""
    same = judgement.artifact_sha256 == looked.sha256
    same = same and judgement.policy_sha256 == ready.policy.sha256
    return same and looked.card_stamp == stamp_of([looked.card]) and ready.stands()


def _misfit(reason: str, settled: Settled, policy: Policy) -> Judgement:
    """Say, until it is time to try again, that a version does not fit what it is judged with."""
    return Judgement(
        key=settled.key, artifact_sha256=settled.sha256, decision="undecided", accepted=False,
        reason=reason, findings=0, bytes=settled.bytes, policy=policy.name,
        policy_sha256=policy.sha256, run="", seconds=0.0, final=False,
        judged_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
