"""Pictures of a report as inline SVG: no script, no font, no file from elsewhere.

Colours are CSS classes, so that they follow light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from gatekeeper.records import Attempt, LayerNorms, Measure
from gatekeeper.report.svg import LEFT, RIGHT, WIDTH, across, dot, head, line, short, text

_MOST_DOTS = 400  # of one layer; of more, the largest and an even sample
MOST_CLASSES = 60  # of more, the worst


def norms_chart(norms: Sequence[LayerNorms], flagged: set[tuple[str, int]]) -> Markup:
    """A line per layer, a dot per unit, on a log scale; the purified network below it."""
    shown = [layer for layer in norms if _sample(layer.before)]
    units = [unit for layer in shown for unit in _sample((*layer.before, *(layer.after or ())))]
    if not units:
        return Markup()
    logs = [math.log10(norm) for _, norm in units]
    low, high = math.floor(min(logs) * 2) / 2, math.ceil(max(logs) * 2) / 2
    span = max(high - low, 0.5)
    step = 34 if any(layer.after for layer in shown) else 22
    height = step * len(shown) + 46
    parts = [head(height, "Norm of each unit's weights, layer by layer, on a logarithmic scale")]
    for tick in _ticks(low, low + span):
        x = across((math.log10(tick) - low) / span)
        parts.append(line("grid", x, 10, x, height - 30))
        parts.append(text("axis", x, height - 12, f"{tick:g}", anchor="middle"))
    for row, layer in enumerate(shown):
        y = 20 + step * row
        parts.append(text("label", LEFT - 10, y + 4, short(layer.layer), anchor="end"))
        for series, offset, dots in (("before", 0, layer.before), ("after", 13, layer.after or ())):
            for unit, norm in _sample(dots):
                mark = series if (layer.layer, unit) not in flagged else f"{series} flagged"
                x = across((math.log10(norm) - low) / span)
                parts.append(dot(mark, x, y + offset, 4 if "flagged" in mark else 2.4))
    return Markup("".join(parts) + "</svg>")


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two logarithms; with their halves and fifths where few are."""
    steps = (1, 2, 5) if high - low < 3 else (1,)
    ticks = [step * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return [tick for tick in ticks if low - 1e-9 <= math.log10(tick) <= high + 1e-9]


def recall_chart(before: dict[str, Measure], after: dict[str, Measure]) -> Markup:
    """A pair of bars for each class, with the interval as a whisker."""
    names = [name for name in before if name.startswith("recall:")]
    if len(names) > MOST_CLASSES:
        names = sorted(names, key=lambda name: before[name].value or 0.0)[:MOST_CLASSES]
    if not names:
        return Markup()
    labels = [short(name.removeprefix("recall:")) for name in names]
    left = min(LEFT, 24 + 7 * max(map(len, labels)))
    step = 34 if after else 22
    height = step * len(names) + 40
    parts = [head(height, "Share of each class's images that is recognised, before and after")]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = across(tick, left)
        parts.append(line("grid", x, 6, x, height - 28))
        parts.append(text("axis", x, height - 10, f"{100 * tick:g} %", anchor="middle"))
    for row, (name, label) in enumerate(zip(names, labels, strict=True)):
        y = 10 + step * row
        parts.append(text("label", left - 10, y + 12, label, anchor="end"))
        for series, offset, measure in (
            ("before", 0, before[name]),
            ("after", 13, after.get(name)),
        ):
            if measure is None or measure.value is None:
                continue
            top, length = y + offset, across(measure.value, left) - left
            parts.append(
                f'<rect class="{series}" x="{left}" y="{top}" width="{length:.1f}" height="10"/>'
            )
            if measure.low is not None and measure.high is not None:
                middle = top + 5
                ends = across(measure.low, left), middle, across(measure.high, left), middle
                parts += [line("halo", *ends), line("whisker", *ends)]
    return Markup("".join(parts) + "</svg>")


def history_chart(attempt: Attempt) -> Markup:
    """Loss and validation accuracy over the epochs of one attempt."""
    history = attempt.history
    if len(history) < 2:
        return Markup()
    finite = [epoch.loss for epoch in history if epoch.loss is not None]
    highest = max(finite, default=0.0) or 1.0
    losses = [loss / highest for loss in finite]
    accuracies = [epoch.accuracy for epoch in history if epoch.accuracy is not None]
    what = "Loss and validation accuracy" if accuracies else "Loss"
    parts = [head(170, f"{what} over the epochs")]
    for tick in (0.0, 0.5, 1.0):
        y = 140 - 120 * tick
        parts.append(line("grid", LEFT, y, WIDTH - RIGHT, y))
        share = f"{100 * tick:g} %  ·  " if accuracies else ""
        axis = f"{share}loss {highest * tick:.2g}"
        parts.append(text("axis", LEFT - 10, y + 4, axis, anchor="end"))
    for series, values in (("loss", losses), ("accuracy", accuracies)):
        if len(values) > 1:
            points = " ".join(
                f"{across(i / (len(values) - 1)):.1f},{140 - 120 * value:.1f}"
                for i, value in enumerate(values)
            )
            parts.append(f'<polyline class="{series}" points="{points}"/>')
    parts.append(text("axis", LEFT, 162, "epoch 1", anchor="middle"))
    parts.append(text("axis", WIDTH - RIGHT, 162, f"{history[-1].epoch}", anchor="end"))
    return Markup("".join(parts) + "</svg>")


def _sample(values: Sequence[float | None]) -> list[tuple[int, float]]:
    """Units with a place on a log scale; what is zero or not finite has none."""
    units = [(unit, value) for unit, value in enumerate(values) if value and value > 0]
    if len(units) <= _MOST_DOTS:
        return units
    units.sort(key=lambda unit: -unit[1])
    return [*units[:40], *units[40 :: len(units) // _MOST_DOTS + 1]]
