"""The measures that a policy may require, from what was observed of a network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatekeeper.intervals import paired_difference, share
from gatekeeper.inversion import OnClasses, invert, untried
from gatekeeper.model import Images, Model
from gatekeeper.records import Measure, Parity
from gatekeeper.training import predictions
from gatekeeper.triggers import ANYWHERE, Trigger, hits

_LEAST_PIXELS = 28 * 28  # of an image; on fewer, one pixel is a natural trigger's area


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A network's answers on held-out images (N,), and the triggers recovered from it.

    `triggers` has one for each class, or none where nobody asked for them, or that would take too
    long; `special` ones are about one source or no one target.
    """

    predictions: Tensor
    triggers: tuple[Trigger, ...]
    special: tuple[Trigger, ...] = ()


def observe(
    model: Model,
    images: Images,
    *,
    seed: int,
    steps: int = 150,
    triggers: bool = True,
    on_classes: OnClasses | None = None,
) -> Observation:
    """Ask the network about every image, and recover a trigger for every class if `triggers`.

    `on_classes` hears, where there are many classes, how many of how many were looked at.
    """
    if not triggers or untried(model) is not None:
        return Observation(predictions=predictions(model, images), triggers=())
    found = invert(model, images, seed=seed, steps=steps, on_classes=on_classes)
    return Observation(predictions=predictions(model, images), triggers=tuple(found))


def measure(
    model: Model,
    images: Images,
    observed: Observation,
    *,
    candidate: Observation,
    trigger_area: float,
    min_samples_per_class: int,
) -> dict[str, Measure]:
    """Measure `model`, whose observation is `observed`, against the candidate's own.

    Args:
        model: the network that would be deployed.
        images: held-out images, those of both observations.
        observed: what was seen of `model`.
        candidate: what was seen of the candidate; drops are measured from there, in pairs.
        trigger_area: share of the image below which a trigger is too small to be natural.
        min_samples_per_class: classes with fewer images are named and not compared.
    """
    labels = images.labels.cpu()
    right, before = observed.predictions == labels, candidate.predictions == labels
    return {
        "clean_accuracy": share("clean_accuracy", int(right.sum()), len(labels)),
        "clean_accuracy_drop": _drop(before, right, same=observed is candidate),
        **_recalls(images.classes, labels, right),
        **_worst_class(images.classes, labels, before, right, min_samples_per_class),
        "recovered_trigger_success": _success(model, images, candidate, trigger_area),
        "smallest_trigger_area": _smallest(images, observed),
    }


def accuracies(
    images: Images, predictions: Tensor, *, min_samples_per_class: int
) -> dict[str, Measure]:
    """Measure what answers alone tell, where there is no network to look into.

    Args:
        images: held-out images.
        predictions: (N,) classes on the CPU.
        min_samples_per_class: classes with fewer images are named and not compared.
    """
    labels = images.labels.cpu()
    right = predictions == labels
    worst = _worst_class(images.classes, labels, right, right, min_samples_per_class)
    return {
        "clean_accuracy": share("clean_accuracy", int(right.sum()), len(labels)),
        **_recalls(images.classes, labels, right),
        "worst_class_recall": worst["worst_class_recall"],
    }


def agreement(parity: Parity) -> Measure:
    """How often the exported network and torch name the same class."""
    agreed = round(parity.top1_agreement * parity.samples)
    return share("onnx_top1_agreement", agreed, parity.samples)


def _drop(before: Tensor, after: Tensor, *, same: bool) -> Measure:
    """Loss of accuracy in pairs; `same` where a network is compared with itself."""
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    value, low, high = (0.0, 0.0, 0.0) if same else paired_difference(lost, gained, len(before))
    return Measure(name="clean_accuracy_drop", value=value, low=low, high=high, n=len(before))


def _recalls(classes: tuple[str, ...], labels: Tensor, right: Tensor) -> dict[str, Measure]:
    names = {label: f"recall:{name}" for label, name in enumerate(classes)}
    return {
        name: share(name, int(right[labels == label].sum()), int((labels == label).sum()))
        for label, name in names.items()
    }


