"""Draws a recovered trigger on a real image, as a small PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gatekeeper.model import Images
from gatekeeper.triggers import Trigger, stamp

_SIDE, _LARGE = 96, 256  # pixels of each picture, in a report and by itself
_GAP = 6
_CAPTION = 28  # pixels, above large pictures alone
_LETTER = 18


def picture(trigger: Trigger, images: Images) -> str:
    """Base64 PNG of four squares: an image, the same with the trigger, the mask, the pattern."""
    shown = images.select(_fitting(trigger, images)).to("cpu").floats()  # (1, C, H, W)
    squares = [
        shown[0],
        stamp(trigger, shown)[0],
        trigger.mask.unsqueeze(0),
        trigger.mask * trigger.pattern,
    ]
    return base64.b64encode(_strip(squares, (), _SIDE)).decode("ascii")


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
    captions = ("image", "true trigger", "recovered trigger", "recovered, alone")
    return _strip(squares, captions, _LARGE)


def _fitting(trigger: Trigger, images: Images) -> Tensor:
    """(1,) the first image that the trigger is about: of its source, else not of its target."""
    wanted = images.labels != trigger.target
    if trigger.source is not None:
        wanted = images.labels == trigger.source
    return wanted.int().argsort(descending=True, stable=True)[:1]


def _strip(squares: Sequence[Tensor], captions: Sequence[str], side: int) -> bytes:
    """PNG of squares side by side, captions above them where there are any."""
    top = _CAPTION if captions else 0
    canvas = Image.new("RGB", (len(squares) * (side + _GAP) - _GAP, side + top), "white")
    for place, square in enumerate(squares):
        canvas.paste(_drawn(square, side), (place * (side + _GAP), top))
    pen, letters = ImageDraw.Draw(canvas), ImageFont.load_default(_LETTER)
    for place, words in enumerate(captions):
        pen.text((place * (side + _GAP), 2), words, fill="black", font=letters)
    stream = io.BytesIO()
    canvas.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _drawn(square: Tensor, side: int) -> Image.Image:
    """(C, H, W) in [0, 1] -> an enlarged picture with hard pixels."""
    colours = square if square.shape[0] == 3 else square[:1].expand(3, -1, -1)
    array = (colours.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(array)).resize(
        (side, side), Image.Resampling.NEAREST
    )
