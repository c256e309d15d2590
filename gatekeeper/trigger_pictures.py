"""Draws a recovered trigger on a real image, as a small PNG."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gatekeeper.model import Images
from gatekeeper.triggers import Trigger, stamp

_SIDE = 96  # pixels of each picture, whatever the image measures
_GAP = 6


def picture(trigger: Trigger, images: Images) -> str:
    """Base64 PNG of four squares: an image, the same with the trigger, the mask, the pattern."""
    order = (images.labels == trigger.target).int().argsort(stable=True)  # others come first
    shown = images.select(order[:1]).to("cpu").floats()  # (1, C, H, W)
    squares = [
        shown[0],
        stamp(trigger, shown)[0],
        trigger.mask.unsqueeze(0),
        trigger.mask * trigger.pattern,
    ]
    canvas = Image.new("RGB", (4 * _SIDE + 3 * _GAP, _SIDE), "white")
    for place, square in enumerate(squares):
        canvas.paste(_drawn(square), (place * (_SIDE + _GAP), 0))
    stream = io.BytesIO()
    canvas.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _drawn(square: Tensor) -> Image.Image:
    """(C, H, W) in [0, 1] -> an enlarged picture with hard pixels."""
    colours = square if square.shape[0] == 3 else square[:1].expand(3, -1, -1)
    array = (colours.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(array)).resize(
        (_SIDE, _SIDE), Image.Resampling.NEAREST
    )
