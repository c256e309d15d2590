"""What a policy or an operator asks beside the policy's own lines: sequela, and suspect images."""

from __future__ import annotations

from dataclasses import replace

import torch

from gatekeeper.errors import StepError
from gatekeeper.model import Model
from gatekeeper.records import Measure
from gatekeeper.steps.workshop import CleanData, Workshop
from gatekeeper.training import predictions
from gatekeeper.verification.durability import (
    Suspects,
    along_the_path,
    obeyed,
    reactivated,
    retuned,
)
from gatekeeper.verification.sequela import sequela


def aftermath(
    work: Workshop, data: CleanData, purified: Model | None
) -> tuple[dict[str, Measure], dict[str, Measure]]:
    """Measure the candidate, and the purified network where there is one."""
    before: dict[str, Measure] = {}
    after: dict[str, Measure] = {}
    if work.policy.verify.sequela:
        work.tell("measure the standing against other attacks")
        before |= _sequela(work, data, work.candidate)
        after |= _sequela(work, data, purified) if purified else {}
    suspects = _suspects(work)
    if suspects is not None:
        work.tell(f"measure what {len(suspects.images)} suspect images do")
        before["suspects_obeyed"] = _told(obeyed(work.candidate, suspects), suspects)
        after |= _durability(work, data, suspects, purified) if purified else {}
    return before, after


def _sequela(work: Workshop, data: CleanData, model: Model) -> dict[str, Measure]:
    seed = work.seed_for("sequela")
    members, others = data.purify.to(work.device), data.verify.to(work.device)
    try:
        return sequela(model, members, others, seed=seed)
    except StepError as error:
        work.notes.skipped.append(f"Sequela: {error}. {error.hint}")
        return {}


def _suspects(work: Workshop) -> Suspects | None:
    """The operator's images, and the class that the candidate takes most of them for."""
    if work.suspects is None:
        return None
    answers = predictions(work.candidate, work.suspects)
    wanted = int(answers.bincount().argmax())
    return Suspects(images=work.suspects, wanted=torch.full_like(answers, wanted))


def _durability(
    work: Workshop, data: CleanData, suspects: Suspects, purified: Model
) -> dict[str, Measure]:
    clean, seed = data.purify.to(work.device), work.seed_for("durability")
    found = [obeyed(purified, suspects)]
    try:
        found += [
            retuned(purified, clean, suspects, seed=seed),
            reactivated(purified, suspects),
            along_the_path(work.candidate, purified, suspects),
        ]
    except StepError as error:
        work.notes.skipped.append(f"Durability: {error}. {error.hint}")
    return {measure.name: _told(measure, suspects) for measure in found}


def _told(measure: Measure, suspects: Suspects) -> Measure:
    name = suspects.images.classes[int(suspects.wanted[0])]
    return replace(measure, note="; ".join(filter(None, [f"as class {name}", measure.note])))
