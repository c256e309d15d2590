"""The gate as a Prefect flow: names, limits and artifacts around the same steps; no logic."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, get_client, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from gatekeeper.job import Job
from gatekeeper.pipeline import STEPS, begin, check, mistakes_undone, take
from gatekeeper.records import GateRecord
from gatekeeper.report import read_record
from gatekeeper.rundir import RunDirectory

GPU_LIMIT = "gpu"


@task(task_run_name="{name}", persist_result=False, result_serializer="json")
def step(name: str, order: dict[str, Any]) -> dict[str, str]:
    """Take one step in the run directory; give the digests of what it wrote."""
    job = Job(**order)
    logger = get_run_logger()
    room = RunDirectory(Path(job.out))
    work = begin(job, room, logger.info)
    on_gpu = work.device.type == "cuda"
    if on_gpu:
        create_gpu_limit()
    # strict: a limit that is not there must stop the run, not be waved through.
    with concurrency(GPU_LIMIT, occupy=1, strict=True) if on_gpu else nullcontext():
        take(name, work)
    return room.state()[name].files


def create_gpu_limit() -> None:
    """Create the limit of one step at a time on the GPU; one that was set otherwise stays."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(GPU_LIMIT)
        except ObjectNotFound:
            limit = GlobalConcurrencyLimitCreate(name=GPU_LIMIT, limit=1)
            # Another flow may have come first.
            with suppress(ObjectAlreadyExists):
                client.create_global_concurrency_limit(limit)


@flow(
    name="gatekeeper-scan",
    flow_run_name="scan {order[model]}",
    persist_result=False,
    result_serializer="json",
    validate_parameters=False,
)
def gate(order: dict[str, Any], resume: bool = False) -> dict[str, Any]:
    """Take every step, then show the verdict as an artifact; gives paths and digests."""
    out = Path(order["out"])
    with RunDirectory.open(out, resume=resume) as room, mistakes_undone(room):
        files: dict[str, str] = {}
        for name in STEPS:
            files.update(step(name, order))
    create_markdown_artifact(
        key="gatekeeper-verdict",
        markdown=(out / "summary.md").read_text(encoding="utf-8"),
        description="Verdict of the gate",
    )
    return {"out": str(out), "files": files}


def scan(job: Job, *, resume: bool = False) -> GateRecord:
    """Run the flow for `job` and give the record that it wrote."""
    check(job)
    gate(asdict(job), resume=resume)
    text = (Path(job.out) / "record.json").read_text(encoding="utf-8")
    return read_record(text, job.out)
