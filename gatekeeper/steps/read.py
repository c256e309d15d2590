"""Read: what kind of file is it, what is wrong with it, and which tensors does it hold?"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from gatekeeper.candidate.budget import Budget
from gatekeeper.candidate.extraction import extract
from gatekeeper.candidate.graph.parity import prove
from gatekeeper.candidate.inspect import Inspection, Inspector
from gatekeeper.candidate.loading import non_finite
from gatekeeper.candidate.refusals import BlockedError, QuarantineError
from gatekeeper.candidate.sources import private_copy
from gatekeeper.candidate.structure import to_json
from gatekeeper.errors import CandidateError, StepError, with_hint
from gatekeeper.records import Artifact, Finding, to_dict
from gatekeeper.rules import BLOCKING
from gatekeeper.steps.workshop import GRAPH, STRUCTURE, WEIGHTS, Workshop

_NOT_SEEN = (
    "Only the finiteness of the ONNX file's weights was looked at: no unit was, no trigger was "
    "sought, nor was its accuracy measured."
)


def read(work: Workshop) -> list[str]:
    """Write `candidate.json` and, where the file is safe to parse, `weights.safetensors`."""
    # Its import takes longer than copy, inspection and child together: let them go on at once.
    Thread(target=import_module, args=("torchvision",), daemon=True).start()
    path = Path(work.job.model)
    work.room.remove([WEIGHTS, GRAPH, STRUCTURE])
    try:
        # The bytes that are hashed are the bytes that are parsed, whatever happens to the file.
        stream = private_copy(path, work.room.path)
    except CandidateError as error:
        artifact = Artifact(path=str(path), kind="unreadable", sha256="", bytes=0)
        work.notes.errors.append(with_hint(str(error), error.hint))
        return _write(work, artifact, (), (), loadable=False)
    budget = Budget()
    with stream, Inspector(accept_weak=work.policy.accept_weak_quarantine) as inspector:
        inspection = inspector.inspect_stream(stream, path, budget=budget)
        findings, protections = _parse(work, stream, inspection, budget)
        if work.room.file(WEIGHTS).exists():
            findings = (*findings, *non_finite(work.room.file(WEIGHTS)))
        loadable = _loadable(work, stream, inspection.artifact.kind, budget)
    return _write(work, inspection.artifact, findings, protections, loadable=loadable)


def _parse(
    work: Workshop, stream: BinaryIO, inspection: Inspection, budget: Budget
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Let the quarantine child write the weights; say why where it may not or cannot."""
    findings = inspection.findings
    if any(finding.severity in BLOCKING for finding in findings):
        work.notes.skipped.append("The file was not parsed: a static finding forbids it.")
        return findings, inspection.protections
    kind = inspection.artifact.kind
    if inspection.unreadable:
        work.notes.errors.append(with_hint(inspection.unreadable, inspection.hint))
        # A graph that the gate does not convert may hold weights that it can look at.
        if kind != "onnx":
            return findings, inspection.protections
    try:
        with work.room.writing(WEIGHTS) as partial:
            extraction = extract(
                stream, kind, partial, weights_key=work.card.weights_key,
                accept_weak=work.policy.accept_weak_quarantine, budget=budget,
            )  # fmt: skip
    except BlockedError as error:
        blocked = Finding(
            rule_id=error.rule, screen="quarantine", severity="critical", message=str(error)
        )
        return (*findings, blocked), error.protections
    except QuarantineError as error:
        if not inspection.unreadable:
            work.notes.errors.append(with_hint(str(error), error.hint))
        return findings, error.protections
    if extraction.structure is not None:
        work.room.write_json(STRUCTURE, to_json(extraction.structure))
    if extraction.graph is not None and not inspection.unreadable:
        work.room.write_json(GRAPH, extraction.graph)
    elif kind == "onnx":
        work.notes.skipped.append(_NOT_SEEN)
    return findings, extraction.protections


def _loadable(work: Workshop, stream: BinaryIO, kind: str, budget: Budget) -> bool:
    """Tell whether the tensors fit an architecture that we know, or a graph that is proved."""
    onnx = work.room.file(GRAPH).exists()
    # Tensors of a graph that is none may fit a network that they are not of.
    if not work.room.file(WEIGHTS).exists() or onnx != (kind == "onnx"):
        return False
    try:
        return _proved(work, stream, budget) if onnx else bool(work.candidate.classes)
    except StepError as error:
        work.notes.errors.append(with_hint(str(error), error.hint))
    return False


def _proved(work: Workshop, stream: BinaryIO, budget: Budget) -> bool:
    """Hold the network that the graph became against onnxruntime; say how far that goes."""
    if work.card.architecture is not None:
        work.notes.skipped.append("The card's architecture: an ONNX graph is its own.")
    model = work.candidate
    proof = prove(
        stream, model.clone().network.cpu(), model.input.size,
        batch=work.room.read_json(GRAPH)["shape"][0],
        accept_weak=work.policy.accept_weak_quarantine, budget=budget,
    )  # fmt: skip
    work.notes.skipped.append(
        f"Whether the ONNX graph and its torch network agree on more than {proof.images} random "
        f"images, where they differ by {proof.max_abs_diff:.1g} (onnxruntime in quarantine: "
        f"{'; '.join(proof.protections)})."
    )
    return True


def _write(
    work: Workshop,
    artifact: Artifact,
    findings: tuple[Finding, ...],
    protections: tuple[str, ...],
    *,
    loadable: bool,
) -> list[str]:
    content = {
        "artifact": to_dict(artifact),
        "findings": [to_dict(finding) for finding in findings],
        "protections": list(protections),
        "loadable": loadable,
    }
    work.room.write_json("candidate.json", content)
    kept = (name for name in (WEIGHTS, GRAPH, STRUCTURE) if work.room.file(name).exists())
    return ["candidate.json", *kept]
