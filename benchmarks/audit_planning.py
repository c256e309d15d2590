"""Plans simulated registries of several sizes, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from gatekeeper.audit.auditor import Auditor
from gatekeeper.audit.order import AuditOrder
from gatekeeper.audit.rows import found
from gatekeeper.audit.settled import Settled
from gatekeeper.ledger.entries import Judgement
from gatekeeper.ledger.tables import JUDGEMENTS
from gatekeeper.registry.interface import Version

SIZES = (10_000, 25_000, 50_000, 100_000)


def planning() -> Iterator[dict[str, Any]]:
    """Plan each size with nothing known, then with everything known."""
    for size in SIZES:
        with tempfile.TemporaryDirectory() as place:
            yield {"what": f"plan {size} new", "versions": size, **_own("plan", place, size)}
            _own("fill", place, size)
            yield {"what": f"plan {size} known", "versions": size, **_own("plan", place, size)}


def _own(what: str, place: str, size: int) -> dict[str, float]:
    words = [sys.executable, __file__, what, place, str(size)]
    said = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout
    return dict(json.loads(said)) if said else {}


def planned(place: Path, size: int) -> dict[str, float]:
    """Seconds and peak memory of planning a registry of `size` versions."""
    auditor = Auditor(AuditOrder(registry=str(place), out=str(place / "out")))
    started = time.perf_counter()
    seen, judgements = auditor.ledger.seen("r"), auditor.ledger.judgements("r")
    plan = auditor.planner.plan(Simulated(size), seen, judgements)
    seconds = time.perf_counter() - started
    assert len(plan.settled) in {0, size}
    assert len(plan.settled) + len(plan.open) == size
    auditor.close()
    return {"settled": len(plan.settled), "seconds": round(seconds, 2), "mb": _peak()}


def _peak() -> int:
    """Most memory of this process in MB; `getrusage` would tell of the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    told = next(line for line in status if line.startswith("VmHWM:"))
    return round(int(told.split()[1]) / 1024)


class Simulated:
    """A registry that lists, and holds no file."""

    address = "simulated"

    def __init__(self, size: int) -> None:
        """List `size` versions, ten of each model."""
        self.size = size

    def versions(self) -> Iterator[Version]:
        """Every version."""
        for number in range(self.size):
            model, version = f"team/model-{number // 10}", str(number % 10)
            yield Version(
                model=model, version=version, address=f"models:/{model}/{version}",
                fingerprint=f"{number:064x}", bytes=100_000_000,
            )  # fmt: skip


def fill(place: Path, size: int) -> None:
    """Write into the ledger that every version was judged, each with a verdict of its own."""
    auditor = Auditor(AuditOrder(registry=str(place), out=str(place / "out")))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    number, rows = auditor.ledger.begin("r", tool="0", at=now), []
    for version in Simulated(size).versions():
        ready = auditor.planner.ready(version.model)
        key = ready.key(version.fingerprint, "")
        judgement = Judgement(
            key=key, artifact_sha256=version.fingerprint, decision="pass", accepted=True,
            reason="The candidate itself meets policy 'default'.", findings=0, bytes=1,
            policy="default", policy_sha256="0" * 64, run=f"runs/{key[:16]}", judged_at=now,
            seconds=60.0, final=True,
        )  # fmt: skip
        one = Settled(
            version=version, fingerprint=auditor.planner.fingerprint(version, ready),
            file="model.pt", sha256=version.fingerprint, key=key, judgement=judgement,
        )  # fmt: skip
        rows.append((found(one, None, now=now, folder=auditor.folder).seen, None, judgement))
    with create_engine(f"sqlite:///{place / 'out' / 'ledger.sqlite'}").begin() as connection:
        connection.execute(JUDGEMENTS.insert(), [asdict(judgement) for *_, judgement in rows])
    auditor.ledger.keep("r", number, now, [(seen, None) for seen, *_ in rows])
    auditor.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["plan", "fill"])
    parser.add_argument("place", type=Path)
    parser.add_argument("size", type=int)
    asked = parser.parse_args()
    if asked.what == "fill":
        fill(asked.place, asked.size)
    else:
        print(json.dumps(planned(asked.place, asked.size)))
