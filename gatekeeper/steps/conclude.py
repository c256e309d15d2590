"""Conclude: judge, give the hardened artifact its name or withhold it, write record and reports."""

from __future__ import annotations

import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from gatekeeper import __version__
from gatekeeper.assessments import Attribution
from gatekeeper.records import (
    CandidateRecord,
    GateRecord,
    InputSpec,
    LayerNorms,
    OnnxOutput,
    Outputs,
    Parity,
    PolicyRecord,
    Purification,
    Quarantine,
    ScreenResult,
    Subject,
    Tool,
    TriggerRecord,
)
from gatekeeper.report import render_all
from gatekeeper.report.schema import from_dict
from gatekeeper.rundir import sha256_file
from gatekeeper.steps.conclusion import assessment, judgement, skipped, verification
from gatekeeper.steps.export import onnx_name
from gatekeeper.steps.purify import PURIFIED
from gatekeeper.steps.workshop import Workshop

ONNX = "hardened.onnx"
REPORTS = {
    "report.html": "html",
    "report.sarif": "sarif",
    "report.junit.xml": "junit",
    "summary.md": "markdown",
}
# What a deployment or a reader picks up; the artifact goes first when a verdict is taken back.
PUBLISHED = (ONNX, "record.json", *REPORTS)


def conclude(work: Workshop) -> list[str]:
    """Write `record.json`, every report, and on PASS or HARDENED `hardened.onnx`."""
    work.room.file(ONNX).unlink(missing_ok=True)
    record = _record(work)
    drawn = render_all(record, ["json", *REPORTS.values()])
    work.room.write_text("record.json", drawn["json"])
    for name, form in REPORTS.items():
        work.room.write_text(name, drawn[form])
    files = ["record.json", *REPORTS]
    return [*files, ONNX] if record.outputs.onnx else files


def _record(work: Workshop) -> GateRecord:
    judged = judgement(work)
    files = work.room
    screened = files.read_json("findings.json")
    purification = files.read_json("purification.json")
    verified = files.read_json("verification.json")
    candidate = files.read_json("candidate.json")
    state = files.state()
    return GateRecord(
        tool=Tool(name="gatekeeper", version=__version__),
        started_at=files.read_json("run.json")["started_at"],
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=work.job.seed,
        environment=_environment(work),
        candidate=CandidateRecord(
            **candidate["artifact"],
            architecture=screened.get("architecture"),
            num_classes=screened.get("num_classes"),
            parameters=screened.get("parameters"),
            input=from_dict(InputSpec, screened["input"]) if "input" in screened else None,
        ),
        quarantine=Quarantine(protections=tuple(candidate["protections"])),
        policy=PolicyRecord(
            name=work.policy.name,
            sha256=work.policy.sha256,
            accept_hardened=work.policy.accept_hardened,
        ),
        card=work.card.model_dump(mode="json"),
        data=work.data.record if work.data else None,
        findings=judged.findings,
        screens={
            name: from_dict(ScreenResult, result) for name, result in screened["screens"].items()
        },
        assessment=assessment(work),
        attribution=_attribution(verified, screened),
        norms=_norms(work, screened["norms"]),
        triggers=tuple(from_dict(TriggerRecord, trigger) for trigger in verified["triggers"]),
        purification=from_dict(Purification, purification) if purification else None,
        verification=verification(work),
        checks=judged.checks,
        waivers=judged.waivers,
        verdict=judged.verdict,
        outputs=Outputs(onnx=_publish(work, judged.deploy)),
        skipped=tuple(skipped(work)),
        timings={step: entry.seconds for step, entry in state.items()},
    )


def _attribution(*contents: dict[str, Any]) -> Attribution | None:
    """As verified where that went so far, else as screened."""
    found = next((one["attribution"] for one in contents if one.get("attribution")), None)
    return from_dict(Attribution, found) if found is not None else None


def _publish(work: Workshop, subject: Subject | None) -> OnnxOutput | None:
    """Copy the chosen export to its public name; nothing is published without a good verdict."""
    if subject is None:
        return None
    exported = work.room.read_json("export.json")[subject]
    with work.room.writing(ONNX) as path:
        shutil.copyfile(work.room.file(onnx_name(subject)), path)
    return OnnxOutput(
        path=ONNX,
        sha256=sha256_file(work.room.file(ONNX)),
        weights=subject,
        opset=exported["opset"],
        parity=from_dict(Parity, exported["parity"]),
    )


def _norms(work: Workshop, before: list[dict[str, object]]) -> tuple[LayerNorms, ...]:
    after = _purified_norms(work) if work.room.file(PURIFIED).exists() else {}
    return tuple(
        from_dict(LayerNorms, {**entry, "after": after.get(str(entry["layer"]))})
        for entry in before
    )


def _purified_norms(work: Workshop) -> dict[str, list[float]]:
    from gatekeeper.network import norms

    return {name: values.tolist() for name, values in norms(work.load(PURIFIED)).items()}


def _environment(work: Workshop) -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "onnxruntime": version("onnxruntime"),
        "device": str(work.device),
        "threads": str(torch.get_num_threads()),
    }
