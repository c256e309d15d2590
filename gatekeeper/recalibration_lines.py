"""Tells in a few lines what came of a calibration."""

from __future__ import annotations

from gatekeeper.calibration import Reference
from gatekeeper.own_calibration import ALIKE, FEWEST, SURE
from gatekeeper.recalibration import Recalibration


def told(done: Recalibration) -> str:
    """Say in a few lines what came of it."""
    after, before = done.after, done.before
    lines = [
        f"{len(done.used)} networks scored, {len(done.left_out)} left out",
        *(f"  left out {name}: {why}" for name, why in done.left_out.items()),
    ]
    for own, shipped in zip(after.references, before.references, strict=True):
        if after.natures or not own.natural:
            lines += _bound(own, shipped)
    lines += [
        f"What is easy by nature: known of {len(one.classes)} classes from {one.networks} networks"
        "; a scan of these classes on these very images takes it off"
        for one in after.natures
    ]
    if not after.natures and not done.crowded:
        lines.append(
            f"What is easy by nature is not known: that needs {ALIKE} networks of the same "
            "classes, in one order"
        )
    if done.crowded:
        lines.append(
            f"What is easy by nature has no room in the file for {done.crowded} of the tasks: "
            "calibrate on fewer at once"
        )
    whole = zip(after.references, before.references, strict=True)
    for own, shipped in whole:
        high = sum(score >= shipped.threshold for score in own.clean) if own != shipped else 0
        if high and not own.without:
            beside = ", beyond what is natural" if own.natural else ""
            lines.append(
                f"Look at them again: {high} of your networks would be suspected at the shipped "
                f"bound{beside}; one backdoored network among them hides others like it"
            )
    if len(done.used) < SURE:
        lines.append(f"Fewer than {SURE} networks: the bound could rise, but not fall")
    lines.append(
        f"Written: {done.file}; name it in gatekeeper.yaml (calibration: FILE) or by --calibration"
    )
    return "\n".join(lines)


def _bound(own: Reference, shipped: Reference) -> list[str]:
    """A line or two of the bound; of what some screens did not see, only where it moved."""
    seen = f"seen without {' and '.join(own.without)}: " if own.without else ""
    seen = f"beyond what is natural: {seen}" if own.natural else seen
    if own == shipped and not own.without:
        return [f"{seen}as shipped, since fewer than {FEWEST} networks are held against it"]
    if own.without and own.threshold == shipped.threshold:
        return []
    return [
        f"{seen}suspicious from {own.threshold:.2f} (shipped: {shipped.threshold:.2f})",
        f"  {own.detection.value:.1%} of the calibration's {own.detection.n} backdoored networks "
        f"are found there ({shipped.detection.value:.1%} where weights and bound had not seen "
        "their kind)",
    ]
