"""The one training loop: evaluate, fine-tune, plainly or sharpness-aware."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.allocation import hold_freed_memory
from gatekeeper.augmentation import augment, mix
from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.precision import Precision, autocast
from gatekeeper.records import Epoch
from gatekeeper.sam import SharpnessAware

Schedule = Literal["constant", "cosine", "reference", "super"]
# The published code steps a cosine of this period once per iteration, so it goes up again.
REFERENCE_PERIOD = 100
BatchNorm = nn.modules.batchnorm._BatchNorm


class Diverged(StepError):  # noqa: N818 - it is what happened, and it is caught by name
    """The loss became NaN or infinite."""

    hint = "Use a smaller learning rate or rho."


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train; `rho` = 0 is plain SGD, above it the adaptive sharpness-aware step."""

    epochs: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    schedule: Schedule = "cosine"
    label_smoothing: float = 0.0
    rho: float = 0.0
    crop_padding: int = 0  # pixels
    flip: bool = False
    clip: float = 0.0  # largest gradient norm; 0: none
    lr_base: float = 0.0  # schedule "super": where every triangle begins and ends
    lr_second: float = 0.0  # schedule "super": the peak of the second half
    cycles: int = 3  # schedule "super": triangles in each half
    distil: float = 0.0  # weight in [0, 1] of a teacher's answers
    mixed: bool = False  # images, and their labels, are mixed in pairs
    precision: Precision = "auto"


Disguise = Callable[[Tensor, torch.Generator], Tensor]  # (N, C, H, W) in [0, 1] -> the same


class Rein(Protocol):
    """Holds a training to something beside its loss."""

    def penalty(self) -> Tensor:
        """() what is added to the loss."""
        ...

    def project(self) -> None:
        """Bring the weights back to where they may be, after a step."""
        ...


