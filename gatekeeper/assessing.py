"""Weighs what the screens saw: clean-looking, suspicious or inconclusive. Pure: no torch, no files.

The score is a sum over the pieces of evidence: how far each lies above the median clean network of
the calibration, in units of how far clean networks usually do. A piece that is missing or below
adds nothing, and its absence is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatekeeper.assessments import Assessment, Evidence, Kind, Standing
from gatekeeper.calibration import Calibration, Reference
from gatekeeper.evidence import BY_CLASS, LEAVING, PAIR, SCREEN_OF, gathered, values_for, weighed
from gatekeeper.nature import Nature, take_off
from gatekeeper.policy import NEEDED
from gatekeeper.records import ScreenResult


@dataclass(frozen=True, kw_only=True)
class _Held:
    """What speaks for a backdoor, and the known networks that it is held against."""

    evidence: tuple[Evidence, ...]
    target: int | None  # class that has most against it
    reference: Reference
    nature: Nature | None = None  # what was taken off as easy by nature
    doubts: tuple[str, ...] = ()


def assess(
    screens: Mapping[str, ScreenResult],
    classes: Sequence[str],
    calibration: Calibration,
    *,
    images: str | None = None,
    blind: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> Assessment:
    """Weigh the results of all screens.

    Args:
        screens: results by the screen's name.
        classes: names.
        calibration: weights and threshold.
        images: digest of the clean images that the screens looked at.
        blind: why no score would mean anything; there is none then.
        doubts: why a low score must not be called clean-looking.
    """
    held = _hold(screens, classes, calibration, images)
    evidence = held.evidence
    doubts = [
        *doubts, *_missing(screens), *held.doubts, *_unusual(classes, calibration),
        *_renamed(classes, calibration, images),
        *_unreached(screens, classes),
    ]  # fmt: skip
    unknown = bool(blind) or all(one.value is None for one in evidence)
    score = None if unknown else sum(one.adds for one in evidence)
    suspicious = score is not None and score >= held.reference.threshold
    kind, target, source = _suspected(evidence, held.target)
    named = suspicious and target is not None
    agreeing = [
        one.screen for one in evidence if one.target == target and one.value is not None
        and one.value > one.clean_high
    ]  # fmt: skip
    outcome: Standing = (
        "suspicious" if suspicious else "inconclusive" if blind or doubts else "clean-looking"
    )
    return Assessment(
        outcome=outcome,
        score=score,
        suspected_class=classes[target] if named and target is not None else None,
        suspected_source=classes[source] if named and source is not None else None,
        kind=kind if suspicious else None,
        agreeing=tuple(dict.fromkeys(agreeing)) if named else (),
        evidence=evidence,
        why_inconclusive=(*blind, *doubts),
        calibration=calibration.record(held.reference, held.nature),
    )


def _evidence(
    screens: Mapping[str, ScreenResult], classes: int, calibration: Calibration
) -> tuple[tuple[Evidence, ...], int | None]:
    """Every piece, those about a class for the class that has most against it."""
    seen = gathered(screens)
    weights = {name: one.weight for name, one in calibration.evidence.items()}
    target = weighed(seen, weights, classes)
    values = values_for(seen, target)
    pieces = []
    for name, weight in calibration.evidence.items():
        value = values[name]
        points = target if name in BY_CLASS and value is not None else None
        source = None
        if name == PAIR and seen.pair is not None:
            _, source, points = seen.pair
        adds = weight.weight * max(value - weight.usual, 0.0) if value is not None else 0.0
        piece = Evidence(
            name=name, screen=SCREEN_OF[name], value=value, adds=adds,
            clean_high=weight.clean_high, target=points, source=source,
        )  # fmt: skip
        pieces.append(piece)
    return tuple(pieces), target


def _hold(
    screens: Mapping[str, ScreenResult],
    classes: Sequence[str],
    calibration: Calibration,
    images: str | None,
) -> _Held:
    """Hold a network against known ones that were seen as it was, of the same task if there are."""
    nature = calibration.nature(classes, images)
    if nature is not None:
        evidence, target = _evidence(take_off(nature, screens), len(classes), calibration)
        reference = calibration.reference(_unseen(evidence), natural=True)
        if reference is not None:
            return _Held(evidence=evidence, target=target, reference=reference, nature=nature)
    evidence, target = _evidence(screens, len(classes), calibration)
    without = _unseen(evidence)
    reference = calibration.reference(without)
    if reference is not None:
        return _Held(evidence=evidence, target=target, reference=reference)
    names = ", ".join(sorted(without)) or "all screens"
    doubt = f"Calibration {calibration.name} knows no networks seen without {names}"
    first = calibration.references[0]
    return _Held(evidence=evidence, target=target, reference=first, doubts=(doubt,))


def _unseen(evidence: Sequence[Evidence]) -> set[str]:
    """Screens that saw nothing and may: a `Reference` knows networks seen without them."""
    seen = {one.screen for one in evidence if one.value is not None}
    return {one.screen for one in evidence} - seen - {*NEEDED}


def _missing(screens: Mapping[str, ScreenResult]) -> list[str]:
    """Screens that are needed and did not look, and those that looked and could not tell."""
    absent = [
        f"Screen {name} gave no result"
        for name in NEEDED
        if name not in screens or screens[name].outcome == "not-run"
    ]
    weighed = dict.fromkeys(SCREEN_OF.values())
    return absent + [
        f"Screen {name} could not tell: {screens[name].message or 'it found nothing'}"
        for name in weighed
        if name in screens and screens[name].outcome == "undecided"
    ]


def _unusual(classes: Sequence[str], calibration: Calibration) -> list[str]:
    least, most = calibration.classes
    if least <= len(classes) <= most:
        return []
    known = f"{least} to {most}" if least < most else f"{least}"
    return [f"Calibration {calibration.name} knows networks of {known} classes, not {len(classes)}"]


def _renamed(classes: Sequence[str], calibration: Calibration, images: str | None) -> list[str]:
    """A card may come with the candidate: other names must not choose what it is held against."""
    if not calibration.renamed(classes, images):
        return []
    return [
        f"Calibration {calibration.name} knows networks that were screened on these very images "
        "by other names, or another order, of the classes"
    ]


def _unreached(screens: Mapping[str, ScreenResult], classes: Sequence[str]) -> list[str]:
    areas = screens["trigger-inversion"].by_class if "trigger-inversion" in screens else ()
    missed = [repr(name) for name, area in zip(classes, areas, strict=False) if area is None]
    if not missed:
        return []
    names = ", ".join(missed[:5]) + (f" and {len(missed) - 5} more" if len(missed) > 5 else "")
    return [f"No trigger was found that reaches class {names}: it may be too well hidden"]


def _suspected(
    evidence: Sequence[Evidence], target: int | None
) -> tuple[Kind | None, int | None, int | None]:
    """Which kind of backdoor, towards which class and from which: what adds most to the score."""
    adds = {one.name: one for one in evidence}
    by_class = sum(one.adds for one in evidence if one.name in BY_CLASS)
    pair, leaving = adds.get(PAIR), adds.get(LEAVING)
    by_pair = pair.adds if pair is not None else 0.0
    by_leaving = leaving.adds if leaving is not None else 0.0
    if by_leaving > max(by_class, by_pair, 0.0):
        return "all to all", None, None
    if pair is not None and by_pair > max(by_class, 0.0):
        return "one source", pair.target, pair.source
    return ("one class", target, None) if target is not None else (None, None, None)
