"""Draws a recovered trigger on a real image, as a small PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gatekeeper.model import Images
from gatekeeper.triggers import Trigger, stamp

_SIDE = 96  # pixels of each picture, whatever the image measures
_GAP = 6
_CAPTION = 18


def picture(trigger: Trigger, images: Images) -> str:
    """Base64 PNG of four squares: an image, the same with the trigger, the mask, the pattern."""
    shown = images.select(_fitting(trigger, images)).to("cpu").floats()  # (1, C, H, W)
    squares = [
        shown[0],
        stamp(trigger, shown)[0],
        trigger.mask.unsqueeze(0),
        trigger.mask * trigger.pattern,
    ]
    return base64.b64encode(_strip(squares, ())).decode("ascii")


def compared(trigger: Trigger, images: Images, truth: Images) -> bytes:
    """PNG of a recovered trigger beside the true one, on the same image.

    Args:
        trigger: what was recovered.
        images: clean images.
        truth: the same images, wearing the true trigger.
    """
    place = _fitting(trigger, images)
    shown, worn = (part.select(place).to("cpu").floats() for part in (images, truth))
    squares = [shown[0], worn[0], stamp(trigger, shown)[0], trigger.mask * trigger.pattern]
    return _strip(squares, ("image", "true trigger", "recovered", "recovered alone"))


def _fitting(trigger: Trigger, images: Images) -> Tensor:
    """(1,) the first image that the trigger is about: of its source, else not of its target."""
    wanted = images.labels != trigger.target
    if trigger.source is not None:
        wanted = images.labels == trigger.source
    return wanted.int().argsort(descending=True, stable=True)[:1]


def _strip(squares: Sequence[Tensor], captions: Sequence[str]) -> bytes:
    """PNG of squares side by side, captions above them where there are any."""
    top = _CAPTION if captions else 0
    canvas = Image.new("RGB", (len(squares) * (_SIDE + _GAP) - _GAP, _SIDE + top), "white")
    for place, square in enumerate(squares):
        canvas.paste(_drawn(square), (place * (_SIDE + _GAP), top))
    for place, words in enumerate(captions):
        ImageDraw.Draw(canvas).text((place * (_SIDE + _GAP), 2), words, fill="black")
    stream = io.BytesIO()
    canvas.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _drawn(square: Tensor) -> Image.Image:
    """(C, H, W) in [0, 1] -> an enlarged picture with hard pixels."""
    colours = square if square.shape[0] == 3 else square[:1].expand(3, -1, -1)
    array = (colours.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(array)).resize(
        (_SIDE, _SIDE), Image.Resampling.NEAREST
    )
