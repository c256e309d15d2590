"""Read: what kind of file is it, what is wrong with it, and which tensors does it hold?"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from gatekeeper.candidate.inspect import Inspection, Inspector, private_copy
from gatekeeper.candidate.loading import non_finite
from gatekeeper.candidate.quarantine import MalformedTensorError, QuarantineError, extract
from gatekeeper.candidate.structure import to_json
from gatekeeper.errors import CandidateError, StepError
from gatekeeper.records import Artifact, Finding, to_dict
from gatekeeper.rules import BLOCKING
from gatekeeper.steps.workshop import Workshop

WEIGHTS = "weights.safetensors"
STRUCTURE = "structure.json"  # only of a network that was pickled whole


def read(work: Workshop) -> list[str]:
    """Write `candidate.json` and, where the file is safe to parse, `weights.safetensors`."""
    # Its import takes longer than copy, inspection and child together: let them go on at once.
    Thread(target=import_module, args=("torchvision",), daemon=True).start()
    path = Path(work.job.model)
    work.room.remove([WEIGHTS, STRUCTURE])
    try:
        # The bytes that are hashed are the bytes that are parsed, whatever happens to the file.
        stream = private_copy(path, work.room.path)
    except CandidateError as error:
        artifact = Artifact(path=str(path), kind="unreadable", sha256="", bytes=0)
        work.notes.errors.append(_line(str(error), error.hint))
        return _write(work, artifact, (), ())
    with stream, Inspector(accept_weak=work.policy.accept_weak_quarantine) as inspector:
        inspection = inspector.inspect_stream(stream, str(path))
        findings, protections = _parse(work, stream, inspection)
    if work.room.file(WEIGHTS).exists():
        findings = (*findings, *non_finite(work.room.file(WEIGHTS)))
    return _write(work, inspection.artifact, findings, protections)


def _parse(
    work: Workshop, stream: BinaryIO, inspection: Inspection
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Let the quarantine child write the weights; say why where it may not or cannot."""
    findings = inspection.findings
    if any(finding.severity in BLOCKING for finding in findings):
        work.notes.skipped.append("The file was not parsed: a static finding forbids it.")
        return findings, inspection.protections
    if inspection.unreadable:
        work.notes.errors.append(_line(inspection.unreadable, inspection.hint))
        return findings, inspection.protections
    kind = inspection.artifact.kind
    try:
        with work.room.writing(WEIGHTS) as partial:
            extraction = extract(
                stream, kind, partial, weights_key=work.card.weights_key,
                accept_weak=work.policy.accept_weak_quarantine,
            )  # fmt: skip
    except MalformedTensorError as error:
        malformed = Finding(
            rule_id="malformed-tensor", screen="quarantine", severity="critical", message=str(error)
        )
        return (*findings, malformed), error.protections
    except QuarantineError as error:
        work.notes.errors.append(_line(str(error), error.hint))
        return findings, error.protections
    if extraction.structure is not None:
        work.room.write_json(STRUCTURE, to_json(extraction.structure))
    return findings, extraction.protections


def _loadable(work: Workshop) -> bool:
    """Tell whether the tensors fit an architecture that we know."""
    if not work.room.file(WEIGHTS).exists():
        return False
    try:
        return bool(work.candidate.classes)
    except StepError as error:
        work.notes.errors.append(_line(str(error), error.hint))
        return False


def _line(message: str, hint: str) -> str:
    return f"{message.rstrip('.')}. {hint}".strip()


def _write(
    work: Workshop,
    artifact: Artifact,
    findings: tuple[Finding, ...],
    protections: tuple[str, ...],
) -> list[str]:
    content = {
        "artifact": to_dict(artifact),
        "findings": [to_dict(finding) for finding in findings],
        "protections": list(protections),
        "loadable": _loadable(work),
    }
    work.room.write_json("candidate.json", content)
    return ["candidate.json", *(n for n in (WEIGHTS, STRUCTURE) if work.room.file(n).exists())]
