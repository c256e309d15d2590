"""What a search may cost here: one that would take hours is told and not begun."""

from __future__ import annotations

from gatekeeper.model import Model

# Values of all images in all passes of one search, above which it takes too long on a device.
_MOST_WORK = {"cpu": 2e9, "cuda": 2e11}


def too_long(model: Model, passes: int, *, share: float = 1.0) -> str | None:
    """Say that a search of so many images would take too long here; None where it would not.

    Args:
        model: the network, on its device.
        passes: images that go forth and back through it.
        share: of what is bearable, that this search may take.
    """
    channels, height, width = model.input.size
    most = share * _MOST_WORK.get(model.device.type, _MOST_WORK["cpu"])
    if passes * channels * height * width <= most:
        return None
    size = f"{len(model.classes)} classes at {channels}x{height}x{width}"
    return f"{size} would take too long on {model.device.type}"
