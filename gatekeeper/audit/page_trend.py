"""How the verdicts of a registry went from audit to audit, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from gatekeeper.audit.page_times import day
from gatekeeper.audit.summary import Trend
from gatekeeper.foreign_text import visible
from gatekeeper.report.svg import line, text

MOST_AUDITS = 52
_WIDTH, _HEIGHT = 480, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 8, 12, 46
_WIDEST = 36
# From the axis upwards: what has to be seen stands on it, where lengths compare.
WORRYING = ("rejected", "undecided")
ALL = (*WORRYING, "hardened", "passed")


def trend_chart(trend: Sequence[Trend], series: Sequence[str], title: str) -> Markup:
    """A bar for each of the latest audits, its parts stacked in the order of `series`."""
    shown = trend[-MOST_AUDITS:]
    if not shown:
        return Markup()
    highest = max(sum(_values(one, series)) for one in shown)
    step = _step(highest)
    top = step * max(1, -(-highest // step))
    parts = [_head(title), *_scale(step, top), *_dates(shown)]
    for at, one in enumerate(shown):
        parts.append(_bar(one, series, _middle(at, len(shown)), _width(len(shown)), top))
    return Markup("".join(parts) + "</svg>")


def _head(title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" class="chart" '
        f'preserveAspectRatio="xMinYMin meet"><title>{escape(visible(title))}</title>'
    )


def _values(one: Trend, series: Sequence[str]) -> list[int]:
    return [max(0, getattr(one.counts, name)) for name in series]


def _step(highest: int) -> int:
    """Distance of the lines of the scale: a round number, at most five of them."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if highest <= 4 * factor * power:
                return factor * power
        power *= 10


def _scale(step: int, top: int) -> list[str]:
    parts = []
    for tick in range(0, top + 1, step):
        y = _height(tick, top)
        parts.append(line("grid", _LEFT, y, _WIDTH - _RIGHT, y))
        parts.append(text("axis", _LEFT - 6, y + 4, f"{tick:,}", anchor="end"))
    x, y = 12, _TOP + (_HEIGHT - _TOP - _BOTTOM) / 2
    label = text("axis", 0, 0, "versions", anchor="middle")
    return [*parts, f'<g transform="translate({x} {y:.1f}) rotate(-90)">{label}</g>']


def _dates(shown: Sequence[Trend]) -> list[str]:
    y = _HEIGHT - _BOTTOM + 17
    last = len(shown) - 1
    parts = [text("axis", (_LEFT + _WIDTH) / 2, y + 20, "end of each audit", anchor="middle")]
    first_x, last_x = _middle(0, len(shown)), _middle(last, len(shown))
    parts.append(text("axis", max(first_x - 33, _LEFT), y, _day(shown[0]), anchor="start"))
    if last_x - first_x > 100:
        right = min(last_x + 33, _WIDTH - 2)
        parts.append(text("axis", right, y, _day(shown[-1]), anchor="end"))
    return parts


def _day(one: Trend) -> str:
    return day(one.finished_at)[:10]


def _bar(one: Trend, series: Sequence[str], middle: float, width: float, top: int) -> str:
    told = ", ".join(
        f"{number:,} {name}" for name, number in zip(ALL, _values(one, ALL), strict=True)
    )
    parts = [f"<g><title>{escape(visible(f'audit {one.audit}, {_day(one)}: {told}'))}</title>"]
    below = 0
    for name, number in zip(series, _values(one, series), strict=True):
        y, foot = _height(below + number, top), _height(below, top)
        parts.append(
            f'<rect class="{name}" x="{middle - width / 2:.1f}" y="{y:.1f}" '
            f'width="{width:.1f}" height="{foot - y:.1f}"/>'
        )
        below += number
    return "".join(parts) + "</g>"


def _height(number: int, top: int) -> float:
    return _HEIGHT - _BOTTOM - (number / top) * (_HEIGHT - _TOP - _BOTTOM)


def _middle(at: int, count: int) -> float:
    return _LEFT + (at + 0.5) * (_WIDTH - _RIGHT - _LEFT) / count


def _width(count: int) -> float:
    return min(_WIDEST, 0.8 * (_WIDTH - _RIGHT - _LEFT) / count)
