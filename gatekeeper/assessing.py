"""Weighs what the screens saw: clean-looking, suspicious or inconclusive. Pure: no torch, no files.

The score is a sum of log-odds, one for each piece of evidence, against the median clean network of
the calibration. A piece that is missing adds nothing, and its absence is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from gatekeeper.assessments import Assessment, Evidence, Kind
from gatekeeper.calibration import Calibration
from gatekeeper.evidence import PIECES, gathered
from gatekeeper.records import ScreenResult

# Without these the score says too little to call a network clean-looking.
NEEDED = ("trigger-inversion", "maximum-margin")


def assess(
    screens: Mapping[str, ScreenResult],
    classes: Sequence[str],
    calibration: Calibration,
    *,
    blind: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> Assessment:
    """Weigh the results of all screens.

    Args:
        screens: results by the screen's name.
        classes: names.
        calibration: weights and threshold.
        blind: why the score means nothing, whatever it is.
        doubts: why a low score must not be called clean-looking.
    """
    seen = gathered(screens)
    evidence = []
    for name, weight in calibration.evidence.items():
        piece = seen[name]
        adds = weight.weight * (piece.value - weight.usual) if piece is not None else 0.0
        evidence.append(
            Evidence(
                name=name, screen=PIECES[name][0], value=piece.value if piece else None,
                adds=adds, clean_high=weight.clean_high, target=piece.target if piece else None,
                source=piece.source if piece else None,
            )
        )  # fmt: skip
    doubts = [*doubts, *_missing(screens), *_unreached(screens, classes)]
    score = None if all(one.value is None for one in evidence) else sum(e.adds for e in evidence)
    suspicious = score is not None and score >= calibration.threshold and not blind
    kind, target, source = _suspected(evidence)
    named = suspicious and target is not None
    agreeing = [one.screen for one in evidence if one.target == target and one.adds > 0]
    return Assessment(
        outcome="suspicious" if suspicious else "inconclusive" if blind or doubts
        else "clean-looking",
        score=score,
        suspected_class=classes[target] if named and target is not None else None,
        suspected_source=classes[source] if named and source is not None else None,
        kind=kind if suspicious else None,
        agreeing=tuple(dict.fromkeys(agreeing)) if named else (),
        evidence=tuple(evidence),
        why_inconclusive=(*blind, *doubts),
        calibration=calibration.record(),
    )  # fmt: skip


def _missing(screens: Mapping[str, ScreenResult]) -> list[str]:
    return [
        f"Screen {name} gave no result"
        for name in NEEDED
        if name not in screens or screens[name].outcome in ("not-run", "undecided")
    ]


def _unreached(screens: Mapping[str, ScreenResult], classes: Sequence[str]) -> list[str]:
    areas = screens["trigger-inversion"].by_class if "trigger-inversion" in screens else ()
    missed = [repr(name) for name, area in zip(classes, areas, strict=False) if area is None]
    if not missed:
        return []
    names = ", ".join(missed[:5]) + (f" and {len(missed) - 5} more" if len(missed) > 5 else "")
    return [f"No trigger was found that reaches class {names}: it may be too well hidden"]


def _suspected(evidence: Sequence[Evidence]) -> tuple[Kind | None, int | None, int | None]:
    """Which kind of backdoor, towards which class and from which: what adds most to the score."""
    for_class: dict[int, float] = defaultdict(float)
    for one in evidence:
        if one.target is not None and one.source is None:
            for_class[one.target] += max(one.adds, 0.0)
    target = max(for_class, key=lambda place: for_class[place], default=None)
    by_target = for_class[target] if target is not None else 0.0
    pair = next((one for one in evidence if one.source is not None), None)
    leave = next((one for one in evidence if one.screen == "untargeted-inversion"), None)
    by_pair = pair.adds if pair is not None else 0.0
    by_leave = leave.adds if leave is not None else 0.0
    if by_leave > max(by_target, by_pair):
        return "all to all", None, None
    if pair is not None and by_pair > by_target:
        return "one source", pair.target, pair.source
    return ("one class", target, None) if target is not None and by_target > 0 else (None,) * 3
