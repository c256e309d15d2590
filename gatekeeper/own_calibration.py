"""A calibration from what an organisation's own clean networks show: bounds, and what is natural.

The weights stay those of the zoo. The bounds move so that the networks stay below; where enough of
them have the same classes, what these find easy is kept, and a scan of another such network is held
against it. Pure: no torch, no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gatekeeper.assessing import assess
from gatekeeper.calibration import (
    ALLOWED,
    OWN,
    Calibration,
    Reference,
    left_out_alarms,
    rate,
    threshold,
)
from gatekeeper.nature import FEWEST as FEWEST_OTHERS
from gatekeeper.nature import Nature, nature_of
from gatekeeper.records import ScreenResult

FEWEST = 3  # networks below which their scores say nothing of the next one
SURE = round(1 / ALLOWED) - 1  # networks from which on the bound may also fall
ALIKE = FEWEST_OTHERS + 1  # of the same classes: each is itself held against the others
# Of one network, by the screens that it is seen without, and whether beyond what is natural.
Scores = dict[tuple[tuple[str, ...], bool], float]


@dataclass(frozen=True, kw_only=True)
class Screened:
    """The classes of a network, the clean images it was screened on, and what the screens say."""

    classes: tuple[str, ...]
    images: str  # digest
    screens: Mapping[str, ScreenResult]


def scores_of(seen: Screened, calibration: Calibration, nature: Nature | None = None) -> Scores:
    """The score as it is without the screens of each reference; none where one is missing.

    With a `nature`, those of the references that are held against one.
    """
    natures = () if nature is None else (nature,)
    calibration = calibration.model_copy(update={"natures": natures})
    scores = {}
    for reference in calibration.references:
        if reference.natural != bool(natures):
            continue
        shown = {name: one for name, one in seen.screens.items() if name not in reference.without}
        found = assess(shown, seen.classes, calibration, images=seen.images)
        known = found.calibration
        alike = {*known.without} == {*reference.without} and bool(known.natural) == bool(natures)
        if found.score is not None and alike:
            scores[reference.without, reference.natural] = found.score
    return scores


def draw(before: Calibration, seen: Mapping[str, Screened]) -> Calibration:
    """Move `before` to networks known to be clean; each counts as held against the others.

    One that is held against a nature moves the bounds of such networks alone: what is easy by
    nature must not lift the bound of those that nothing is taken off.
    """
    natures = tuple(_natures(seen, ALIKE))
    alike = {(nature.classes, nature.images) for nature in natures}
    found = []
    for name, one in seen.items():
        nature = None
        if (one.classes, one.images) in alike:
            others = {k: other for k, other in seen.items() if k != name}
            known = {(one.classes, one.images): one for one in _natures(others, FEWEST_OTHERS)}
            nature = known.get((one.classes, one.images))
        found.append(scores_of(one, before, nature))
    counts = {*before.classes, *(len(one.classes) for one in seen.values())}
    return move(before, found, classes=(min(counts), max(counts)), natures=natures)


def move(
    before: Calibration,
    found: Sequence[Scores],
    *,
    classes: tuple[int, int],
    natures: tuple[Nature, ...] = (),
) -> Calibration:
    """The same weights; bounds that the organisation's own networks stay below."""
    made = f"{len(found)} known-clean networks, {datetime.now(UTC).date()}, from {before.name}"
    references = []
    for one in before.references:
        key = one.without, one.natural
        references.append(_shifted(one, [scores[key] for scores in found if key in scores]))
    return before.model_copy(
        update={
            "name": OWN, "made": made, "classes": classes, "references": tuple(references),
            "natures": natures,
        }
    )  # fmt: skip


def _natures(seen: Mapping[str, Screened], fewest: int) -> Iterator[Nature]:
    """What is easy by nature, of all classes that so many networks have."""
    for task in dict.fromkeys((one.classes, one.images) for one in seen.values()):
        known = [one.screens for one in seen.values() if (one.classes, one.images) == task]
        if len(known) >= fewest:
            nature = nature_of(task[0], known, images=task[1])
            if nature is not None and nature.networks >= fewest:
                yield nature


def _shifted(before: Reference, clean: Sequence[float]) -> Reference:
    """Hold a reference against other clean networks; as it was where they are too few.

    A few networks may only raise the bound: that they all score low is no proof that the next one
    does. The rate is that of a bound drawn without the network that it is held against.
    """
    if len(clean) < FEWEST:
        return before
    own = threshold(clean)
    sure = len(clean) >= SURE
    bound = own if sure else max(own, before.threshold)
    alarms = left_out_alarms(clean)
    if not sure:
        alarms = [
            alarm and score >= before.threshold for alarm, score in zip(alarms, clean, strict=True)
        ]
    return before.model_copy(
        update={
            "own": True,
            "threshold": bound,
            "clean": tuple(sorted(clean)),
            "false_alarms": rate(alarms),
            "detection": rate([score >= bound for score in before.backdoored]),
        }
    )
