"""Holds measures and findings against the policy. Pure: no torch, no clock, no files."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import date

from gatekeeper.assessments import Assessment
from gatekeeper.checks import SUSPECTED, check_all, check_assessment, check_purified
from gatekeeper.policy import Policy
from gatekeeper.records import (
    Check,
    Decision,
    Finding,
    GateRecord,
    Skipped,
    Subject,
    Verdict,
    Verification,
    WaiverRecord,
)

# A file with one of these was not parsed, whatever the policy forbids.
ALWAYS_FORBIDDEN = frozenset(
    {"code-execution", "hidden-pickle", "archive-structure", "malformed-tensor"}
    | {"external-data", "foreign-operator"}
)
EXIT_CODES = {"pass": 0, "reject": 1, "undecided": 3}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict and all that led to it; `deploy` names the network that may be deployed."""

    verdict: Verdict
    checks: tuple[Check, ...]
    waivers: tuple[WaiverRecord, ...]
    findings: tuple[Finding, ...]
    deploy: Subject | None


def judge(
    policy: Policy,
    *,
    artifact_sha256: str,
    findings: Sequence[Finding],
    assessment: Assessment | None = None,
    verification: Verification | None,
    samples: int,
    class_counts: dict[str, int],
    skipped: Sequence[Skipped],
    errors: Sequence[str] = (),
    today: date,
) -> Judgement:
    """Decide. A forbidden finding outranks an error, an error outranks what was skipped.

    Args:
        policy: what is required.
        artifact_sha256: digest of the candidate, which waivers are bound to.
        findings: of inspection and screens.
        assessment: what the screens said together; None where the policy asks for none.
        verification: measures before and after, None where nothing could be verified.
        samples: held-out images.
        class_counts: held-out images by class.
        skipped: what was not checked.
        errors: what could not be done; any of them keeps the run from a pass.
        today: the day on which waivers are held against their expiry.
    """
    present = {finding.rule_id for finding in findings}
    if assessment is not None and assessment.outcome != "clean-looking":
        present.add(SUSPECTED)  # also where the screens could not tell, which is no finding
    waivers, live = _waive(policy, artifact_sha256, present, today)
    judged = tuple(replace(finding, waived=finding.rule_id in live) for finding in findings)
    checks = check_all(policy, verification, samples)
    if checks and assessment is not None:
        own = check_assessment(assessment, "candidate", waived=SUSPECTED in live)
        checks = (*checks, own, *check_purified(assessment, verification))
    forbidden = [f for f in judged if not f.waived and _is_forbidden(f, policy)]
    expired = _expired(waivers, present - live, artifact_sha256)
    if forbidden:
        told = [f"{finding.rule_id}: {finding.message}" for finding in forbidden]
        verdict = Verdict(decision="reject", reasons=(*told, *expired, *errors))
        deploy = None
    else:
        verdict, deploy = _decide(policy, checks, errors, skipped)
        scarce = _scarce(policy, class_counts, hardened=deploy == "purified")
        verdict = replace(verdict, reasons=(*verdict.reasons, *expired, *scarce))
    return Judgement(
        verdict=verdict, checks=checks, waivers=waivers, findings=judged, deploy=deploy
    )


def exit_code(record: GateRecord) -> int:
    """Give 0 for pass, 1 for reject, 3 for undecided; hardened as the policy accepts it."""
    if record.verdict.decision == "hardened":
        return 0 if record.policy.accept_hardened else 1
    return EXIT_CODES[record.verdict.decision]


def _is_forbidden(finding: Finding, policy: Policy) -> bool:
    return finding.rule_id in policy.forbid or finding.rule_id in ALWAYS_FORBIDDEN


