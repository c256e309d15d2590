"""Where a candidate stands among the networks of the calibration; which units carry a trigger."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from gatekeeper.assessments import Assessment, Attribution
from gatekeeper.report.svg import LEFT, RIGHT, WIDTH, across, dot, head, line, short, text

_TOP, _ROW = 34, 44
_LANES = 5  # heights that dots of one row take turns in, so that they do not hide one another


def standing_chart(assessment: Assessment) -> Markup:
    """A dot for each network of the calibration by its score, the bound, and the candidate."""
    if assessment.score is None:
        return Markup()
    known = assessment.calibration
    bound, score = known.threshold, assessment.score
    values = [*known.clean, *known.backdoored, bound, score]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return across((value - low) / span)

    height = _TOP + 2 * _ROW + 58
    parts = [head(height, "The candidate's score among those of clean and backdoored networks")]
    rows = (
        ("clean networks", known.clean, "accepted"),
        ("backdoored", known.backdoored, "refused"),
    )
    for place, (label, scores, mark) in enumerate(rows):
        y = _TOP + _ROW * place + _ROW / 2
        parts.append(line("grid", LEFT, y, WIDTH - RIGHT, y))
        parts.append(text("label", LEFT - 12, y + 4, f"{len(scores)} {label}", anchor="end"))
        parts += [
            dot(mark, x(one), y + 6 * (number % _LANES - _LANES // 2), 3.2)
            for number, one in enumerate(sorted(scores))
        ]
    bottom = _TOP + 2 * _ROW
    for tick in _score_ticks(low, high):
        parts.append(line("grid", x(tick), bottom, x(tick), bottom + 4))
        parts.append(text("axis", x(tick), bottom + 38, f"{tick:g}", anchor="middle"))
    parts.append(text("axis", LEFT - 12, bottom + 38, "score", anchor="end"))
    parts.append(line("bound", x(bound), _TOP - 6, x(bound), bottom))
    parts.append(_words(x(bound), bottom + 16, "suspicious from here"))
    parts.append(line("candidate", x(score), 18, x(score), bottom))
    parts.append(_words(x(score), 13, "this candidate"))
    return Markup("".join(parts) + "</svg>")


def _score_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, about five."""
    raw = (high - low) / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step)
    return [step * place for place in range(first, math.floor(high / step) + 1)]


def _words(x: float, y: float, words: str) -> str:
    """Write words beside a place, on the side where there is room."""
    near_end = x > WIDTH - 150
    return text("axis", x, y, words, anchor="end" if near_end else "start")


def units_chart(attribution: Attribution) -> Markup:
    """A pair of bars for each unit: how far the trigger moves it, before and after."""
    units = attribution.units
    if not units:
        return Markup()
    highest = max(max(unit.change, unit.after or 0.0) for unit in units) or 1.0
    step = 34 if any(unit.after is not None for unit in units) else 22
    height = step * len(units) + 40
    parts = [head(height, "How far the recovered trigger moves the units that carry it")]
    for tick in _ticks(highest):
        x = across(tick / highest)
        parts.append(line("grid", x, 6, x, height - 28))
        parts.append(text("axis", x, height - 10, f"{tick:g}", anchor="middle"))
    for row, unit in enumerate(units):
        y = 10 + step * row
        name = f"{short(unit.layer)} · {unit.unit}"
        parts.append(text("label", LEFT - 22, y + 10, short(name), anchor="end"))
        if unit.flagged:
            parts.append(dot("flagged", LEFT - 11, y + 6, 5))
        for series, offset, value in (("before", 0, unit.change), ("after", 13, unit.after)):
            if value is not None:
                length = across(value / highest) - LEFT
                parts.append(
                    f'<rect class="{series}" x="{LEFT}" y="{y + offset}" width="{length:.1f}" '
                    'height="10"/>'
                )
    return Markup("".join(parts) + "</svg>")


def _ticks(highest: float) -> Sequence[float]:
    """Zero, half and whole of the largest value, rounded to what is easily read."""
    return (0.0, float(f"{highest / 2:.1g}"), float(f"{highest:.2g}"))
