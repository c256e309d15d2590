"""Pictures of a report as inline SVG: no script, no font, no file from elsewhere.

Colours are CSS classes, so that they follow light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from gatekeeper.records import Attempt, LayerNorms, Measure

_WIDTH = 720
_LEFT, _RIGHT = 190, 20
_MOST_DOTS = 400  # of one layer; of more, the largest and an even sample


def norms_chart(norms: Sequence[LayerNorms], flagged: set[tuple[str, int]]) -> Markup:
    """A line per layer, a dot per unit, on a log scale; the purified network below it."""
    shown = [layer for layer in norms if any(value > 0 for value in layer.before)]
    values = [v for layer in shown for v in (*layer.before, *(layer.after or ())) if v > 0]
    if not values:
        return Markup()
    low, high = math.log10(min(values)), math.log10(max(values))
    low, high = math.floor(low * 2) / 2, math.ceil(high * 2) / 2
    span = max(high - low, 0.5)
    step = 34 if any(layer.after for layer in shown) else 22
    height = step * len(shown) + 46
    parts = [_head(height, "Norm of each unit's weights, layer by layer, on a logarithmic scale")]
    for tick in range(math.ceil(low), math.floor(high) + 1):
        x = _x((tick - low) / span)
        parts.append(_line("grid", x, 10, x, height - 30))
        parts.append(_text("axis", x, height - 12, f"{10.0**tick:g}", anchor="middle"))
    for row, layer in enumerate(shown):
        y = 20 + step * row
        parts.append(_text("label", _LEFT - 10, y + 4, _short(layer.layer), anchor="end"))
        for series, offset, dots in (("before", 0, layer.before), ("after", 13, layer.after or ())):
            for unit in _sample(dots):
                if dots[unit] <= 0:
                    continue
                mark = series if (layer.layer, unit) not in flagged else f"{series} flagged"
                x = _x((math.log10(dots[unit]) - low) / span)
                parts.append(_dot(mark, x, y + offset, 4 if "flagged" in mark else 2.4))
    return Markup("".join(parts) + "</svg>")


def recall_chart(before: dict[str, Measure], after: dict[str, Measure]) -> Markup:
    """A pair of bars for each class, with the interval as a whisker."""
    names = [name for name in before if name.startswith("recall:")][:60]
    if not names:
        return Markup()
    step = 34 if after else 22
    height = step * len(names) + 40
    parts = [_head(height, "Share of each class's images that is recognised, before and after")]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = _x(tick)
        parts.append(_line("grid", x, 6, x, height - 28))
        parts.append(_text("axis", x, height - 10, f"{100 * tick:g} %", anchor="middle"))
    for row, name in enumerate(names):
        y = 10 + step * row
        label = _short(name.removeprefix("recall:"))
        parts.append(_text("label", _LEFT - 10, y + 12, label, anchor="end"))
        for series, offset, measure in (
            ("before", 0, before[name]),
            ("after", 13, after.get(name)),
        ):
            if measure is None or measure.value is None:
                continue
            top, length = y + offset, measure.value * (_WIDTH - _LEFT - _RIGHT)
            parts.append(
                f'<rect class="{series}" x="{_LEFT}" y="{top}" width="{length:.1f}" height="10"/>'
            )
            if measure.low is not None and measure.high is not None:
                middle = top + 5
                parts.append(_line("whisker", _x(measure.low), middle, _x(measure.high), middle))
    return Markup("".join(parts) + "</svg>")


def history_chart(attempt: Attempt) -> Markup:
    """Loss and validation accuracy over the epochs of one attempt."""
    history = attempt.history
    if len(history) < 2:
        return Markup()
    highest = max(epoch.loss for epoch in history) or 1.0
    losses = [epoch.loss / highest for epoch in history]
    accuracies = [epoch.accuracy for epoch in history if epoch.accuracy is not None]
    parts = [_head(170, "Loss and validation accuracy over the epochs")]
    for tick in (0.0, 0.5, 1.0):
        y = 140 - 120 * tick
        parts.append(_line("grid", _LEFT, y, _WIDTH - _RIGHT, y))
        axis = f"{100 * tick:g} %  ·  loss {highest * tick:.2g}"
        parts.append(_text("axis", _LEFT - 10, y + 4, axis, anchor="end"))
    for series, values in (("loss", losses), ("accuracy", accuracies)):
        if len(values) > 1:
            points = " ".join(
                f"{_x(i / (len(values) - 1)):.1f},{140 - 120 * value:.1f}"
                for i, value in enumerate(values)
            )
            parts.append(f'<polyline class="{series}" points="{points}"/>')
    parts.append(_text("axis", _LEFT, 162, "epoch 1", anchor="middle"))
    parts.append(_text("axis", _WIDTH - _RIGHT, 162, f"{history[-1].epoch}", anchor="end"))
    return Markup("".join(parts) + "</svg>")


def _sample(values: Sequence[float]) -> list[int]:
    if len(values) <= _MOST_DOTS:
        return list(range(len(values)))
    by_size = sorted(range(len(values)), key=lambda unit: -values[unit])
    return [*by_size[:40], *by_size[40 :: len(values) // _MOST_DOTS + 1]]


def _head(height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" class="chart" '
        f'preserveAspectRatio="xMinYMin meet"><title>{escape(title)}</title>'
    )


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _dot(kind: str, x: float, y: float, radius: float) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def _text(kind: str, x: float, y: float, text: str, *, anchor: str) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _short(name: str) -> str:
    return name if len(name) <= 28 else "…" + name[-27:]
