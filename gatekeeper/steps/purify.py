"""Purify: give back a network that lost its backdoor and kept its skill, or none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from safetensors.torch import save_file

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.policy import Bound
from gatekeeper.purification import PURIFIERS
from gatekeeper.purification.auto import Auto, Trial
from gatekeeper.records import Attempt, Measure, Purification, to_dict
from gatekeeper.steps.workshop import CleanData, Workshop
from gatekeeper.verification import Observation, measure, observe

PURIFIED = "purified.safetensors"
# Compared between attempts on a small validation split; the verdict uses the held-out images.
_TRIED = (
    "clean_accuracy",
    "clean_accuracy_drop",
    "worst_class_recall",
    "worst_class_recall_drop",
    "recovered_trigger_success",
    "smallest_trigger_area",
)
_NEEDED = ("recovered_trigger_success", "smallest_trigger_area")  # no value is no acceptance


def purify(work: Workshop) -> list[str]:
    """Write `purification.json` and, where a network was kept, `purified.safetensors`."""
    work.room.file(PURIFIED).unlink(missing_ok=True)
    data = work.data if work.has_weights else None
    reason = _why_not(work)
    if reason or data is None:
        work.notes.skipped.append(f"Purification: {reason}")
        work.room.write_json("purification.json", None)
        return ["purification.json"]
    try:
        purified, purification = _run(work, data)
    except StepError as error:
        work.notes.errors.append(f"Purification: {error}. {error.hint}")
        work.room.write_json("purification.json", None)
        return ["purification.json"]
    work.room.write_json("purification.json", to_dict(purification))
    if purified is None:
        work.notes.skipped.append(f"Purified network: none kept; {purification.stopped_because}")
        return ["purification.json"]
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in purified.network.state_dict().items()
    }
    with work.room.writing(PURIFIED) as path:
        save_file(tensors, path)
    return ["purification.json", PURIFIED]


def _why_not(work: Workshop) -> str:
    when = work.policy.purify.when
    if not work.has_weights:
        return "the candidate's weights were not read."
    if when == "never":
        return f"policy {work.policy.name!r} asks for none."
    if work.data is None:
        return "no clean images; give --data DIR."
    screens = work.room.read_json("findings.json")["screens"].values()
    if when == "flagged" and not any(result["outcome"] == "flagged" for result in screens):
        return "no screen flagged the candidate, and the policy purifies flagged ones only."
    return ""


def _run(work: Workshop, data: CleanData) -> tuple[Model | None, Purification]:
    method = work.job.method or work.policy.purify.method
    seed = work.seed_for("purify")
    clean = data.purify.to(work.device)
    if method != "auto":
        work.tell(f"purify by {method}")
        return PURIFIERS[method]()(work.candidate, clean, seed=seed)
    auto = Auto()
    _, validation = auto.divide(clean, seed)
    work.tell("recover the candidate's triggers on the validation images")
    before = observe(work.candidate, validation, seed=seed)
    trial = partial(_try, work, validation, before)
    return auto(work.candidate, clean, seed=seed, trial=trial, on_attempt=_teller(work.tell))


def _teller(tell: Callable[[str], None]) -> Callable[[Attempt], None]:
    def say(attempt: Attempt) -> None:
        settings = ", ".join(f"{name} {value}" for name, value in attempt.settings.items())
        tell(f"{attempt.method} ({settings}): {attempt.outcome}: {attempt.message}")

    return say


def _try(work: Workshop, validation: Images, before: Observation, purified: Model) -> Trial:
    """Hold an attempt against the policy on images that the purifier did not see."""
    after = observe(purified, validation, seed=work.seed_for("trial"))
    measures = measure(
        purified,
        validation,
        after,
        candidate=before,
        trigger_area=work.trigger_area,
        min_samples_per_class=work.policy.min_samples_per_class,
    )
    tried = {name: measures[name] for name in _TRIED if name in measures}
    bounds = {name: work.policy.require[name] for name in tried if name in work.policy.require}
    violated = [name for name, bound in bounds.items() if _violates(tried[name], bound)]
    untried = [name for name in bounds if tried[name].value is None]
    return Trial(
        acceptable=not violated,
        accuracy_drop=tried["clean_accuracy_drop"].value or 0.0,
        message=_told(tried, bounds, violated, untried),
        measures=tried,
    )


def _told(
    tried: dict[str, Measure],
    bounds: dict[str, Bound],
    violated: list[str],
    untried: list[str],
) -> str:
    if violated:
        values = [f"{name} {_percent(tried[name])} ({bounds[name]})" for name in violated]
        return f"violated on the validation images: {', '.join(values)}"
    left = f"; too few images to try {', '.join(untried)}" if untried else ""
    return f"no line of the policy is violated on the validation images{left}"


def _percent(measured: Measure) -> str:
    return "not measured" if measured.value is None else f"{100 * measured.value:.4g} %"


def _violates(measured: Measure, bound: Bound) -> bool:
    if measured.value is None:
        return measured.name in _NEEDED
    return not bound.met_by(measured.value)
