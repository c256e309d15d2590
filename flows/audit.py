"""The audit of a registry as a Prefect flow: names, retries and limits; no logic."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from cloudpickle import register_pickle_by_value
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import (
    State,
    TaskRun,
)
from prefect.concurrency.sync import concurrency
from prefect.context import TaskRunContext
from prefect.events import emit_event
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from gatekeeper.audit.auditor import Auditor, auditor_for
from gatekeeper.audit.judging import judge
from gatekeeper.audit.order import AuditOrder, refuse_passwords
from gatekeeper.audit.run import audit
from gatekeeper.audit.settled import Settled, read_settled, read_version, settled_or_lost
from gatekeeper.audit.summary import Audit
from gatekeeper.devices import device_of
from gatekeeper.errors import GatekeeperError, RegistryError, UsageError
from gatekeeper.flow_loader import load_flow
from gatekeeper.foreign_text import visible
from gatekeeper.job import Job
from gatekeeper.ledger.entries import Judgement
from gatekeeper.loopback import answers
from gatekeeper.registry.interface import Version
from gatekeeper.registry.redaction import redacted

_SHOWN = 100  # versions in the table
# This file is loaded by its path, under a name that a worker of Dask or Ray could not import.
register_pickle_by_value(sys.modules[__name__])
_OUTCOMES = {0: "accepted", 1: "refused", 3: "undecided"}


def may_pass(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell whether a download is worth another try."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, RegistryError) and error.passing


@task(
    task_run_name="fetch {version[model]} {version[version]}",
    retries=3,
    retry_delay_seconds=[5, 20, 60],
    retry_condition_fn=may_pass,
    cache_policy=NO_CACHE,
    persist_result=False,
    result_serializer="json",
)
def fetch(order: dict[str, Any], version: dict[str, Any], into: str) -> str:
    """Get the files of one version; gives their folder."""
    registry = auditor_for(AuditOrder(**order)).registry
    return str(registry.fetch(read_version(version), Path(into)))


def known_key(_context: TaskRunContext, parameters: dict[str, Any]) -> str | None:
    """Key of a scan: what decides its verdict; None where the files it left are gone."""
    record = Path(parameters["job"]["out"]) / "record.json"
    return f"gatekeeper-{parameters['key']}-{parameters['again']}" if record.is_file() else None


@task(
    task_run_name="scan {key:.8}",
    cache_key_fn=known_key,
    persist_result=True,
    result_serializer="json",
)
def scan(job: dict[str, Any], key: str, again: str, threads: int, minutes: float) -> dict[str, Any]:
    """Judge one file; never tried again by itself, for a verdict is no accident."""
    with _gpu(job["device"]):
        return asdict(judge(Job(**job), key, threads=threads, minutes=minutes))


@task(
    task_run_name="settle {version[model]} {version[version]}",
    tags=["gatekeeper"],
    cache_policy=NO_CACHE,
    persist_result=False,
    result_serializer="json",
)
def settle(order: dict[str, Any], version: dict[str, Any]) -> dict[str, Any]:
    """Fetch, look at and judge one version."""

    def fetched(asked: Version, into: Path) -> Path:
        return Path(fetch(order, asdict(asked), str(into)))

    def judged(job: Job, key: str, *, again: str, threads: int, minutes: float) -> Judgement:
        return Judgement(**scan(asdict(job), key, again, threads, minutes))

    auditor = auditor_for(AuditOrder(**order))
    settled = auditor.take(read_version(version), fetch=fetched, scan=judged)
    get_run_logger().info("%s: %s", settled.decision, settled.reason)
    return asdict(settled)


def submitted(auditor: Auditor, versions: list[Version]) -> Iterator[Settled]:
    """Settle versions as tasks, as many at once as the audit has workers, wherever they run."""
    order, waiting = asdict(auditor.order), iter(versions)
    # Prefect's own engines would begin with all of them at once.
    running = {settle.submit(order, asdict(one)): one for one in islice(waiting, auditor.workers)}
    while running:
        done = next(as_completed(list(running)))
        version = running.pop(done)
        running |= {settle.submit(order, asdict(one)): one for one in islice(waiting, 1)}
        yield settled_or_lost(version, partial(_result, done))


def _result(done: PrefectFuture[dict[str, Any]]) -> Settled:
    return read_settled(done.result())


def runner(name: str, **settings: Any) -> Any:
    """Give Prefect's own engine that spreads the tasks: threads, dask or ray.

    Raises:
        UsageError: there is no such engine, or it is not installed.
    """
    try:
        if name == "dask":
            from prefect_dask.task_runners import DaskTaskRunner

            return DaskTaskRunner(**settings)
        if name == "ray":
            from prefect_ray import RayTaskRunner
            from ray import cloudpickle

            os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing reports usage
            # Ray carries a cloudpickle of its own.
            cloudpickle.register_pickle_by_value(sys.modules[__name__])
            return RayTaskRunner(**settings)
    except ImportError as error:
        message = f"{name} needs {error.name}"
        raise UsageError(message, hint=f"pip install 'gatekeeper-models[{name}]'") from None
    if name != "threads":
        message = f"no task runner {name!r}"
        raise UsageError(message, hint="Use threads, dask or ray.")
    return ThreadPoolTaskRunner(**settings)


def chosen_runner() -> Any:
    """Give the engine that the environment names; without an address it starts its own cluster."""
    address = os.environ.get("GATEKEEPER_RUNNER_ADDRESS")
    named = os.environ.get("GATEKEEPER_RUNNER") or "threads"
    return runner(named, **({"address": address} if address else {}))


def run_name() -> str:
    """Name a run of the flow by its registry, without user and password."""
    return f"audit {visible(redacted(flow_run.parameters['order']['registry']))}"


@flow(
    name="gatekeeper-audit",
    flow_run_name=run_name,
    task_runner=chosen_runner(),
    persist_result=False,
    result_serializer="json",
    validate_parameters=False,
)
def audit_registry(order: dict[str, Any]) -> dict[str, Any]:
    """Audit the registry, and show page and table as artifacts; gives exit code and page."""
    asked = replace(AuditOrder(**order), course=str(flow_run.id))
    done = audit(asked, tell=get_run_logger().info, fan_out=submitted)
    page = Path(asked.out).resolve() / "index.html"
    _show(done, page)
    return {"exit_code": done.exit_code, "page": str(page)}


def run_audit(order: AuditOrder) -> int:
    """Run the flow for `order`; gives the exit code.

    Raises:
        UsageError: an address holds a password.
        GatekeeperError: Prefect's server does not answer, or not any more.
    """
    refuse_passwords(order)
    if (url := PREFECT_API_URL.value()) and not answers(f"{url}/health"):
        message = f"Prefect's server at {visible(redacted(url))} does not answer"
        raise GatekeeperError(message, hint="Start it, or unset PREFECT_API_URL.")
    try:
        return int(audit_registry(asdict(order))["exit_code"])
    except httpx.TransportError as error:
        message = f"Prefect's server does not answer: {error}"
        raise GatekeeperError(message, hint="What was judged is kept: audit again.") from None


def _gpu(device: str) -> AbstractContextManager[Any]:
    """Hold the GPU, which takes one scan at a time; nothing where none is used."""
    if device_of(device).type != "cuda":
        return nullcontext()
    gate = load_flow("gate")
    gate.create_gpu_limit()
    # strict: a limit that is not there must stop the run, not be waved through.
    return concurrency(gate.GPU_LIMIT, occupy=1, strict=True)


def _show(done: Audit, page: Path) -> None:
    needy = [row for row in done.rows if not row.accepted or row.change != "same"]
    names = ("model", "version", "decision", "change", "reason")
    create_table_artifact(
        key="gatekeeper-audit",
        table=[{name: getattr(row, name) for name in names} for row in needy[:_SHOWN]],
        description=f"{len(needy)} version(s) that changed or are not to be used",
    )
    create_link_artifact(key="gatekeeper-audit-page", link=page.as_uri(), link_text="Audit page")
    emit_event(
        event=f"gatekeeper.audit.{_OUTCOMES.get(done.exit_code, 'failed')}",
        resource={"prefect.resource.id": f"gatekeeper.registry.{done.registry}"},
        payload={"audit": done.number, "exit_code": done.exit_code, "page": str(page)},
    )
