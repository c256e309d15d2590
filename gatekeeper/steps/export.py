"""Export: write the networks that may be deployed as ONNX, and prove that they are the same."""

from __future__ import annotations

from collections.abc import Sequence

from gatekeeper import __version__
from gatekeeper.errors import StepError
from gatekeeper.export import export as export_onnx
from gatekeeper.export import parity
from gatekeeper.records import Subject, to_dict
from gatekeeper.steps.conclusion import ONNX_METRIC, judgement
from gatekeeper.steps.purify import PURIFIED
from gatekeeper.steps.workshop import CleanData, Workshop


def export(work: Workshop) -> list[str]:
    """Write `export.json` and a hidden ONNX for each network that could be deployed.

    Only `conclude` gives the chosen one its public name, once the verdict is known.
    """
    data = work.data if work.has_weights else None
    done: dict[Subject, object] = {}
    if data is None:
        needed = "clean images to prove parity on" if work.has_weights else "a network"
        work.notes.skipped.append(f"Export: it needs {needed}.")
    elif not (subjects := worthy(work)):
        work.notes.skipped.append("Export: no network meets the other lines of the policy.")
    else:
        done = _export_each(work, data, subjects)
    work.room.write_json("export.json", done)
    return ["export.json", *(onnx_name(subject) for subject in done)]


def onnx_name(subject: Subject) -> str:
    """Name of an export before the verdict: hidden, so that no deployment picks it up."""
    return f".{subject}.onnx"


def worthy(work: Workshop) -> list[Subject]:
    """Name the networks that meet every line of the policy but the one that needs the export."""
    checks = judgement(work).checks
    short = {c.subject for c in checks if c.outcome != "passed" and c.metric != ONNX_METRIC}
    present: list[Subject] = [check.subject for check in checks]
    return [subject for subject in dict.fromkeys(present) if subject not in short]


def _export_each(
    work: Workshop, data: CleanData, subjects: Sequence[Subject]
) -> dict[Subject, object]:
    done: dict[Subject, object] = {}
    for subject in subjects:
        work.tell(f"export the {subject} network and compare it with torch")
        try:
            done[subject] = _export(work, data, subject)
        except StepError as error:
            work.notes.errors.append(f"Export of the {subject} network: {error}. {error.hint}")
    return done


def _export(work: Workshop, data: CleanData, subject: Subject) -> dict[str, object]:
    model = work.candidate if subject == "candidate" else work.load(PURIFIED)
    metadata = {
        "gatekeeper.version": __version__,
        "gatekeeper.candidate_sha256": work.room.read_json("candidate.json")["artifact"]["sha256"],
        "gatekeeper.policy_sha256": work.policy.sha256,
        "gatekeeper.weights": subject,
    }
    with work.room.writing(onnx_name(subject)) as path:
        opset = export_onnx(model, path, metadata=metadata)
        compared = parity(model, path, data.verify)
    return {"opset": opset, "parity": to_dict(compared)}
