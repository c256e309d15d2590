"""Measures an ONNX graph that does not convert through onnxruntime, in quarantine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from gatekeeper.candidate.graph.asking import answers
from gatekeeper.candidate.sources import private_copy
from gatekeeper.errors import CandidateError, StepError
from gatekeeper.model import Images
from gatekeeper.records import InputSpec, Measure
from gatekeeper.steps.workshop import Workshop
from gatekeeper.verification import accuracies


def measured(work: Workshop) -> dict[str, Measure] | None:
    """Measure accuracy on the held-out images; None, with the reason noted, where it cannot be."""
    data, known = work.data, work.graph_input
    if data is None or known is None:
        return None
    spec, batch = known
    try:
        predictions = _predictions(work, data.verify, spec, batch)
    except (CandidateError, StepError) as error:
        work.notes.errors.append(f"Accuracy through onnxruntime: {error}. {error.hint}")
        return None
    work.notes.skipped.append(
        "Everything but accuracy, which was measured through onnxruntime in quarantine: the graph "
        "does not convert, so no trigger was sought and nothing can be purified or exported."
    )
    least = work.policy.min_samples_per_class
    return accuracies(data.verify, predictions, min_samples_per_class=least)


def _predictions(
    work: Workshop, images: Images, spec: InputSpec, batch: int | None
) -> torch.Tensor:
    """(N,) classes on the CPU; -1 where an answer is not finite.

    Raises:
        CandidateError: the file is no longer the one that was read.
        StepError: onnxruntime does not answer, or not for these classes.
    """
    mean, std = (torch.tensor(row).view(1, -1, 1, 1) for row in (spec.mean, spec.std))
    work.tell(f"ask onnxruntime about {len(images)} images")
    with private_copy(Path(work.job.model), work.room.path) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        if digest != work.room.read_json("candidate.json")["artifact"]["sha256"]:
            message = f"{work.job.model} changed since it was read"
            raise CandidateError(message, hint="Scan a copy that nobody writes to.")
        logits = answers(
            stream, (images.floats().cpu() - mean) / std, batch=batch,
            accept_weak=work.policy.accept_weak_quarantine,
        )  # fmt: skip
    if logits.shape[1] != len(images.classes):
        message = (
            f"the graph answers with {logits.shape[1]} numbers an image, the clean images have "
            f"{len(images.classes)} classes"
        )
        raise StepError(message, hint="Give one folder per class of the network.")
    found = logits.argmax(dim=1)
    found[~logits.isfinite().all(dim=1)] = -1
    return found
