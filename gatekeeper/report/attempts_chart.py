"""What was tried to purify a candidate, as a picture: accuracy lost against trigger needed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from gatekeeper.records import Attempt, Check
from gatekeeper.report.svg import LEFT, RIGHT, WIDTH, dot, head, line, text

# Measure, title, and why an attempt has none: what is tuned on all images leaves none to measure
# accuracy on, and where accuracy alone refuses an attempt, no trigger is sought.
_PANELS = (
    ("clean_accuracy_drop", "accuracy lost", "tuned on all images"),
    ("smallest_trigger_area", "smallest trigger, share of image", "not sought"),
)
_GAP = 36
_LEFT = LEFT + 64  # a method's name and what became of it need room
_MARK = {"accepted": "accepted", "refused": "refused", "diverged": "refused"}


def attempts_chart(attempts: Sequence[Attempt], checks: Sequence[Check]) -> Markup:
    """A row for each attempt; in each panel its value, and as a dashed line the policy's bound."""
    measured = [a for a in attempts if any(name in a.measures for name, *_ in _PANELS)]
    if not measured:
        return Markup()
    height = 30 * len(attempts) + 56
    parts = [head(height, "Each attempt: what it cost, and how large a trigger it left")]
    wide = (WIDTH - _LEFT - RIGHT - _GAP) / 2
    for number, attempt in enumerate(attempts):
        y = 38 + 30 * number
        method = f"{attempt.method} on all" if attempt.final else attempt.method
        label = f"{number + 1}. {method}, {attempt.outcome}"
        parts.append(text("label", _LEFT - 14, y + 4, label, anchor="end"))
    for place, (metric, title, absent) in enumerate(_PANELS):
        left = _LEFT + place * (wide + _GAP)
        parts += _panel(metric, title, absent, left, wide, attempts, _bound(metric, checks))
    return Markup("".join(parts) + "</svg>")


def _panel(
    metric: str,
    title: str,
    absent: str,
    left: float,
    wide: float,
    attempts: Sequence[Attempt],
    bound: tuple[bool, float] | None,
) -> list[str]:
    values = [_value(attempt, metric) for attempt in attempts]
    known = [value for value in values if value is not None]
    ends = [0.0, *known, *([bound[1]] if bound else [])]
    low, high = min(ends), max(ends)
    span = 1.1 * (high - low) or 1.0
    bottom = 30 * len(attempts) + 28
    parts = [text("label", left, 14, title, anchor="start")]

    def x(value: float) -> float:
        return left + (value - low) / span * wide

    for tick in (low, high):
        parts.append(line("grid", x(tick), 22, x(tick), bottom))
        parts.append(text("axis", x(tick), bottom + 16, f"{100 * tick:.3g} %", anchor="middle"))
    if bound is not None:
        least, limit = bound
        parts.append(line("bound", x(limit), 22, x(limit), bottom))
        words = f"{'at least' if least else 'at most'} {100 * limit:g} %"
        beside = -4 if x(limit) > left + wide / 2 else 4
        anchor = "end" if beside < 0 else "start"
        parts.append(text("axis", x(limit) + beside, bottom - 2, words, anchor=anchor))
    for number, (attempt, value) in enumerate(zip(attempts, values, strict=True)):
        y = 38 + 30 * number
        parts.append(line("grid", left, y, left + wide, y))
        if value is None:
            words = "not measured" if metric in attempt.measures else absent
            words = "stopped" if attempt.outcome == "diverged" else words
            parts.append(text("axis", left + 6, y - 4, words, anchor="start"))
        else:
            parts.append(dot(_MARK[attempt.outcome], x(value), y, 6))
    return parts


def _value(attempt: Attempt, metric: str) -> float | None:
    measure = attempt.measures.get(metric)
    return None if measure is None else measure.value


def _bound(metric: str, checks: Sequence[Check]) -> tuple[bool, float] | None:
    """Whether it is the least, and the bound, of `at least 0.015`."""
    for check in checks:
        found = re.fullmatch(r"at (least|most) ([0-9.e-]+)", check.bound)
        if check.metric == metric and found:
            return found[1] == "least", float(found[2])
    return None
