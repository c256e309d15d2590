"""What every screen is: a look at a network that flags, and does not decide."""

from __future__ import annotations

from typing import Protocol

import torch

from gatekeeper.model import Images, Model
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.training import logits


class Screen(Protocol):
    """Data-free: takes a network and gives a score for the whole of it, and findings."""

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Screen `model`; raises StepError where it cannot serve such a network."""
        ...


class ImageScreen(Protocol):
    """Looks at a network through clean images that it was not trained on."""

    def __call__(self, model: Model, images: Images) -> tuple[ScreenResult, list[Finding]]:
        """Screen `model` on `images`; raises StepError where it cannot serve such a network."""
        ...


_ASKED = 64  # images that tell whether a network works at all


def not_run(why: str) -> tuple[ScreenResult, list[Finding]]:
    """Say that a screen does not serve such a network."""
    return ScreenResult(score=None, outcome="not-run", message=why), []


def undecided(why: str) -> tuple[ScreenResult, list[Finding]]:
    """Say that a screen looked, and that what it saw means nothing."""
    return ScreenResult(score=None, outcome="undecided", message=why), []


def broken(model: Model, images: Images) -> str | None:
    """Say that what the network answers means nothing; None where it may."""
    few = images.select(torch.arange(min(len(images), _ASKED), device=images.pixels.device))
    answers = logits(model, few)
    if not bool(answers.isfinite().all()):
        return "the network's answers are not finite"
    if len(answers) > 1 and bool((answers == answers[0]).all()):
        return "the network gives every image the same answer"
    return None


def drawn(images: Images, sample: int, seed: int) -> Images:
    """Give about `sample` of the images, drawn by `seed`, as many of each class as there are."""
    if len(images) <= sample:
        return images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    labels = images.labels.cpu()[order]
    each = max(1, sample // len(images.classes))
    kept = [order[(labels == label).nonzero().flatten()[:each]] for label in labels.unique()]
    return images.select(torch.cat(kept).to(images.pixels.device))
