"""The trigger that speaks most for a backdoor, recovered with care, and the units that carry it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gatekeeper.assessments import Assessment, Attribution, UnitChange
from gatekeeper.attribution import unit_changes
from gatekeeper.errors import StepError
from gatekeeper.inversion import invert
from gatekeeper.model import Images, Model
from gatekeeper.records import Finding
from gatekeeper.screening.robust import robust_z, widened
from gatekeeper.steps.assessment import FEWEST_PER_CLASS
from gatekeeper.steps.workshop import Workshop
from gatekeeper.triggers import ANYWHERE, Trigger
from gatekeeper.untargeted import divert
from gatekeeper.verification import Observation

_SHOWN = 16
_STANDS_OUT = 3.5  # robust standard deviations above the median of a wide layer


def special_triggers(
    work: Workshop, model: Model, assessment: Assessment | None
) -> tuple[Trigger, ...]:
    """Recover what the search for all classes cannot: from one source, or to no one target."""
    if assessment is None or work.data is None or assessment.kind in (None, "one class"):
        return ()
    images, seed = work.data.verify.to(work.device), work.seed_for("special")
    work.tell("recover the suspected trigger")
    try:
        if assessment.kind == "all to all":
            found = divert(model, images, seed=work.seed_for("untargeted-inversion"))
            return (
                Trigger(
                    target=ANYWHERE, mask=found.mask, pattern=found.pattern, area=found.area,
                    success=found.success, reached=found.reached,
                ),
            )  # fmt: skip
        if assessment.suspected_class is None or assessment.suspected_source is None:
            return ()
        source = model.classes.index(assessment.suspected_source)
        target = model.classes.index(assessment.suspected_class)
        own = images.select(images.labels == source)
        if len(own) < FEWEST_PER_CLASS:
            name = assessment.suspected_source
            work.notes.errors.append(
                f"Suspected trigger: only {len(own)} images of its source {name!r} to recover it on"
            )
            return ()
        return (replace(invert(model, own, seed=seed, classes=[target])[0], source=source),)
    except StepError as error:
        work.notes.errors.append(f"Suspected trigger: {error}. {error.hint}")
        return ()


def most_telling(
    observation: Observation, assessment: Assessment | None, classes: Sequence[str]
) -> Trigger | None:
    """Give the recovered trigger that speaks most for a backdoor, else the smallest."""
    reached = [t for t in (*observation.special, *observation.triggers) if t.reached]
    if not reached:
        return None
    if observation.special and observation.special[0].reached:
        return observation.special[0]
    suspected = assessment.suspected_class if assessment is not None else None
    fitting = [t for t in reached if suspected is not None and classes[t.target] == suspected]
    return min(fitting or reached, key=lambda trigger: trigger.area)


def attributed(
    work: Workshop, model: Model, trigger: Trigger | None, findings: Sequence[Finding]
) -> Attribution | None:
    """Say which units of the candidate carry `trigger`, and which of them other screens named."""
    if trigger is None or work.data is None:
        return None
    changes = _changes(work, model, trigger)
    if changes is None:
        return None
    named = {(finding.layer, finding.unit) for finding in findings}
    units: list[UnitChange] = []
    of = 0
    for layer, change in changes.items():
        scores = robust_z(change)
        of += len(scores)
        far = (scores > widened(_STANDS_OUT, len(scores))).nonzero().flatten().tolist()
        units += [
            UnitChange(
                layer=layer, unit=unit, change=float(change[unit]),
                stands_out=float(scores[unit]), flagged=(layer, unit) in named,
            )
            for unit in far
        ]  # fmt: skip
    units.sort(key=lambda one: -one.stands_out)
    target = "any other" if trigger.target == ANYWHERE else model.classes[trigger.target]
    return Attribution(
        target_class=target, units=tuple(units[:_SHOWN]), carrying=len(units),
        flagged=sum(one.flagged for one in units), of=of,
    )  # fmt: skip


def followed(
    work: Workshop, purified: Model, trigger: Trigger | None, before: Attribution
) -> Attribution:
    """Add what the same trigger moves in the purified network."""
    if trigger is None or work.data is None:
        return before
    changes = _changes(work, purified, trigger)
    if changes is None:
        return before
    none = torch.zeros(0)
    units = [
        replace(one, after=float(changes[one.layer][one.unit]))
        if one.unit < len(changes.get(one.layer, none))
        else one
        for one in before.units
    ]
    return replace(before, units=tuple(units))


def _changes(work: Workshop, model: Model, trigger: Trigger) -> dict[str, Tensor] | None:
    """What the trigger moves in `model`; None where the GPU has no room for it."""
    if work.data is None:
        return None
    shown = _shown(work.data.verify, trigger).to(work.device)
    try:
        return unit_changes(model, shown, trigger, seed=work.seed_for("attribution"))
    except StepError as error:
        work.notes.errors.append(f"Unit attribution: {error}. {error.hint}")
        return None


def _shown(images: Images, trigger: Trigger) -> Images:
    return images if trigger.source is None else images.select(images.labels == trigger.source)
