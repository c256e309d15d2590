"""Purify: give back a network that lost its backdoor and kept its skill, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safetensors.torch import save_file

from gatekeeper.errors import StepError
from gatekeeper.model import Model
from gatekeeper.purification import PURIFIERS
from gatekeeper.purification.auto import Auto
from gatekeeper.records import Attempt, Purification, to_dict
from gatekeeper.report.wording import TELLING
from gatekeeper.steps.choosing import trial_of
from gatekeeper.steps.workshop import CleanData, Workshop

PURIFIED = "purified.safetensors"


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
    if not len(work.data.purify):
        return (
            "one image per class leaves none to purify on; give others to verify by --verify-data."
        )
    if "at_chance" in work.room.read_json("findings.json"):
        return "the candidate is hardly better than chance on the clean images."
    if when == "flagged" and not _flagged(work.room.read_json("findings.json")):
        return "nothing was suspected, and the policy purifies flagged candidates only."
    return ""


def _flagged(screened: dict[str, Any]) -> bool:
    """Tell whether the screens leave a doubt: one that flags, or a score that is not clean."""
    if any(result["outcome"] == "flagged" for result in screened["screens"].values()):
        return True
    assessment = screened["assessment"]
    return assessment is not None and assessment["outcome"] != "clean-looking"


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
    trial = trial_of(
        work.candidate,
        validation,
        work.policy.require,
        trigger_area=work.trigger_area,
        min_samples_per_class=work.policy.min_samples_per_class,
        seed=work.seed_for("trial"),
    )
    return auto(work.candidate, clean, seed=seed, trial=trial, on_attempt=_teller(work.tell))


def _teller(tell: Callable[[str], None]) -> Callable[[Attempt], None]:
    def say(attempt: Attempt) -> None:
        known = ((name, attempt.settings.get(name)) for name in TELLING)
        settings = ", ".join(f"{name} {value}" for name, value in known if value is not None)
        tell(f"{attempt.method} ({settings}): {attempt.outcome}: {attempt.message}")

    return say
