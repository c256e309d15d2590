"""Verify: measure candidate and purified network on the same held-out images."""

from __future__ import annotations

from gatekeeper.assessments import Assessment, Attribution
from gatekeeper.evidence import SCREEN_OF
from gatekeeper.inversion import unfitted
from gatekeeper.model import Images, Model
from gatekeeper.records import Measure, Subject, TriggerRecord, Verification, to_dict
from gatekeeper.report.schema import from_dict
from gatekeeper.steps import foreign
from gatekeeper.steps.aftermath import aftermath
from gatekeeper.steps.assessment import weigh, why_blind
from gatekeeper.steps.attribution import followed, most_telling
from gatekeeper.steps.conclusion import assessment
from gatekeeper.steps.observations import load_observation, save_observation
from gatekeeper.steps.purify import PURIFIED
from gatekeeper.steps.screen import OBSERVATION
from gatekeeper.steps.screening import run_screen
from gatekeeper.steps.workshop import CleanData, Workshop
from gatekeeper.trigger_pictures import picture
from gatekeeper.triggers import ANYWHERE, Trigger, hits
from gatekeeper.verification import Observation, measure, observe

_PURIFIED_OBSERVATION = "purified-observation.safetensors"
# The smallest ones: a report of a thousand classes stays readable, and its run short.
_PICTURES, _MEASURED = 4, 20
_ENOUGH = 50  # images that no trigger was fitted on, to measure by


def verify(work: Workshop) -> list[str]:
    """Write `verification.json`: the measures before and after, and the recovered triggers."""
    data = work.data if work.has_weights else None
    if data is None and (before := foreign.measured(work)) is not None:
        return _alone(work, Verification(before=before, after=None))
    if data is None:
        work.notes.errors.append(f"Nothing was verified: {_why_not(work)}")
        return _alone(work, None)
    if not work.room.file(OBSERVATION).exists():
        work.notes.errors.append("Nothing was verified: the candidate could not be observed.")
        return _alone(work, None)
    if shared := data.record.shared:
        left_out = f"{shared} images left out: they are also images to purify on."
        work.notes.skipped.append(f"Verification: {left_out}")
    candidate = load_observation(work.room, OBSERVATION)
    files = ["verification.json"]
    before = _measure(work, data, work.candidate, candidate, candidate)
    after: dict[str, Measure] | None = None
    purified = work.load(PURIFIED) if work.room.file(PURIFIED).exists() else None
    again: Assessment | None = None
    triggers: list[TriggerRecord] = []
    if purified is not None:
        observation = _observed(work, data, purified)
        files.append(_PURIFIED_OBSERVATION)
        after = _measure(work, data, purified, observation, candidate)
        triggers = _describe(work, data, purified, observation, None, "purified")
        again = _screened_again(work, purified, observation)
    attribution = _attribution(work, candidate, purified)
    more_before, more_after = aftermath(work, data, purified)
    before |= more_before
    if after is not None:
        after |= more_after
    triggers = [*_describe(work, data, work.candidate, candidate, purified, "candidate"), *triggers]
    content = {
        "verification": to_dict(Verification(before=before, after=after, screened=again)),
        "triggers": [to_dict(trigger) for trigger in triggers],
        "attribution": to_dict(attribution) if attribution is not None else None,
    }
    work.room.write_json("verification.json", content)
    return files


def _alone(work: Workshop, verification: Verification | None) -> list[str]:
    """Write what is known without triggers."""
    found = to_dict(verification) if verification is not None else None
    work.room.write_json(
        "verification.json", {"verification": found, "triggers": [], "attribution": None}
    )
    return ["verification.json"]


def _observed(work: Workshop, data: CleanData, purified: Model) -> Observation:
    """Observe the purified network as the candidate was, and keep what was seen."""
    if sought := work.policy.seeks_triggers:
        work.tell("recover triggers from the purified network")
    observation = observe(
        purified,
        data.verify.to(work.device),
        seed=work.seed_for("observe"),
        triggers=sought,
        on_classes=work.tell_classes,
    )
    save_observation(observation, work.room, _PURIFIED_OBSERVATION)
    return observation


def _why_not(work: Workshop) -> str:
    if work.has_weights:
        return "no clean images; give --data DIR."
    if work.graph_input is None:
        return "no weights were read."
    if work.data is None:
        return "the ONNX graph does not convert, nor was its accuracy measured; give --data DIR."
    return "the ONNX graph does not convert, and onnxruntime did not answer."


def _screened_again(work: Workshop, purified: Model, observation: Observation) -> Assessment | None:
    """Weigh what the screens see of the purified network, unless the candidate is clean-looking.

    Its triggers alone do not tell whether what the screens suspected is gone: a faint one that
    lies over the whole image is never small.
    """
    found = assessment(work)
    if found is None or found.outcome == "clean-looking":
        return None
    counting = [name for name in work.policy.screen if name in SCREEN_OF.values()]
    screens = {
        name: run_screen(work, name, purified, observation, whose="purified network")[0]
        for name in counting
    }
    blind = why_blind(work, purified, observation)
    again = weigh(work, screens, purified.classes, blind=blind)
    if again.outcome == "inconclusive":
        told = "; ".join(again.why_inconclusive)
        work.notes.skipped.append(f"Screening of the purified network is inconclusive: {told}.")
    return again


def _attribution(
    work: Workshop, candidate: Observation, purified: Model | None
) -> Attribution | None:
    """The units that carry the most telling trigger, and what becomes of them."""
    screened = work.room.read_json("findings.json")
    if screened["attribution"] is None:
        return None
    before = from_dict(Attribution, screened["attribution"])
    if purified is None:
        return before
    found = assessment(work)
    return followed(work, purified, most_telling(candidate, found, purified.classes), before)


def _measure(
    work: Workshop,
    data: CleanData,
    model: Model,
    observed: Observation,
    candidate: Observation,
) -> dict[str, Measure]:
    return measure(
        model,
        data.verify.to(work.device),
        observed,
        candidate=candidate,
        trigger_area=work.trigger_area,
        min_samples_per_class=work.policy.min_samples_per_class,
    )


def _describe(
    work: Workshop,
    data: CleanData,
    model: Model,
    observation: Observation,
    purified: Model | None,
    subject: Subject,
) -> list[TriggerRecord]:
    """Measure each recovered trigger on held-out images; draw the smallest ones.

    Those of the classes are shown images that none was fitted on, where there are enough.
    """
    images = data.verify.to(work.device)
    unseen = unfitted(images, work.seed_for("observe"))
    if len(unseen) < _ENOUGH:
        unseen = images
    by_size = sorted(observation.triggers, key=lambda trigger: (not trigger.reached, trigger.area))
    by_size = [*observation.special, *by_size]
    return [
        TriggerRecord(
            target=trigger.target,
            target_class="any other"
            if trigger.target == ANYWHERE
            else model.classes[trigger.target],
            source_class=None if trigger.source is None else model.classes[trigger.source],
            area=trigger.area if trigger.reached else None,
            success=_success(model, trigger, shown, rank),
            success_after=_success(purified, trigger, shown, rank) if purified else None,
            reached=trigger.reached,
            subject=subject,
            picture=picture(trigger, images) if rank < _PICTURES and trigger.reached else "",
        )
        for rank, trigger in enumerate(by_size)
        for shown in [images if rank < len(observation.special) else unseen]
    ]


def _success(model: Model, trigger: Trigger, images: Images, rank: int) -> float | None:
    won, shown = hits(model, trigger, images) if rank < _MEASURED else (0, 0)
    return won / shown if shown else None
