"""Screen: which units stand out, and which class is too easy to reach?"""

from __future__ import annotations

from gatekeeper.errors import StepError
from gatekeeper.model import Model
from gatekeeper.network import layers, unit_norms
from gatekeeper.records import Finding, ScreenResult, to_dict
from gatekeeper.screening import SCREENS, MaximumMargin
from gatekeeper.steps.observations import save_observation
from gatekeeper.steps.workshop import CleanData, Workshop
from gatekeeper.triggers import Trigger
from gatekeeper.verification import Observation, observe

OBSERVATION = "candidate-observation.safetensors"
_ABOVE_CHANCE = 0.15  # share of the way from chance to 1
NOT_RUN = ScreenResult(score=None, outcome="not-run")


def screen(work: Workshop) -> list[str]:
    """Write `findings.json` and, where there are clean images, what inversion recovered."""
    if not work.has_weights:
        work.room.write_json("findings.json", {"findings": [], "screens": {}, "norms": []})
        work.notes.skipped.append("Screening: the candidate's weights were not read.")
        return ["findings.json"]
    model = work.candidate
    screens: dict[str, ScreenResult] = {}
    findings: list[Finding] = []
    for name in work.policy.screen:
        if name in SCREENS:
            work.tell(f"screen {name}")
            screens[name], found = _run(work, name, model)
            findings.extend(found)
    files = ["findings.json"]
    observation = _observe(work, model)
    if observation is not None:
        save_observation(observation, work.room, OBSERVATION)
        files.append(OBSERVATION)
    if "trigger-inversion" in work.policy.screen:
        found, screens["trigger-inversion"] = _judge_triggers(work, model, observation)
        findings.extend(found)
    content = {
        "findings": [to_dict(finding) for finding in findings],
        "screens": {name: to_dict(result) for name, result in screens.items()},
        "norms": [
            {"layer": layer.name, "kind": layer.kind, "before": unit_norms(model, layer).tolist()}
            for layer in layers(model)
        ],
        "architecture": model.architecture,
        "input": to_dict(model.input),
        "num_classes": len(model.classes),
        "parameters": sum(weight.numel() for weight in model.network.parameters()),
    }
    if observation is not None and work.data and _at_chance(work, work.data, observation):
        content["at_chance"] = True
    work.room.write_json("findings.json", content)
    return files


def _at_chance(work: Workshop, data: CleanData, observation: Observation) -> bool:
    """Tell, and note, that candidate and clean images do not belong together."""
    labels = data.verify.labels.cpu()
    right = float((observation.predictions == labels).float().mean())
    chance = 1 / len(data.verify.classes)
    if right >= chance + _ABOVE_CHANCE * (1 - chance):
        return False
    look = "Look whether labels, the order of the card's classes, and its input are right."
    if work.card.input is None:
        look = "No card names its input, so pixels in [0, 1] were assumed: give --card FILE."
    work.notes.errors.append(
        f"Clean images: the candidate names only {right:.1%} of them right, hardly more than by "
        f"chance. {look}"
    )
    return True


def _run(work: Workshop, name: str, model: Model) -> tuple[ScreenResult, list[Finding]]:
    look = MaximumMargin(seed=work.seed_for(name)) if name == "maximum-margin" else SCREENS[name]()
    try:
        result, findings = look(model)
    except StepError as error:
        work.notes.errors.append(f"Screen {name}: {error}. {error.hint}")
        return NOT_RUN, []
    if result.outcome in ("not-run", "undecided"):
        work.notes.skipped.append(f"Screen {name}: {result.message}.")
    return result, findings


def _observe(work: Workshop, model: Model) -> Observation | None:
    if work.data is None:
        work.notes.skipped.append("Trigger inversion: no clean images; give --data DIR.")
        return None
    count, wanted = len(work.data.verify), work.policy.min_samples
    if count < wanted:
        work.tell(f"only {count} images to verify on, the policy wants {wanted}: this cannot pass")
    work.tell(f"recover triggers for {len(model.classes)} classes")
    try:
        return observe(model, work.data.verify.to(work.device), seed=work.seed_for("observe"))
    except StepError as error:
        work.notes.errors.append(f"Trigger inversion: {error}. {error.hint}")
        return None


def _judge_triggers(
    work: Workshop, model: Model, observation: Observation | None
) -> tuple[list[Finding], ScreenResult]:
    """Flag each class that a trigger smaller than the policy's area forces."""
    if observation is None:
        return [], NOT_RUN
    bound = work.trigger_area
    reached = [trigger for trigger in observation.triggers if trigger.reached]
    small = [trigger for trigger in reached if trigger.area < bound]
    result = ScreenResult(
        score=min((trigger.area for trigger in reached), default=None),
        outcome="flagged" if small else "not-flagged" if reached else "undecided",
        message=f"{len(reached)} of {len(observation.triggers)} classes reached; "
        f"{len(small)} by a trigger smaller than {bound:.3f} of the image",
    )
    return [_small_trigger(trigger, model, bound) for trigger in small], result


def _small_trigger(trigger: Trigger, model: Model, bound: float) -> Finding:
    return Finding(
        rule_id="small-trigger",
        screen="trigger-inversion",
        severity="high",
        score=trigger.area,
        threshold=bound,
        message=f"class {model.classes[trigger.target]!r} is forced by changing "
        f"{trigger.area:.2%} of the image (success {trigger.success:.1%} where it was fitted)",
    )
