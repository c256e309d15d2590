"""Gives up rights that a parser does not need, with what Linux offers without root."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import sys

from gatekeeper.candidate.duties import ENVIRONMENT

try:
    # Without its C library, which every Debian has, it cannot be imported.
    import pyseccomp
except (ImportError, OSError, RuntimeError):  # pragma: no cover - told by `confine`
    pyseccomp = None
try:
    import py_landlock
except (ImportError, OSError):  # pragma: no cover - as above, on other systems
    py_landlock = None  # type: ignore[assignment]

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_DIE_WITH_PARENT, _NO_NEW_PRIVILEGES = 1, 38
_SECONDS = 5  # of processor time, and more for large files
_LASTING_SECONDS = 3600  # of a child that looks at many files, each by the parent's clock
_BASE_MEMORY = 1 << 29  # with torch in the parent, a scan stays below a gigabyte
_BASE_OUTPUT = 16 << 20
# Bytes in and out of what is open already, memory, time, and an end; nothing else.
_CALLS = (
    "read", "readv", "pread64", "write", "writev", "pwrite64", "lseek", "recvmsg", "sendmsg",
    "recvfrom", "sendto", "fstat", "newfstatat", "dup", "close", "mmap", "munmap",
    "mremap", "mprotect", "madvise", "brk", "futex", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "sigaltstack", "getrandom", "clock_gettime", "clock_nanosleep",
    "gettimeofday", "getpid", "gettid", "sched_yield", "sched_getaffinity", "rseq",
    "set_robust_list", "restart_syscall", "exit", "exit_group",
)  # fmt: skip
# Not the owner of a descriptor, who is sent any signal on its news, nor locks and leases.
_ASKED_OF_DESCRIPTORS = (fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL)


def confine(size: int, *, lasting: bool = False) -> list[str]:
    """Confine this process for good; name the protections that are in force.

    Args:
        size: bytes of the candidate, which memory and output are measured by.
        lasting: it will look at many files, one after another.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, _LASTING_SECONDS if lasting else _SECONDS + size // (50 << 20))
    _limit(resource.RLIMIT_FSIZE, most_output(size))
    address_space, data = _used_memory()
    if lasting:
        # Files are mapped, however large: only memory of its own counts here, and the parent caps
        # the address space by each file.
        _limit(resource.RLIMIT_DATA, data + _BASE_MEMORY)
    else:
        _limit(resource.RLIMIT_AS, address_space + _BASE_MEMORY + 3 * size)
    protections = ["own process", "no inherited descriptors", "resource limits"]
    if dict(os.environ) == ENVIRONMENT:
        protections.append("nothing of our environment")
    if not sys.platform.startswith("linux"):
        return protections
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if libc.unshare(_NEW_USER | _NEW_NET) == 0:
        protections.append("no network (namespace)")
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        protections.append("no new privileges")
        if _landlock():
            protections.append("no file can be opened (Landlock)")
        _limit(resource.RLIMIT_NOFILE, 24)
        if _seccomp():
            protections.append("no system call beyond its work (seccomp)")
    return protections


def address_space() -> int:
    """Bytes of address space that this process may have, beside the files that it maps."""
    return _used_memory()[0] + 2 * _BASE_MEMORY


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


def _used_memory() -> tuple[int, int]:
    """Bytes of address space, and of data and stack in it."""
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - no pathlib here
        pages = [int(count) for count in stream.read().split()]
    return pages[0] * resource.getpagesize(), pages[5] * resource.getpagesize()


def _landlock() -> bool:
    """Deny every access to files by path, to TCP ports, and signals to others."""
    if py_landlock is None:
        return False
    try:
        py_landlock.Landlock(strict=False).apply()
    except (py_landlock.LandlockError, OSError):
        return False
    return True


def _seccomp() -> bool:
    """Deny every system call that the work does not need: no program, no socket, no new file."""
    if pyseccomp is None:
        return False
    try:
        calls = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
        for name in _CALLS:
            calls.add_rule(pyseccomp.ALLOW, name)
        # It may end itself, and signal nobody else.
        calls.add_rule(pyseccomp.ALLOW, "tgkill", pyseccomp.Arg(0, pyseccomp.EQ, os.getpid()))
        for command in _ASKED_OF_DESCRIPTORS:
            calls.add_rule(pyseccomp.ALLOW, "fcntl", pyseccomp.Arg(1, pyseccomp.EQ, command))
        # Its own limits may be read, and nobody's be set.
        unset = pyseccomp.Arg(2, pyseccomp.EQ, 0)
        calls.add_rule(pyseccomp.ALLOW, "prlimit64", unset)
        calls.load()
    except OSError:
        return False
    return True
