"""Half precision where the device has it and it pays."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Run matrix work in bf16 where asked for, or by itself where the device has it."""
    if precision == "fp32" or (precision == "auto" and not _has_bf16(device.type)):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@cache
def _has_bf16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
