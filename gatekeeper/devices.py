"""Which device an operator means."""

from __future__ import annotations

import re

import torch

from gatekeeper.errors import UsageError


def device_of(name: str) -> torch.device:
    """Give the device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: there is no such device, or a GPU was asked for and PyTorch sees none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,4})?", name):
        message = f"no such device: {name}"
        raise UsageError(message, hint="Use auto, cpu, cuda or cuda:N.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        message = f"device {name} was asked for, but PyTorch sees no such GPU"
        raise UsageError(message, hint="Use --device cpu, or mend the driver.")
    return device
