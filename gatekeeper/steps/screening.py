"""Runs one of the policy's screens on the candidate, or on what purification made of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from gatekeeper.errors import StepError
from gatekeeper.model import Model
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening import IMAGE_SCREENS, UNIT_SCREENS, MaximumMargin, TriggerInversion
from gatekeeper.steps.workshop import Workshop
from gatekeeper.verification import Observation

NOT_RUN = ScreenResult(score=None, outcome="not-run")
_WITHOUT_IMAGES = 0.1  # of the work that the search for margins may take
_Look = Callable[[], tuple[ScreenResult, list[Finding]]]


def run_screen(
    work: Workshop, name: str, model: Model, observation: Observation | None, *, whose: str = ""
) -> tuple[ScreenResult, list[Finding]]:
    """Give what the screen `name` says of `model`; what hindered it goes into the notes.

    `observation` is of `model`, None where there are no clean images; `whose` network it is, where
    not the candidate's, is said in notes.
    """
    look = _look(work, name, model, observation)
    if look is None:
        return NOT_RUN, []
    of = f" of the {whose}" if whose else ""
    work.tell(f"screen {name}{of}")
    try:
        result, findings = look()
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        hint = "Use a GPU with more memory, or --device cpu."
        work.notes.errors.append(f"Screen {name}{of}: the GPU has no room for it. {hint}")
        return NOT_RUN, []
    except StepError as error:
        work.notes.errors.append(f"Screen {name}{of}: {error}. {error.hint}")
        return NOT_RUN, []
    if result.outcome in ("not-run", "undecided") and name != "trigger-inversion":
        work.notes.skipped.append(f"Screen {name}{of}: {result.message}.")
    return result, findings


def _look(work: Workshop, name: str, model: Model, observation: Observation | None) -> _Look | None:
    """Give the screen `name`, ready to look; None where it needs clean images and has none."""
    if name in UNIT_SCREENS:
        return partial(UNIT_SCREENS[name](), model)
    seed = work.seed_for(name)
    if name == "maximum-margin":
        # Without clean images a scan is to answer in seconds.
        share = 1.0 if observation is not None else _WITHOUT_IMAGES
        return partial(MaximumMargin(seed=seed, share=share), model)
    if observation is None or work.data is None:
        return None
    if name == "trigger-inversion":
        screen = TriggerInversion(bound=work.trigger_area)
        return partial(screen.judge, model, observation.triggers)
    images = work.data.verify.to(work.device)
    return partial(IMAGE_SCREENS[name](seed=seed), model, images)
