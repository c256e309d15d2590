"""Which versions of a registry need judging: those without a verdict under today's key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from gatekeeper import __version__
from gatekeeper.audit.config import AuditConfig, Rule
from gatekeeper.audit.settled import Settled
from gatekeeper.audit.terms import Ready, make_ready
from gatekeeper.config import Config
from gatekeeper.errors import RegistryError, UsageError
from gatekeeper.ledger.entries import Judgement, Seen
from gatekeeper.registry.interface import Registry, Version

_NO_RULE = "no rule fits the model's name. Add one to the audit's configuration."


@dataclass(kw_only=True)
class Plan:
    """What is known already, and what is to be looked at."""

    settled: list[Settled] = field(default_factory=list)
    open: list[Version] = field(default_factory=list)
    trouble: str = ""  # why the list is not whole


class Planner:
    """Holds versions against rules and ledger."""

    def __init__(self, config: AuditConfig, *, defaults: Config, rehash: bool, again: bool) -> None:
        """Plan by `config`, whose gaps `defaults` fills.

        `rehash` trusts no fingerprint, `again` tries every undecided one once more.
        """
        self.config = config
        self._defaults = defaults
        self._rehash = rehash
        self._again = again
        self._ready: dict[Rule, Ready] = {}
        self._begun = datetime.now(UTC)

    def check(self) -> None:
        """Read what every rule names.

        Raises:
            UsageError: a policy, card or calibration cannot be read.
        """
        for rule in self.config.filled():
            try:
                self._made(rule)
            except UsageError as error:
                # Which of many rules names it, where there are rules.
                where = f"the rule for {rule.models!r}: " if self.config.rules else ""
                raise type(error)(f"{where}{error}", hint=error.hint) from None

    def ready(self, model: str) -> Ready | None:
        """Give the terms of the rule that fits `model`; None where none does."""
        rule = self.config.rule_for(model)
        return None if rule is None else self._made(rule)

    def plan(
        self,
        registry: Registry,
        seen: Mapping[tuple[str, str], Seen],
        judgements: Mapping[str, Judgement],
    ) -> Plan:
        """Go through the registry once, page by page, and hold it against what was known."""
        plan = Plan()
        try:
            for version in registry.versions():
                known = seen.get((version.model, version.version))
                settled = self._settled(version, known, judgements)
                if settled is None:
                    plan.open.append(version)
                else:
                    plan.settled.append(settled)
        except RegistryError as error:
            plan.trouble = f"the list of versions broke off: {error}. {error.hint}".strip()
        return plan

    def usable(self, judgement: Judgement | None) -> bool:
        """Tell whether a verdict still stands; one that the machine may have spoilt ages."""
        if judgement is None or judgement.final:
            return judgement is not None
        until = datetime.fromisoformat(judgement.judged_at) + timedelta(days=self.config.retry_days)
        # What this very audit has found out is not tried again by it.
        late = datetime.fromisoformat(judgement.judged_at) >= self._begun.replace(microsecond=0)
        return late or (not self._again and self._begun < until)

    def fingerprint(self, version: Version, ready: Ready) -> str:
        """Digest all that decides what is looked at; empty where the registry knows nothing."""
        if not version.fingerprint:
            return ""
        rule = ready.rule
        parts = (version.fingerprint, rule.file, str(rule.card), sorted(ready.cards), __version__)
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _settled(
        self, version: Version, known: Seen | None, judgements: Mapping[str, Judgement]
    ) -> Settled | None:
        """Settle a version without looking at it; None where that cannot be done."""
        ready = self.ready(version.model)
        if version.fault or ready is None:
            return Settled(version=version, fault=version.fault or _NO_RULE)
        policy = ready.policy.name
        if ready.fault:
            return None  # still looked at: it may be hostile whatever the rule lacks
        print_ = self.fingerprint(version, ready)
        if known is None or known.gone or self._rehash or not print_ or known.fingerprint != print_:
            return None
        place = Settled(
            version=version, policy=policy, fingerprint=print_, file=known.file,
            sha256=known.artifact_sha256, card_sha256=known.card_sha256, kept=True,
        )  # fmt: skip
        if known.blocked:
            return replace(place, blocked=known.blocked)
        if not known.artifact_sha256:
            return replace(place, fault=known.reason)
        key = ready.key(known.artifact_sha256, ready.card_sha256(known.file, known.card_sha256))
        judgement = judgements.get(key)
        if judgement is None or not self.usable(judgement):
            return None
        return replace(place, key=key, bytes=judgement.bytes, judgement=judgement)

    def _made(self, rule: Rule) -> Ready:
        if rule not in self._ready:
            self._ready[rule] = make_ready(self._completed(rule), self._defaults.cards)
        return self._ready[rule]

    def _completed(self, rule: Rule) -> Rule:
        """Fill what the audit's configuration leaves out from the organisation's."""
        defaults = self._defaults
        values = {
            "data": str(defaults.data) if defaults.data else None,
            "policy": defaults.policy,
            "calibration": defaults.calibration,
        }
        if rule.data is None and defaults.verify_data:
            values["verify_data"] = str(defaults.verify_data)
        left = {name: value for name, value in values.items() if getattr(rule, name) is None}
        return rule.model_copy(update=left)
