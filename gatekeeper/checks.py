"""One line of the policy against one measure: passed, failed or undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gatekeeper.assessments import Assessment, Standing
from gatekeeper.intervals import wilson
from gatekeeper.policy import Bound, Policy
from gatekeeper.records import Check, Measure, Outcome, Subject, Verification

SUSPECTED = "backdoor-suspected"
_REASONS = 2  # of an inconclusive outcome that fit in the line of its check
_FAR = 1e4  # times that an interval is as wide as what it must tell apart
# Equivalence, extremes over classes and searched areas have no sampling interval.
OBSERVED = frozenset(
    {
        "onnx_top1_agreement",
        "worst_class_recall",
        "worst_class_recall_drop",
        "smallest_trigger_area",
    }
)


def check_all(policy: Policy, verification: Verification | None, samples: int) -> tuple[Check, ...]:
    """Check every requirement for the candidate and, where there is one, the purified network."""
    if verification is None:
        return ()
    subjects: dict[Subject, dict[str, Measure]] = {"candidate": verification.before}
    if verification.after is not None:
        subjects["purified"] = verification.after
    return tuple(
        _check(name, bound, measures.get(name), subject, policy, samples)
        for subject, measures in subjects.items()
        for name, bound in policy.require.items()
    )


def check_assessment(assessment: Assessment, subject: Subject, *, waived: bool) -> Check:
    """Hold a network against what the screens said together; only clean-looking passes."""
    known = assessment.calibration.clean
    score = assessment.score
    alike = [one for one in known if score is not None and one >= score]
    measure = Measure(name="screening", value=None, n=len(known), note=assessment.outcome)
    if score is not None:
        low, high = wilson(len(alike), len(known))
        measure = replace(measure, value=len(alike) / len(known), low=low, high=high)
    outcomes: dict[Standing, Outcome] = {
        "clean-looking": "passed", "suspicious": "failed", "inconclusive": "undecided",
    }  # fmt: skip
    outcome = "passed" if waived else outcomes[assessment.outcome]
    told = f"{len(alike)} of {len(known)} known-clean networks score as high"
    if score is None:
        told = "there is no score"
    why = f" ({_first(assessment.why_inconclusive)})" if outcome == "undecided" else ""
    waiver = ", waived" if waived else ""
    who = "candidate" if subject == "candidate" else "purified network"
    return Check(
        rule_id=SUSPECTED,
        metric="screening",
        subject=subject,
        observed=measure,
        bound="clean-looking",
        outcome=outcome,
        message=f"the screens find the {who} {assessment.outcome}{why}: {told}{waiver}",
    )


def check_purified(candidate: Assessment, verification: Verification | None) -> tuple[Check, ...]:
    """Hold the purified network against the screens, where they do not clear the candidate.

    Of a suspicious candidate it must come out clean-looking. Where the candidate was inconclusive,
    what made it so may last (few images, many classes), and then there is no line of the screens;
    what they suspect, a doubt that is new, or an answer that means nothing, counts all the same. No
    waiver covers it: it is bound to the file that came in.
    """
    if candidate.outcome == "clean-looking" or verification is None or verification.after is None:
        return ()
    found = verification.screened
    if found is None:
        message = "the purified network was not screened, and the candidate is not clean-looking"
        return (
            Check(
                rule_id=SUSPECTED, metric="screening", subject="purified", observed=None,
                bound="clean-looking", outcome="undecided", message=message,
            ),
        )  # fmt: skip
    known = set(found.why_inconclusive) <= set(candidate.why_inconclusive)
    alike = candidate.outcome == found.outcome == "inconclusive"
    lasting = alike and known and found.score is not None
    return () if lasting else (check_assessment(found, "purified", waived=False),)


def _first(reasons: Sequence[str]) -> str:
    """The first reasons; a report tells all of them in another place."""
    more = len(reasons) - _REASONS
    told = "; ".join(reasons[:_REASONS])
    return f"{told}; and {more} more in the report" if more > 0 else told


def _check(
    name: str,
    bound: Bound,
    measure: Measure | None,
    subject: Subject,
    policy: Policy,
    samples: int,
) -> Check:
    outcome, why = _outcome(name, bound, measure, policy, samples)
    value = "not measured"
    if measure is not None and measure.value is not None:
        value = f"{100 * measure.value:.4g} %"
    return Check(
        rule_id=f"check/{name}",
        metric=name,
        subject=subject,
        observed=measure,
        bound=str(bound),
        outcome=outcome,
        message=f"{name} of the {subject}: {value}, wanted {_in_percent(bound)}: {outcome}{why}",
    )


def _in_percent(bound: Bound) -> str:
    if bound.at_least is not None:
        return f"at least {100 * bound.at_least:g} %"
    return f"at most {100 * (bound.at_most or 0):g} %"


def _outcome(
    name: str, bound: Bound, measure: Measure | None, policy: Policy, samples: int
) -> tuple[Outcome, str]:
    if measure is None:
        return "undecided", " (not measured)"
    if measure.value is None or not math.isfinite(measure.value):
        return "undecided", f" ({measure.note or 'no value'})"
    note = f" ({measure.note})" if measure.note else ""
    if not bound.met_by(measure.value):
        if samples < policy.min_samples and _could_be_met(bound, measure):
            return "undecided", f" ({samples} held-out images, {policy.min_samples} needed)"
        return "failed", note
    if measure.partial:
        return "undecided", note
    if samples < policy.min_samples:
        return "undecided", f" ({samples} held-out images, at least {policy.min_samples} needed)"
    if name in OBSERVED:
        return "passed", note
    pessimistic = measure.low if bound.at_least is not None else measure.high
    if pessimistic is None:
        return "undecided", " (no interval)"
    if bound.met_by(pessimistic):
        return "passed", note
    return "undecided", f" ({_needed(bound, measure, pessimistic)})"


def _could_be_met(bound: Bound, measure: Measure) -> bool:
    """Tell whether the favourable end of the interval meets the bound."""
    hopeful = measure.high if bound.at_least is not None else measure.low
    return hopeful is not None and bound.met_by(max(0.0, hopeful))


def _needed(bound: Bound, measure: Measure, pessimistic: float) -> str:
    """Estimate how many images would decide: the interval narrows with the square root of them."""
    limit = bound.at_least if bound.at_least is not None else bound.at_most
    value = measure.value
    if limit is None or value is None or math.isclose(value, limit, abs_tol=1e-6):
        return "the observed value is at the bound; no number of images would decide it"
    times = abs(pessimistic - value) / abs(limit - value)
    if not times < _FAR:
        return "the interval is too wide to say how many images would decide it"
    return f"about {math.ceil(measure.n * times**2):,} held-out images would decide it"
