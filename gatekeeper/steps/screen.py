"""Screen: which units stand out, and which class is too easy to reach?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gatekeeper.errors import StepError
from gatekeeper.inversion import untried
from gatekeeper.model import Model
from gatekeeper.network import layers, unit_norms
from gatekeeper.records import Finding, ScreenResult, to_dict
from gatekeeper.screening import UNIT_SCREENS
from gatekeeper.screening.interface import broken
from gatekeeper.steps.assessment import assessed, hits_by_chance, why_blind
from gatekeeper.steps.attribution import attributed, most_telling, special_triggers
from gatekeeper.steps.observations import save_observation
from gatekeeper.steps.screening import NOT_RUN, run_screen
from gatekeeper.steps.workshop import Workshop
from gatekeeper.verification import Observation, observe

OBSERVATION = "candidate-observation.safetensors"


def screen(work: Workshop) -> list[str]:
    """Write `findings.json` and, where there are clean images, what inversion recovered."""
    if not work.has_weights:
        work.room.write_json("findings.json", _without_network(work))
        return ["findings.json"]
    model = work.candidate
    screens: dict[str, ScreenResult] = {}
    findings: list[Finding] = []
    files = ["findings.json"]
    observation = _observe(work, model)
    for name in work.policy.screen:
        screens[name], found = run_screen(work, name, model, observation)
        findings.extend(found)
    at_chance = observation is not None and _at_chance(work, observation)
    blind = why_blind(work, model, observation) if observation is not None else []
    assessment, found = assessed(work, screens, model.classes, blind=blind)
    findings.extend(found)
    attribution = None
    if observation is not None:
        special = special_triggers(work, model, assessment)
        observation = replace(observation, special=special)
        save_observation(observation, work.room, OBSERVATION)
        files.append(OBSERVATION)
        telling = most_telling(observation, assessment, model.classes)
        attribution = attributed(work, model, telling, findings)
    content = {
        "findings": [to_dict(finding) for finding in findings],
        "screens": {name: to_dict(result) for name, result in screens.items()},
        "assessment": to_dict(assessment) if assessment is not None else None,
        "attribution": to_dict(attribution) if attribution is not None else None,
        "norms": _norms(model),
        "architecture": model.architecture,
        "input": to_dict(model.input),
        "num_classes": len(model.classes),
        "parameters": sum(weight.numel() for weight in model.network.parameters()),
    }
    if at_chance:
        content["at_chance"] = True
    work.room.write_json("findings.json", content)
    return files


def _without_network(work: Workshop) -> dict[str, Any]:
    """Screen the layers of a graph that does not convert, by those screens that need no more."""
    model = work.layers_alone
    if model is None:
        work.notes.skipped.append("Screening: the candidate's weights were not read.")
        return {"findings": [], "screens": {}, "assessment": None, "norms": []}
    screens: dict[str, ScreenResult] = {}
    findings: list[Finding] = []
    for name in work.policy.screen:
        screens[name] = NOT_RUN
        if name in UNIT_SCREENS:
            screens[name], found = run_screen(work, name, model, None)
            findings.extend(found)
    left = ", ".join(name for name, result in screens.items() if result is NOT_RUN)
    if left:
        work.notes.skipped.append(f"Screens that need a network, not its layers alone: {left}.")
    return {
        "findings": [to_dict(finding) for finding in findings],
        "screens": {name: to_dict(result) for name, result in screens.items()},
        "assessment": None,
        "norms": _norms(model),
        "architecture": model.architecture,
        "parameters": sum(weight.numel() for weight in model.network.parameters()),
    }


def _norms(model: Model) -> list[dict[str, Any]]:
    return [
        {"layer": layer.name, "kind": layer.kind, "before": unit_norms(model, layer).tolist()}
        for layer in layers(model)
    ]


def _at_chance(work: Workshop, observation: Observation) -> bool:
    """Tell, and note, that candidate and clean images do not belong together."""
    data = work.data
    if data is None:
        return False
    right = hits_by_chance(data, observation)
    if right is None:
        return False
    look = "Look whether labels, the order of the card's classes, and its input are right."
    if work.card.input is None:
        look = "No card names its input, so pixels in [0, 1] were assumed: give --card FILE."
    work.notes.errors.append(
        f"Clean images: the candidate names only {right:.1%} of them right, hardly more than by "
        f"chance. {look}"
    )
    return True


def _observe(work: Workshop, model: Model) -> Observation | None:
    if work.data is None:
        work.notes.skipped.append("Trigger inversion: no clean images; give --data DIR.")
        return None
    count, wanted = len(work.data.verify), work.policy.min_samples
    if count < wanted:
        work.tell(f"only {count} images to verify on, the policy wants {wanted}: this cannot pass")
    sought = work.policy.seeks_triggers
    if not sought:
        work.notes.skipped.append(
            "Trigger inversion: no screen and no line of the policy asks for it."
        )
    elif (why := broken(model, work.data.verify.to(work.device))) is not None:
        work.notes.skipped.append(f"Trigger inversion: {why}.")
        sought = False
    elif (why := untried(model)) is not None:
        work.notes.skipped.append(f"Trigger inversion: {why}.")
    else:
        work.tell(f"recover triggers for {len(model.classes)} classes")
    try:
        images = work.data.verify.to(work.device)
        return observe(
            model,
            images,
            seed=work.seed_for("observe"),
            triggers=sought,
            on_classes=work.tell_classes,
        )
    except StepError as error:
        work.notes.errors.append(f"Trigger inversion: {error}. {error.hint}")
        return None
