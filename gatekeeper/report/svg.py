"""Shapes of inline SVG; colours are CSS classes, so that they follow light, dark and paper."""

from __future__ import annotations

from markupsafe import escape

from gatekeeper.foreign_text import visible

WIDTH = 720
LEFT, RIGHT = 190, 20


def head(height: int, title: str) -> str:
    """Open a picture of `height` units, with the title that a screen reader reads."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" class="chart" '
        f'preserveAspectRatio="xMinYMin meet"><title>{escape(visible(title))}</title>'
    )


def across(share: float, left: float = LEFT) -> float:
    """Place of `share` in [0, 1] of the way from `left` to the right margin."""
    return left + share * (WIDTH - left - RIGHT)


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """Draw a line of a CSS class."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def dot(kind: str, x: float, y: float, radius: float) -> str:
    """Draw a dot of a CSS class."""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def text(kind: str, x: float, y: float, words: str, *, anchor: str) -> str:
    """Write words, escaped and made harmless."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(visible(words))}</text>'


def short(name: str) -> str:
    """Keep the end of a long name, where names of layers differ."""
    return name if len(name) <= 28 else "…" + name[-27:]
