"""Gives up rights that a parser does not need, with what Linux offers without root."""

from __future__ import annotations

import ctypes
import resource
import struct
import sys

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_NO_NEW_PRIVILEGES = 38
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_ALL_FILE_RIGHTS = (1 << 13) - 1  # those of the first version, which every later one knows
_SECONDS = 5  # of processor time, and more for large files
_BASE_MEMORY = 1 << 29  # with torch in the parent, a scan stays below a gigabyte
_BASE_OUTPUT = 16 << 20


def confine(size: int) -> list[str]:
    """Confine this process for good; name the protections that are in force.

    Args:
        size: bytes of the candidate, which memory and output are measured by.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, _SECONDS + size // (50 << 20))
    _limit(resource.RLIMIT_FSIZE, most_output(size))
    _limit(resource.RLIMIT_AS, _used_address_space() + _BASE_MEMORY + 3 * size)
    protections = ["own process", "empty environment", "resource limits"]
    if not sys.platform.startswith("linux"):
        return protections
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_USER | _NEW_NET) == 0:
        protections.append("no network (namespace)")
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        protections.append("no new privileges")
        if _landlock(libc):
            protections.append("no file can be opened (Landlock)")
    _limit(resource.RLIMIT_NOFILE, 16)
    return protections


def most_output(size: int) -> int:
    """Bytes that a candidate of `size` bytes may grow to."""
    return 4 * size + _BASE_OUTPUT


def output_limit() -> int:
    """Bytes that this process may write into one file, by whoever limited it most."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (bound, bound))


def _used_address_space() -> int:
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - no pathlib here
        return int(stream.read().split()[0]) * resource.getpagesize()


def _landlock(libc: ctypes.CDLL) -> bool:
    """Deny every access to files by path: a rule set that handles all and allows none."""
    rules = struct.pack("<Q", _ALL_FILE_RIGHTS)
    created = libc.syscall(_LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    return bool(created >= 0 and libc.syscall(_LANDLOCK_RESTRICT, created, 0) == 0)