def _waive(
    policy: Policy, artifact: str, present: Set[str], today: date
) -> tuple[tuple[WaiverRecord, ...], set[str]]:
    """Tell what became of each waiver, and for which of the rules `present` somebody answers."""
    records = []
    live = set()
    for waiver in policy.waivers:
        matches = waiver.artifact == f"sha256:{artifact}" and waiver.rule in present
        expired = today > waiver.expires
        if matches and not expired:
            live.add(waiver.rule)
        records.append(
            WaiverRecord(
                rule=waiver.rule,
                artifact=waiver.artifact,
                reason=waiver.reason,
                owner=waiver.owner,
                expires=waiver.expires.isoformat(),
                state="expired" if expired else "applied" if matches else "unused",
            )
        )
    return tuple(records), live


def _expired(
    waivers: Sequence[WaiverRecord], open_rules: Set[str], artifact: str
) -> tuple[str, ...]:
    """Tell which rules of this very artifact are open again, since nobody answers for them now."""
    return tuple(
        f"The waiver for {waiver.rule} ({waiver.owner}) expired on {waiver.expires}."
        for waiver in waivers
        if waiver.state == "expired"
        and waiver.rule in open_rules
        and waiver.artifact == f"sha256:{artifact}"
    )


def _decide(
    policy: Policy, checks: Sequence[Check], errors: Sequence[str], skipped: Sequence[Skipped]
) -> tuple[Verdict, Subject | None]:
    """Weigh the checks of candidate and purified network; no check at all is no pass."""
    by_subject: dict[Subject, list[Check]] = {}
    for check in checks:
        by_subject.setdefault(check.subject, []).append(check)
    met = [
        subject
        for subject, held in by_subject.items()
        if all(check.outcome == "passed" for check in held)
    ]
    if met and not errors:
        deploy: Subject = "purified" if "purified" in met else "candidate"
        if "candidate" in met:
            reason = f"The candidate itself meets policy {policy.name!r}."
            return Verdict(decision="pass", reasons=(reason,)), deploy
        reason = f"The purified network meets policy {policy.name!r}; the candidate does not:"
        # A candidate that falls short is not exported: its missing parity is no reason of its own.
        short = [check for check in by_subject["candidate"] if check.outcome == "failed"]
        told = _sentences(short or by_subject["candidate"])
        return Verdict(decision="hardened", reasons=(reason, *told)), deploy
    if not by_subject:
        nothing = ("Nothing could be verified.", *(one.reason for one in skipped))
        return Verdict(decision="undecided", reasons=tuple(errors) or nothing), None
    best = by_subject.get("purified") or by_subject["candidate"]
    if errors:
        # An error must not hide what was measured before it.
        return Verdict(decision="undecided", reasons=(*errors, *_sentences(best))), None
    decided = any(check.outcome == "failed" for check in best)
    if not decided and "purified" in by_subject:
        reason = "Nothing failed on the purified network, but not all could be decided:"
    elif not decided:
        reason = "Nothing failed, but not all could be decided:"
    else:
        who = "purified network" if "purified" in by_subject else "candidate"
        reason = f"The {who} does not meet policy {policy.name!r}:"
    decision: Decision = "reject" if decided else "undecided"
    own = [check for check in by_subject["candidate"] if check.outcome == "failed"]
    if not own or "purified" not in by_subject:
        return Verdict(decision=decision, reasons=(reason, *_sentences(best))), None
    itself = f"The candidate itself does not meet policy {policy.name!r}:"
    told = (*_sentences(best), itself, *_sentences(own))
    return Verdict(decision=decision, reasons=(reason, *told)), None


def _sentences(checks: Sequence[Check]) -> tuple[str, ...]:
    """Tell the failed checks, then the undecided ones, last what was not measured at all."""
    order = {"failed": 0, "undecided": 1}
    open_ones = [check for check in checks if check.outcome in order]
    open_ones.sort(key=lambda check: (order[check.outcome], check.observed is None))
    return tuple(check.message for check in open_ones)


def _scarce(policy: Policy, counts: dict[str, int], *, hardened: bool) -> tuple[str, ...]:
    few = [name for name, count in counts.items() if count < policy.min_samples_per_class]
    if not few:
        return ()
    names = ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
    told = f"Not compared, fewer than {policy.min_samples_per_class} held-out images: {names}"
    return (f"{told}{'; the purified network may have forgotten them' if hardened else ''}.",)
