"""Real handwriting that ships with scikit-learn: 1,797 digits, brought from 8x8 to 32x32."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gatekeeper.model import Images
from gatekeeper.records import InputSpec

SPEC = InputSpec(size=(1, 32, 32), mean=(0.3054,), std=(0.3345,))
CLASSES = tuple(str(digit) for digit in range(10))


def handwriting() -> Images:
    """Read all digits: pixels (1797, 1, 32, 32) uint8, one class per digit; no download."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.from_numpy(bunch.images).float().div(16).unsqueeze(1)  # (N, 1, 8, 8) in [0, 1]
    larger = F.interpolate(grey, size=(32, 32), mode="bilinear", align_corners=False)
    pixels = larger.mul(255).round().clamp(0, 255).to(torch.uint8)
    return Images(pixels=pixels, labels=torch.from_numpy(bunch.target).long(), classes=CLASSES)
