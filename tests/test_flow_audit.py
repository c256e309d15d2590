"""Real audits as Prefect flows: on its own temporary server, on one that dies, by the clock."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import posix
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from candidates import gatekeeper, watched_network

from gatekeeper.loopback import free_port, opened, prefect_server

pytestmark = [pytest.mark.server, pytest.mark.slow]
VOLATILE = {"judged_at", "since", "report", "address"}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 123\n"


class Harmless:
    def __reduce__(self) -> tuple[Any, ...]:
        return posix.system, ("true",)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Four versions of three digests, all told from their bytes alone."""
    files = {
        "evil/1": pickle.dumps(Harmless()),
        "evil/2": pickle.dumps({"net": Harmless()}),
        "copy/1": pickle.dumps(Harmless()),
        "lost/1": POINTER.format("a" * 64).encode(),
    }
    for place, content in files.items():
        (tmp_path / "models" / place).mkdir(parents=True)
        (tmp_path / "models" / place / "model.pt").write_bytes(content)
    return tmp_path / "models"


def rows(folder: Path) -> list[dict[str, Any]]:
    content = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    return [{k: v for k, v in row.items() if k not in VOLATILE} for row in content["rows"]]


def ledger(folder: Path, question: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as book:
        return book.execute(question).fetchall()


def runs(home: Path, question: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(home / "prefect.db")) as kept:
        return kept.execute(question).fetchall()


def until(condition: Callable[[], Any], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)


def test_the_flow_gives_the_same_rows(tmp_path: Path, registry: Path) -> None:
    environment = {**watched_network(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    plain = gatekeeper("audit", registry, "--out", "plain", cwd=tmp_path)
    flown = gatekeeper(
        "audit", registry, "--out", "flow", "--prefect", "--quiet", cwd=tmp_path, env=environment
    )
    assert plain.returncode == flown.returncode == 1, flown.stderr
    assert flown.stderr == ""
    assert rows(tmp_path / "plain") == rows(tmp_path / "flow")
    assert not list((tmp_path / "prefect").rglob("*.pkl"))
    done = runs(tmp_path / "prefect", "SELECT name FROM task_run WHERE state_type = 'COMPLETED'")
    assert (
        sorted(name.split()[0] for (name,) in done) == ["fetch"] * 4 + ["scan"] * 3 + ["settle"] * 4
    )
    kept = runs(tmp_path / "prefect", "SELECT key, data FROM artifact ORDER BY key")
    assert [key for key, _ in kept] == ["gatekeeper-audit", "gatekeeper-audit-page"]
    assert "posix.system" in kept[0][1]
    wanted = (tmp_path / "network.log").read_text().splitlines()
    assert [line for line in wanted if "127.0.0.1" not in line and "localhost" not in line] == []


# A registry that answers 503 to the first question, and a scan that cannot finish.
FAULTY = """
import json, sys
from gatekeeper.audit.order import AuditOrder
from gatekeeper.errors import RegistryError, StepError
from gatekeeper.flow_loader import load_flow
from gatekeeper.registry.folder import FolderRegistry
asked, judged = [], []
fetch = FolderRegistry.fetch
def faulty(self, version, into):
    asked.append(version.address)
    if asked.count(version.address) == 1:
        raise RegistryError("503", passing=version.model != "lost")
    return fetch(self, version, into)
def broken(job, key, **more):
    judged.append(key)
    raise StepError("the scan broke off")
FolderRegistry.fetch = faulty
flow = load_flow("audit", quiet=True)
flow.fetch.retry_delay_seconds = [0, 0, 0]
flow.judge = broken
flow.run_audit(AuditOrder(registry=sys.argv[1], out="out"))
print(json.dumps([len(asked), len(judged), len(set(judged))]))
"""


def test_downloads_are_tried_again_and_verdicts_never(tmp_path: Path, registry: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, str(registry)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Three were fetched twice; the one whose fault does not pass was asked for once.
    # Two names of the same bytes: the second is tried anew, as nothing was found out about them.
    asked, judged, keys = json.loads(done.stdout)
    assert (asked, judged, keys) == (7, 3, 2)
    reasons = {row["model"]: row["reason"] for row in rows(tmp_path / "out")}
    assert "503" in reasons["lost"]
    assert "broke off" in reasons["evil"]


def test_a_server_that_dies_midway_loses_no_verdict(tmp_path: Path, registry: Path) -> None:
    home, out = tmp_path / "prefect", tmp_path / "out"
    port, log = free_port(), tmp_path / "server.log"
    words = [sys.executable, "-m", "gatekeeper", "audit", str(registry), "--out", str(out)]
    with contextlib.ExitStack() as first:
        url = first.enter_context(prefect_server(log, home=home, port=port))
        environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": url}
        with (tmp_path / "audit.log").open("wb") as said:
            audit = subprocess.Popen(
                [*words, "--prefect"], stdout=said, stderr=said, env=environment
            )
        until(lambda: list(out.glob("runs/*/record.json")))
        until(lambda: ledger(out, "SELECT key FROM judgements"))
    assert audit.wait(300) == 3
    assert "What was judged is kept: audit again." in (tmp_path / "audit.log").read_text()
    before = ledger(out, "SELECT key, judged_at FROM judgements")
    assert before
    with prefect_server(log, home=home, port=port):
        again = subprocess.run(
            [*words, "--prefect", "--quiet"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert again.returncode == 1, again.stderr
    assert len(rows(out)) == 4
    after = ledger(out, "SELECT key, judged_at FROM judgements")
    assert len(after) == 3
    assert set(before) <= set(after)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_by_the_clock_until_it_is_interrupted(
    tmp_path: Path, registry: Path, ending: signal.Signals
) -> None:
    words = ["audit", str(registry), "--out", "out", "--serve", "--cron", "* * * * *"]
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    environment.pop("PREFECT_API_URL", None)
    with (tmp_path / "said").open("wb") as said:
        served = subprocess.Popen(
            [sys.executable, "-m", "gatekeeper", *words],
            stdout=said, stderr=said, cwd=tmp_path, env=environment, start_new_session=True,
            # What a shell runs in the background ignores SIGINT, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
    try:
        until(lambda: (tmp_path / "out/index.html").is_file() or served.poll() is not None)
        told = re.search(r"http://\S+/api", (tmp_path / "said").read_text(encoding="utf-8"))
        assert told
        with pytest.raises(HTTPError, match="401") as refused:
            opened(f"{told[0]}/admin/settings", 30)
        refused.value.close()
        if ending == signal.SIGINT:  # as a terminal sends it, to everything that was started
            os.killpg(served.pid, ending)
        else:
            served.send_signal(ending)
        assert served.wait(60) == 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(served.pid, signal.SIGKILL)
    text = (tmp_path / "said").read_text(encoding="utf-8")
    assert "no Prefect server is configured" in text
    assert "Interrupted; nothing was left half-written. What was judged is kept" in text
    assert len(rows(tmp_path / "out")) == 4


def test_what_is_wrong_is_told_before_it_stays(tmp_path: Path, registry: Path) -> None:
    serve = ["audit", registry, "--out", "out", "--serve", "--cron"]
    environment = {"PREFECT_HOME": str(tmp_path / "prefect")}
    (tmp_path / "audit.yaml").write_text("polcy: ci\n", encoding="utf-8")
    odd = gatekeeper(*serve, "whenever", cwd=tmp_path, env=environment)
    assert (odd.returncode, "'whenever' is no schedule" in odd.stderr) == (2, True)
    typo = gatekeeper(*serve, "0 3 * * *", "--config", "audit.yaml", cwd=tmp_path, env=environment)
    assert (typo.returncode, "audit.yaml:1" in typo.stderr) == (2, True)
    environment["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
    nobody = gatekeeper(*serve, "0 3 * * *", cwd=tmp_path, env=environment)
    assert (nobody.returncode, "does not answer" in nobody.stderr) == (3, True)


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_an_engine_spreads_the_versions(tmp_path: Path, registry: Path, engine: str) -> None:
    pytest.importorskip(f"prefect_{engine}", reason=f"needs the extra `{engine}`")
    environment = {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "GATEKEEPER_RUNNER": engine,
        "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
    }
    words = ["audit", registry, "--out", "out", "--prefect", "--quiet", "--workers", "2"]
    done = gatekeeper(*words, cwd=tmp_path, env=environment)
    assert done.returncode == 1, done.stderr
    assert [row["decision"] for row in rows(tmp_path / "out")] == [
        "reject", "reject", "reject", "undecided",
    ]  # fmt: skip
    assert len(ledger(tmp_path / "out", "SELECT key FROM judgements")) == 3


def test_an_engine_that_is_not_there_is_told(tmp_path: Path, registry: Path) -> None:
    environment = {"PREFECT_HOME": str(tmp_path / "prefect"), "GATEKEEPER_RUNNER": "abacus"}
    done = gatekeeper("audit", registry, "--prefect", cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert "no task runner 'abacus'" in done.stderr