def fine_tune(
    model: Model,
    images: Images,
    recipe: Recipe,
    *,
    seed: int,
    validation: Images | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    rein: Callable[[Model], Rein] | None = None,
    teacher: Model | None = None,
    disguise: Disguise | None = None,
) -> tuple[Model, tuple[Epoch, ...]]:
    """Train a copy of `model` on `images` and give it in eval mode, with its history.

    Args:
        model: where the weights start; left alone.
        images: what to train on.
        recipe: how.
        seed: of the order and the augmentation.
        validation: images whose accuracy goes into the history.
        on_epoch: hears each epoch; what it raises ends the training.
        rein: makes, for the copy, what is added to the loss and done after each step.
        teacher: whose answers count where `recipe.distil` > 0; those of `model` where left out.
        disguise: changes the images that are learnt from, but not those that the teacher sees.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    tuned = model.clone()
    trainer = _Trainer(tuned, images, recipe, seed)
    trainer.rein = rein(tuned) if rein else None
    trainer.disguise = disguise
    if recipe.distil > 0:
        teacher = (teacher or model).clone()
        trainer.teacher = teacher.pixels_to_logits().to(model.device).eval()
    history = []
    for epoch in range(recipe.epochs):
        with _seeded_chance(model.device, seed + epoch):
            loss, rate = trainer.epoch()
        seen = None if validation is None else accuracy(tuned, validation)
        line = Epoch(epoch=epoch + 1, loss=loss, learning_rate=rate, accuracy=seen)
        history.append(line)
        if on_epoch is not None:
            on_epoch(line)
    tuned.network.zero_grad(set_to_none=True)
    tuned.network.to(memory_format=torch.contiguous_format).eval()
    return tuned, tuple(history)


@contextmanager
def _seeded_chance(device: torch.device, seed: int) -> Iterator[None]:
    """Let layers that draw by themselves (dropout, stochastic depth) draw by `seed`."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _fits(images: Images, device: torch.device) -> bool:
    """Tell whether all images may lie on the device, and leave it room to work."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.pixels.numel() < free // 4


class _Trainer:
    """One run of training: the optimiser, the schedule, the chance."""

    def __init__(self, model: Model, images: Images, recipe: Recipe, seed: int) -> None:
        hold_freed_memory()
        self.recipe = recipe
        self.device = model.device
        self.images = images.to(self.device) if _fits(images, self.device) else images
        # Convolutions run faster where the channels of a pixel lie side by side.
        self.network = model.network.to(memory_format=torch.channels_last)
        self.view = model.pixels_to_logits().to(model.device)
        parameters = list(self.network.parameters())
        for weight in parameters:
            weight.requires_grad_(True)
        self.optimiser = torch.optim.SGD(
            parameters,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            foreach=True,
        )
        self.parameters = parameters
        self.sharp = SharpnessAware(parameters, rho=recipe.rho)
        self.generator = torch.Generator().manual_seed(seed)
        self.rein: Rein | None = None
        self.teacher: nn.Module | None = None
        self.disguise: Disguise | None = None
        self.taken = 0
        self.total = recipe.epochs * len(self._batches(torch.arange(len(images))))

    def epoch(self) -> tuple[float, float]:
        """Pass once over the images; give the mean loss and the last learning rate."""
        self.network.train()
        order = torch.randperm(len(self.images), generator=self.generator)
        losses = []
        rate = self.recipe.lr
        for index in self._batches(order):
            rate = learning_rate(self.recipe, self.taken, self.total)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            batch = self.images.select(index.to(self.images.pixels.device)).to(self.device)
            pixels = augment(
                batch.floats(), self.recipe.crop_padding, self.recipe.flip, self.generator
            )
            labels = batch.labels
            if self.recipe.mixed:
                pixels, labels = mix(pixels, labels, len(batch.classes), self.generator)
            taught = self._taught(pixels)
            if self.disguise is not None:
                pixels = self.disguise(pixels, self.generator)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            losses.append(self._step(pixels, labels, taught))
            self.taken += 1
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            message = f"the loss became {loss} after {self.taken} steps"
            raise Diverged(message)
        return loss, rate

    def _batches(self, order: Tensor) -> list[Tensor]:
        """Cut into batches; a last one that is far too small joins the one before it.

        The statistics of a few images are chance, and a full step by them undoes many good ones.
        """
        batches = list(order.split(self.recipe.batch))
        if len(batches) > 1 and len(batches[-1]) < self.recipe.batch / 4:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def _step(self, pixels: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        loss = self._gradient(pixels, labels, taught)
        if self.recipe.rho > 0:
            self.sharp.climb()
            # Perturbed weights would pollute the statistics we export with.
            with frozen_running_stats(self.network):
                self._gradient(pixels, labels, taught)
            self.sharp.come_back()
        if self.recipe.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip, foreach=True)
        self.optimiser.step()
        if self.rein is not None:
            self.rein.project()
        return loss

    @torch.no_grad()
    def _taught(self, pixels: Tensor) -> Tensor | None:
        """(N, classes) what the teacher answers; None where there is none."""
        if self.teacher is None:
            return None
        with autocast(pixels.device, self.recipe.precision):
            answer: Tensor = self.teacher(pixels.contiguous(memory_format=torch.channels_last))
        return answer.float().softmax(dim=1)

    def _gradient(self, pixels: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(pixels.device, self.recipe.precision):
            answer = self.view(pixels)
        loss = F.cross_entropy(answer.float(), labels, label_smoothing=self.recipe.label_smoothing)
        if taught is not None:
            share = self.recipe.distil
            loss = (1 - share) * loss + share * F.cross_entropy(answer.float(), taught)
        if self.rein is not None:
            loss = loss + self.rein.penalty()
        loss.backward()
        return loss.detach()


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """Learning rate of `step` (from 0) of `total`."""
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "super":
        return _triangle(recipe, step, total)
    period = REFERENCE_PERIOD if recipe.schedule == "reference" else max(total, 1)
    return recipe.lr * (1 + math.cos(math.pi * step / period)) / 2


def _triangle(recipe: Recipe, step: int, total: int) -> float:
    """Up and down in straight lines: `cycles` times to `lr`, then as often to `lr_second`."""
    half = max(1, total / 2)
    peak = recipe.lr if step < half else recipe.lr_second
    place = (step % half) / half * recipe.cycles % 1  # in [0, 1) of one triangle
    return recipe.lr_base + (peak - recipe.lr_base) * (1 - abs(2 * place - 1))


@contextmanager
def frozen_running_stats(network: nn.Module) -> Iterator[None]:
    """Let BatchNorm use batch statistics without updating its running ones."""
    norms = [
        module
        for module in network.modules()
        if isinstance(module, BatchNorm) and module.track_running_stats
    ]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@torch.inference_mode()
def logits(model: Model, images: Images, *, batch: int = 256) -> Tensor:
    """(N, classes) float32 on the CPU, in eval mode; the network's mode is put back."""
    device = model.device
    view = model.pixels_to_logits().to(device)
    training = model.network.training
    view.eval()
    try:
        answers = [
            view(images.select(index).to(device).floats()).float().cpu()
            for index in torch.arange(len(images), device=images.pixels.device).split(batch)
        ]
    finally:
        model.network.train(training)
    return torch.cat(answers) if answers else torch.empty(0, len(model.classes))


def predictions(model: Model, images: Images) -> Tensor:
    """(N,) int64 on the CPU: the class with the largest logit."""
    return logits(model, images).argmax(dim=1)


def accuracy(model: Model, images: Images) -> float:
    """Share in [0, 1] of the images whose class the network names."""
    return float((predictions(model, images) == images.labels.cpu()).float().mean())
