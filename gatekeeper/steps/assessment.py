"""Weighs the screens of a run, and says when their score means nothing or too little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gatekeeper.assessing import assess
from gatekeeper.assessments import Assessment
from gatekeeper.checks import SUSPECTED
from gatekeeper.evidence import SCREEN_OF
from gatekeeper.model import Model
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.interface import broken
from gatekeeper.steps.workshop import CleanData, Workshop
from gatekeeper.verification import Observation

_ABOVE_CHANCE = 0.15  # share of the way from chance to 1
FEWEST_PER_CLASS = 5  # held-out images of a class below which a screen says little of it
_FEWEST_OF_SOURCE = 10  # and below which the search for pairs takes it for no source


def assessed(
    work: Workshop,
    screens: Mapping[str, ScreenResult],
    classes: tuple[str, ...],
    *,
    blind: Sequence[str],
) -> tuple[Assessment | None, list[Finding]]:
    """Weigh `screens`; None where the policy asks for none that the score is made of.

    `blind` says why no answer of the candidate means anything.
    """
    counting = {SCREEN_OF[name] for name in work.calibration.evidence}
    left_out = sorted(counting - set(work.policy.screen))
    if left_out:
        names = ", ".join(left_out)
        work.notes.skipped.append(
            f"Policy {work.policy.name!r} leaves out screens that the score is made of: {names}."
        )
    if not set(SCREEN_OF.values()) & set(work.policy.screen):
        work.notes.skipped.append("Nothing says whether the candidate looks backdoored.")
        return None, []
    found = weigh(work, screens, classes, blind=blind)
    if found.outcome == "inconclusive":
        why = "; ".join(found.why_inconclusive)
        work.notes.skipped.append(f"Screening is inconclusive: {why}.")
    return found, [_finding(found)] if found.outcome == "suspicious" else []


def weigh(
    work: Workshop,
    screens: Mapping[str, ScreenResult],
    classes: tuple[str, ...],
    *,
    blind: Sequence[str],
) -> Assessment:
    """Weigh `screens`, with the doubts that the clean images leave."""
    least = _FEWEST_OF_SOURCE if "pair-inversion" in work.policy.screen else FEWEST_PER_CLASS
    doubts = ["There are no clean images"] if work.data is None else _scarce(work.data, least)
    return assess(
        screens, classes, work.calibration, images=work.data_digest, blind=blind, doubts=doubts
    )


def why_blind(work: Workshop, model: Model, observation: Observation) -> list[str]:
    """Say why nothing that `model` answers means anything; empty where it may."""
    if work.data is None:
        return []
    why = broken(model, work.data.verify.to(work.device))
    told = [why[0].upper() + why[1:]] if why is not None else []
    if hits_by_chance(work.data, observation) is not None:
        told.append("Hardly more images are named right than by chance")
    return told


def hits_by_chance(data: CleanData, observation: Observation) -> float | None:
    """Give the share of images named right where chance names hardly fewer."""
    right = float((observation.predictions == data.verify.labels.cpu()).float().mean())
    chance = 1 / len(data.verify.classes)
    return right if right < chance + _ABOVE_CHANCE * (1 - chance) else None


def _scarce(data: CleanData, least: int) -> list[str]:
    counts = data.verify.labels.bincount(minlength=len(data.verify.classes)).tolist()
    few = [
        f"{name!r} ({count})"
        for name, count in zip(data.verify.classes, counts, strict=True)
        if count < least
    ]
    if not few:
        return []
    names = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
    return [f"Fewer than {least} held-out images of class {names}"]


def _finding(found: Assessment) -> Finding:
    rate = found.calibration.false_alarms
    whose = "own " if found.calibration.own else ""
    unseen = "each held against the others" if whose else "of kinds unseen"
    return Finding(
        rule_id=SUSPECTED,
        screen="assessment",
        severity="high",
        score=found.score,
        threshold=found.calibration.threshold,
        message=f"the screens together speak for a backdoor{_towards(found)}; bounds drawn "
        f"so suspect {round(rate.value * rate.n)} of {rate.n} {whose}clean networks, {unseen}",
    )


def _towards(found: Assessment) -> str:
    if found.kind == "all to all":
        return " that sends each class to another"
    if found.suspected_class is None:
        return ""
    source = f" from class {found.suspected_source!r}" if found.suspected_source else ""
    return f"{source} towards class {found.suspected_class!r}"
