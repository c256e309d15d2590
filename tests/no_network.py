"""Runs commands where there is no network, and asks the kernel who wanted one.

Children, threads and C code are counted like Python: a namespace of its own has no route to
anywhere, not even to itself, and the kernel counts what finds none.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

_COUNT = """
import pathlib, subprocess, sys
code = subprocess.call(sys.argv[2:])
names, values = (line.split() for line in open("/proc/net/snmp") if line.startswith("Ip:"))
count = int(dict(zip(names, values))["OutNoRoutes"])
six = pathlib.Path("/proc/net/snmp6")
lines = six.read_text().splitlines() if six.exists() else []
count += sum(int(line.split()[1]) for line in lines if line.startswith("Ip6OutNoRoutes"))
pathlib.Path(sys.argv[1]).write_text(str(count))
sys.exit(code)
"""


def alone(count: Path) -> list[str]:
    """Give words to put before a command; how often it wanted a network is written to `count`."""
    return ["unshare", "-Urn", sys.executable, "-I", "-c", _COUNT, str(count)]


@cache
def why_not() -> str:
    """Say why this machine gives nobody a network of their own; "" where it does."""
    if shutil.which("unshare") is None:
        return "there is no `unshare`"
    done = subprocess.run(["unshare", "-Urn", "true"], capture_output=True, text=True, check=False)
    return f"the kernel refuses a namespace: {done.stderr.strip()}" if done.returncode else ""


def skip_unless_possible() -> None:
    """Skip, with the reason, where nothing can be counted."""
    if reason := why_not():
        pytest.skip(reason)
