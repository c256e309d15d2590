"""Memory that training frees and takes again at once stays with the process."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# Of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEPT = (1 << 31) - 1  # bytes: the largest that mallopt takes
_AHEAD = 64 << 20  # bytes


@cache
def hold_freed_memory() -> bool:
    """Ask glibc to keep what is freed; tell whether it was asked.

    By default every large tensor is a mapping of its own, and each step pays the kernel for
    clearing its pages again: a third of the time on an idle machine, and far more on a busy one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _AHEAD))
    answers = [mallopt(what, value) for what, value in wanted]
    return all(answers)