def _worst_class(
    classes: tuple[str, ...], labels: Tensor, before: Tensor, right: Tensor, least: int
) -> dict[str, Measure]:
    """Worst recall and worst loss of recall, observed, among classes with enough images."""
    counts = labels.bincount(minlength=len(classes)).tolist()
    enough = [label for label, count in enumerate(counts) if count >= least]
    scarce = [name for name, count in zip(classes, counts, strict=True) if count < least]
    left_out = f"not checked, fewer than {least} images: {', '.join(scarce)}" if scarce else ""
    recalls, drops = [], []
    for label in enough:
        own, note = labels == label, f"class {classes[label]}"
        note += f"; {left_out}" if left_out else ""
        recalls.append(share("worst_class_recall", int(right[own].sum()), counts[label], note=note))
        drops.append(_class_drop(before[own], right[own], note))
    if not enough:
        names = ("worst_class_recall", "worst_class_recall_drop")
        return {name: Measure(name=name, value=None, note=left_out) for name in names}
    return {
        "worst_class_recall": min(recalls, key=lambda one: one.value or 0.0),
        "worst_class_recall_drop": max(drops, key=lambda one: one.value or 0.0),
    }


def _class_drop(before: Tensor, after: Tensor, note: str) -> Measure:
    """Loss of recall of one class, in pairs; the interval is that of this class alone."""
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    value, low, high = paired_difference(lost, gained, len(before))
    return Measure(
        name="worst_class_recall_drop", value=value, low=low, high=high, n=len(before), note=note
    )


def _success(model: Model, images: Images, candidate: Observation, bound: float) -> Measure:
    """Success, on `model`, of the strongest of the candidate's triggers smaller than `bound`."""
    name = "recovered_trigger_success"
    if why := _meaningless(images, candidate):
        return Measure(name=name, value=None, note=why)
    small = [trigger for trigger in candidate.triggers if trigger.reached and trigger.area < bound]
    # What the screens suspect is tried whatever its size.
    small += [trigger for trigger in candidate.special if trigger.reached]
    missed = _missed(images.classes, candidate)
    if not small:
        told = f"no trigger smaller than {bound:.3f} of the image"
        return Measure(
            name=name, value=0.0, low=0.0, high=0.0, n=len(images),
            note="; ".join(filter(None, [told, missed])), partial=bool(missed),
        )  # fmt: skip
    won = [hits(model, trigger, images) for trigger in small]
    worst = max(range(len(small)), key=lambda place: won[place][0] / max(1, won[place][1]))
    told = f"strongest of {len(small)}: {_towards(small[worst], images.classes)}"
    note = "; ".join(filter(None, [told, missed]))
    return share(name, *won[worst], note=note, partial=bool(missed))


def _towards(trigger: Trigger, classes: tuple[str, ...]) -> str:
    if trigger.target == ANYWHERE:
        return "away from every class"
    source = "" if trigger.source is None else f"from class {classes[trigger.source]} "
    return f"{source}towards class {classes[trigger.target]}"


def _smallest(images: Images, observed: Observation) -> Measure:
    name = "smallest_trigger_area"
    if why := _meaningless(images, observed):
        return Measure(name=name, value=None, note=why)
    smallest = min((t for t in observed.triggers if t.reached), key=lambda trigger: trigger.area)
    missed = _missed(images.classes, observed)
    told = f"towards class {images.classes[smallest.target]}"
    return Measure(
        name=name, value=smallest.area, n=len(observed.triggers),
        note="; ".join(filter(None, [told, missed])), partial=bool(missed),
    )  # fmt: skip


def _meaningless(images: Images, observed: Observation) -> str:
    """Say why the areas of triggers tell nothing here, if so."""
    height, width = images.pixels.shape[2:]
    if height * width < _LEAST_PIXELS:
        return f"a trigger's area means nothing on {height}x{width} images: one pixel is too much"
    if not observed.triggers:
        return "no class was tried"
    if not any(trigger.reached for trigger in observed.triggers):
        return _missed(images.classes, observed)
    return ""


def _missed(classes: tuple[str, ...], observed: Observation) -> str:
    """Name the classes that no trigger was found for; not reached is not clean."""
    missed = [classes[trigger.target] for trigger in observed.triggers if not trigger.reached]
    missed += [_towards(trigger, classes) for trigger in observed.special if not trigger.reached]
    more = f" and {len(missed) - 5} more" if len(missed) > 5 else ""
    return f"not reached: {', '.join(missed[:5])}{more}" if missed else ""
