"""Draws how the cost of planning an audit grows with the registry: docs/audit-planning.svg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PICTURE = Path(__file__).parent.parent / "docs" / "audit-planning.svg"
_WIDTH, _HEIGHT, _LEFT, _TOP, _FOOT = 640, 300, 60, 30, 50
_COLOURS = {"new": "#2f6fb0", "known": "#1b7a43"}


def plot(rows: list[dict[str, Any]]) -> None:
    """Write the picture: seconds over versions, and the straight line through the largest."""
    series = {
        state: [
            (row["versions"], row["seconds"])
            for row in rows
            if row["what"].startswith("plan ") and row["what"].endswith(state)
        ]
        for state in _COLOURS
    }
    most_x = max(x for points in series.values() for x, _ in points)
    most_y = max(y for points in series.values() for _, y in points) * 1.1
    parts = [_frame(most_x, most_y)]
    for number, (state, points) in enumerate(series.items()):
        parts += _series(state, points, most_x, most_y, number)
    PICTURE.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _at(x: float, y: float, most_x: float, most_y: float) -> tuple[float, float]:
    across = _LEFT + x / most_x * (_WIDTH - _LEFT - 20)
    return across, _HEIGHT - _FOOT - y / most_y * (_HEIGHT - _TOP - _FOOT)


def _frame(most_x: float, most_y: float) -> str:
    left, foot = _at(0, 0, most_x, most_y)
    right, top = _at(most_x, most_y, most_x, most_y)
    marks = []
    for share in (0.25, 0.5, 0.75, 1.0):
        x, y = _at(share * most_x, share * most_y, most_x, most_y)
        marks.append(f'<text x="{x:.0f}" y="{foot + 18:.0f}" text-anchor="middle">'
                     f"{share * most_x:,.0f}</text>")  # fmt: skip
        marks.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">'
                     f"{share * most_y:.1f}</text>")  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n'
        f'<path d="M{left} {top}V{foot}H{right}" fill="none" stroke="#888"/>\n'
        + "\n".join(marks)
        + f'\n<text x="{(left + right) / 2:.0f}" y="{_HEIGHT - 10}" text-anchor="middle">'
        "versions in the registry</text>\n"
        f'<text x="12" y="{_TOP - 12}">seconds to list and plan</text>'
    )


def _series(
    state: str, points: list[tuple[float, float]], most_x: float, most_y: float, number: int
) -> list[str]:
    colour = _COLOURS[state]
    placed = [_at(x, y, most_x, most_y) for x, y in points]
    start, end = _at(0, 0, most_x, most_y), placed[-1]
    line = f"M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"
    words = "nothing known yet" if state == "new" else "everything judged before"
    return [
        f'<path d="{line}" stroke="{colour}" stroke-dasharray="4 4" opacity="0.6"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in placed),
        f'<circle cx="{_LEFT + 20}" cy="{_TOP + 16 * number}" r="4" fill="{colour}"/>',
        f'<text x="{_LEFT + 30}" y="{_TOP + 4 + 16 * number}">{words}</text>',
    ]
