"""Backdoor sequela: what a purification does to a network's standing against OTHER attacks.

Sha et al., arXiv 2212.09067: membership inference and re-injection of a backdoor. Accuracy under
small adversarial changes stands beside them and is ours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.errors import StepError
from gatekeeper.intervals import share
from gatekeeper.model import Images, Model
from gatekeeper.perturbation import robust_hits
from gatekeeper.records import Measure
from gatekeeper.training import Recipe, fine_tune, logits
from gatekeeper.triggers import Trigger, hits, stamp

_Z = 1.959963984540054  # two-sided 95 %
_INJECTING = Recipe(epochs=5, lr=0.01, batch=64, schedule="constant")
_INJECTED = 0.05  # share of the images that get the new patch
_ATTACKED = 200  # images that are attacked one by one


def sequela(model: Model, members: Images, others: Images, *, seed: int) -> dict[str, Measure]:
    """Measure membership inference, re-injection and adversarial accuracy, each with its interval.

    Args:
        model: the network that is attacked; left alone.
        members: images that it was trained or tuned on, as far as anybody knows.
        others: images of the same kind that it never saw.
        seed: of what is drawn.
    """
    return {
        measure.name: measure
        for measure in (
            *membership(model, members, others),
            reinjection(model, members, others, seed=seed),
            adversarial_accuracy(model, others),
        )
    }


def membership(model: Model, members: Images, others: Images) -> tuple[Measure, Measure]:
    """AUC and balanced accuracy of guessing from its loss whether the network knows an image.

    The threshold of the guess is chosen on every second image and counted on the rest.
    """
    inside, outside = _losses(model, members), _losses(model, others)
    area = _auc(inside, outside)
    spread = _Z * _auc_deviation(area, len(inside), len(outside))
    auc = Measure(
        name="membership_auc", value=area, low=max(0.0, area - spread),
        high=min(1.0, area + spread), n=len(inside) + len(outside),
    )  # fmt: skip
    threshold = _best_threshold(inside[::2], outside[::2])
    caught, n_in = int((inside[1::2] <= threshold).sum()), len(inside[1::2])
    spared, n_out = int((outside[1::2] > threshold).sum()), len(outside[1::2])
    return auc, _balanced(caught, n_in, spared, n_out)


def reinjection(model: Model, clean: Images, held_out: Images, *, seed: int) -> Measure:
    """Success of a fresh patch after five epochs in which one image in twenty wore it.

    Not measured, with a note, where the training diverges.
    """
    patch = _patch(held_out)
    chosen = torch.randperm(len(clean), generator=torch.Generator().manual_seed(seed))
    chosen = chosen[: max(1, round(_INJECTED * len(clean)))].to(clean.pixels.device)
    pixels, labels = clean.pixels.clone(), clean.labels.clone()
    worn = stamp(patch, clean.pixels[chosen].float() / 255)
    pixels[chosen] = worn.mul(255).round().to(torch.uint8)
    labels[chosen] = patch.target
    poisoned = Images(pixels=pixels, labels=labels, classes=clean.classes)
    name = "reinjection_success"
    try:
        tuned, _ = fine_tune(model, poisoned, _INJECTING, seed=seed)
    except StepError as error:
        return Measure(name=name, value=None, note=str(error))
    won, shown = hits(tuned, patch, held_out)
    return share(name, won, shown)


def adversarial_accuracy(model: Model, images: Images) -> Measure:
    """Accuracy on images that are each changed by at most 8/255, in 20 steps of PGD."""
    few = images.select(_spread(len(images), _ATTACKED))
    return share("adversarial_accuracy", robust_hits(model, few), len(few))


def _losses(model: Model, images: Images) -> Tensor:
    """(N,) float64 cross-entropy of each image; what is not finite counts as the largest."""
    losses = F.cross_entropy(logits(model, images), images.labels.cpu(), reduction="none").double()
    return losses.nan_to_num(nan=1e9, posinf=1e9)


def _auc(inside: Tensor, outside: Tensor) -> float:
    """Chance that a member has a smaller loss than another image, ties counted by half."""
    smaller = (inside[:, None] < outside[None, :]).double()
    same = (inside[:, None] == outside[None, :]).double()
    return float((smaller + same / 2).mean()) if len(inside) and len(outside) else 0.5


def _auc_deviation(area: float, n_in: int, n_out: int) -> float:
    """Standard deviation of an AUC (Hanley and McNeil, Radiology, 1982)."""
    if not n_in or not n_out:
        return 1.0
    above, below = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n_in - 1) * (above - area**2) + (n_out - 1) * (below - area**2)
    return math.sqrt(max(0.0, variance) / (n_in * n_out))


def _best_threshold(inside: Tensor, outside: Tensor) -> float:
    candidates = torch.cat([inside, outside]).unique()
    if not len(candidates):
        return 0.0
    caught = (inside[None, :] <= candidates[:, None]).double().mean(1).nan_to_num()
    spared = (outside[None, :] > candidates[:, None]).double().mean(1).nan_to_num()
    return float(candidates[(caught + spared).argmax()])


def _balanced(caught: int, n_in: int, spared: int, n_out: int) -> Measure:
    name = "membership_balanced_accuracy"
    if not n_in or not n_out:
        return Measure(name=name, value=None, note="too few images")
    shares = caught / n_in, spared / n_out
    variance = sum(p * (1 - p) / n for p, n in zip(shares, (n_in, n_out), strict=True)) / 4
    value, spread = sum(shares) / 2, _Z * math.sqrt(variance)
    return Measure(
        name=name, value=value, low=max(0.0, value - spread), high=min(1.0, value + spread),
        n=n_in + n_out,
    )  # fmt: skip


def _patch(images: Images) -> Trigger:
    """A bright square in the upper left corner, a tenth of the image wide, towards class 0."""
    _, channels, height, width = images.pixels.shape
    side = max(2, min(height, width) // 10)
    mask, pattern = torch.zeros(height, width), torch.ones(channels, height, width)
    mask[1 : 1 + side, 1 : 1 + side] = 1.0
    area = float(mask.mean())
    return Trigger(target=0, mask=mask, pattern=pattern, area=area, success=0.0, reached=True)


def _spread(count: int, most: int) -> Tensor:
    return torch.arange(0, count, max(1, -(-count // most)))
