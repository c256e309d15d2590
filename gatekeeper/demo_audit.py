"""The demo of audits: a real MLflow registry, audited by the clock, all of it on loopback.

Three models are registered: a clean one, one with a backdoor, and one that runs a command when it
is loaded. The audit is told of none of that.
"""

from __future__ import annotations

import io
import os
import pickle
import posix
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch

from gatekeeper.audit.summary import Audit
from gatekeeper.audit.summary_file import read_audit
from gatekeeper.audit.text import audit_text
from gatekeeper.data import write_folders
from gatekeeper.demo import CARD, make_honest, make_victim, split
from gatekeeper.demo_mlflow import MlflowServer, mlflow_server
from gatekeeper.errors import GatekeeperError, UsageError
from gatekeeper.loopback import asked, posting, prefect_server
from gatekeeper.model import Model
from gatekeeper.rundir import disk_told
from gatekeeper.screenshots import screenshot

ALIAS = "approved"
EXPECTED = {"digits/1": "pass", "digits/2": "reject", "pretrained/1": "reject"}
_LONGEST = 3600.0  # seconds that the audit may take
_CONFIG = f"""# Written by gatekeeper demo-audit.
data: clean
policy: ci
mlflow: {{ approve_alias: {ALIAS} }}
"""
Tell = Callable[[str], None]


class _Command:
    """What a hostile model does: a command, here one that changes nothing, when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return posix.system, ("true",)


def demonstrate_audit(out: Path, *, tell: Tell = lambda _: None) -> tuple[str, bool]:
    """Register, audit by the clock, read back; gives what to show, and if all went as expected.

    Raises:
        UsageError: `out` holds something already, or MLflow is not installed.
        GatekeeperError: a server, or the audit, did not come to its end.
    """
    with disk_told(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            message = f"{out} is not an empty folder"
            raise UsageError(message, hint="Remove it, or choose another --out.")
        out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as servers:
        tell("start an MLflow server")
        mlflow = servers.enter_context(mlflow_server(out / "mlflow"))
        _register(mlflow, out, tell)
        tell("start a Prefect server")
        home = out.resolve() / "prefect"
        prefect = servers.enter_context(prefect_server(home / "server.log", home=home))
        tell("audit by the clock, every minute until one audit is done")
        done = _scheduled(mlflow, prefect, out, tell)
        lines = [audit_text(done, out / "audit/index.html"), "", *_read_back(mlflow, done)]
        lines += ["", *_pictures(prefect, out)]
    found = {f"{row.model}/{row.version}": row.decision for row in done.rows}
    expected = found == EXPECTED and done.exit_code == 1 and not done.troubles
    lines += [] if expected else [f"Expected was {EXPECTED} and exit code 1."]
    return "\n".join(lines), expected


def _register(mlflow: MlflowServer, out: Path, tell: Tell) -> None:
    """Train and register the models, and lay down what an owner has: clean images, audit.yaml."""
    train, clean = split()
    tell(f"train a clean and a backdoored network on {len(train)} digits, and register them")
    for network in (make_honest(train), make_victim(train)):
        mlflow.register("digits", _files(network))
    tell("register a model that runs a command when it is loaded")
    mlflow.register("pretrained", {"model.pt": pickle.dumps({"net": _Command()})})
    with disk_told(out):
        write_folders(clean, out / "clean")
        (out / "audit.yaml").write_text(_CONFIG, encoding="utf-8")


def _files(model: Model) -> dict[str, bytes]:
    written = io.BytesIO()
    torch.save(model.network.state_dict(), written)
    return {"model.pt": written.getvalue(), "model.card.yaml": CARD.encode()}


def _scheduled(mlflow: MlflowServer, prefect: str, out: Path, tell: Tell) -> Audit:
    """Let `gatekeeper audit --serve` run until its page is there."""
    words = [sys.executable, "-P", "-m", "gatekeeper", "audit", f"mlflow:{mlflow.address}"]
    words += ["--config", str(out / "audit.yaml"), "--out", str(out / "audit")]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(out.resolve() / "prefect"),
        "PREFECT_API_URL": prefect,
    }
    page, log = out / "audit/audit.json", out / "audit.log"
    with log.open("wb") as written:
        audits = subprocess.Popen(
            [*words, "--serve", "--cron", "* * * * *"], stdout=written, stderr=written,
            stdin=subprocess.DEVNULL, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(audits, page, prefect, log, tell)
    finally:
        # Not SIGINT, which a shell lets what it runs in the background ignore.
        audits.terminate()
        with suppress(subprocess.TimeoutExpired):
            audits.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(audits.pid, signal.SIGKILL)
    return read_audit(page.read_text(encoding="utf-8"), str(page))


def _wait(audits: subprocess.Popen[bytes], page: Path, prefect: str, log: Path, tell: Tell) -> None:
    until, told = time.monotonic() + _LONGEST, 0
    while not (page.is_file() and _runs(prefect)):
        if audits.poll() is not None or time.monotonic() > until:
            message = "the audit by the clock came to no end"
            raise GatekeeperError(message, hint=f"Its own words are in {log}.")
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines[told:]:
            if "Flow run" in line and "] " in line:
                tell(line.rpartition(" - ")[2])
        told = len(lines)
        time.sleep(1)


def _runs(prefect: str) -> list[dict[str, Any]]:
    """Give the flow runs that came to their end."""
    filtered = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    found: list[dict[str, Any]] = asked(posting(f"{prefect}/flow_runs/filter", filtered))
    return found


def _read_back(mlflow: MlflowServer, done: Audit) -> list[str]:
    """Say what MLflow's users see now."""
    lines = ["Read back from MLflow:"]
    for row in done.rows:
        lines.append(f"  {row.model}, version {row.version}")
        tags = mlflow.tags(row.model, row.version)
        lines += [f"    {name} = {value}" for name, value in sorted(tags.items())]
    for model in sorted({row.model for row in done.rows}):
        led = [f"{alias} -> {version}" for alias, version in mlflow.aliases(model).items()]
        lines.append(f"  {model}, aliases: {', '.join(led) or 'none'}")
    return lines


def _pictures(prefect: str, out: Path) -> list[str]:
    """Draw the flow run in Prefect's own pages, and the audit page."""
    run = min(_runs(prefect), key=lambda one: str(one["end_time"]))
    pages = {
        "prefect.png": f"{prefect.removesuffix('/api')}/runs/flow-run/{run['id']}",
        "audit.png": (out / "audit/index.html").resolve().as_uri(),
    }
    lines = []
    for name, address in pages.items():
        trouble = screenshot(address, out / name, height=1300)
        lines.append(f"Picture: {f'no {name}: {trouble}' if trouble else out / name}")
    return [*lines, f"Files:   {out}"]
