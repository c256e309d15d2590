"""Who judges what: a claim is held by renewing it, and ends with the process that holds it."""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from gatekeeper.ledger.tables import CLAIMS

LEASE = 180.0  # seconds without a sign of life after which a claim may be taken over
RENEW = 30.0  # seconds between two signs of life
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def owner() -> str:
    """Name this process so that others on the machine can tell whether it still lives."""
    return f"{_machine()}/{os.getpid()}/{_started(os.getpid())}/{uuid.uuid4().hex[:8]}"


def claim(connection: Connection, key: str, mine: str) -> str | None:
    """Take `key` for `mine`; None where that worked, else who holds it."""
    held = connection.execute(select(CLAIMS).where(CLAIMS.c.key == key)).mappings().first()
    now = time.time()
    if held is None:
        try:
            with connection.begin_nested():
                connection.execute(insert(CLAIMS).values(key=key, owner=mine, seen_at=now))
        except IntegrityError:
            return "another worker"  # it came first, a moment ago
        return None
    if held["owner"] == mine:
        return None
    if not _ended(held["owner"], held["seen_at"]):
        return str(held["owner"])
    taken = connection.execute(
        update(CLAIMS)
        .where(CLAIMS.c.key == key, CLAIMS.c.owner == held["owner"])
        .where(CLAIMS.c.seen_at == held["seen_at"])
        .values(owner=mine, seen_at=now)
    )
    return None if taken.rowcount == 1 else "another worker"


def is_free(connection: Connection, key: str) -> bool:
    """Tell whether `key` could be taken."""
    held = connection.execute(select(CLAIMS).where(CLAIMS.c.key == key)).mappings().first()
    return held is None or _ended(held["owner"], held["seen_at"])


def renew(connection: Connection, mine: str, keys: Sequence[str]) -> None:
    """Give a sign of life for `keys`, where `mine` holds them."""
    held = (CLAIMS.c.owner == mine, CLAIMS.c.key.in_(keys))
    connection.execute(update(CLAIMS).where(*held).values(seen_at=time.time()))


def release(connection: Connection, key: str, mine: str) -> None:
    """Let go of `key`, where it is still held."""
    connection.execute(delete(CLAIMS).where(CLAIMS.c.key == key, CLAIMS.c.owner == mine))


def _ended(name: str, seen_at: float) -> bool:
    """Tell whether a claim's owner is no more; one of another machine is believed dead when silent.

    A process of this machine can be looked for, so that neither sleep nor a clock set anew ends
    its claims.
    """
    machine, pid, started, _ = name.rsplit("/", 3)
    if machine == _machine():
        return _started(int(pid)) != started
    return time.time() - seen_at >= LEASE


def _machine() -> str:
    boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else "?"
    # Containers of one machine share the boot, not the process numbers.
    space = os.readlink("/proc/self/ns/pid") if _BOOT.exists() else "?"  # noqa: PTH115
    return f"{platform.node()[:60]}/{boot}/{space}"


def _started(pid: int) -> str:
    """When the process began, in ticks since the machine's start; empty where there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[19]
