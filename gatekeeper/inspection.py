"""Static checks of many files: no torch, nothing parsed, nothing run, one line each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatekeeper.candidate.inspect import Inspection, inspect
from gatekeeper.errors import CandidateError
from gatekeeper.foreign_text import visible
from gatekeeper.records import to_dict
from gatekeeper.rules import BLOCKING, RULES

# A file of these that is no model is broken, or something else in disguise.
_MODEL_SUFFIXES = frozenset(
    {".pt", ".pth", ".ckpt", ".th", ".bin", ".tar", ".pkl", ".pickle", ".safetensors", ".onnx",
     ".pt2", ".h5", ".keras", ".joblib", ".npy", ".npz", ".zip", ".model", ".t7"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """One file: its inspection, or why there is none."""

    path: str
    inspection: Inspection | None
    trouble: str

    @property
    def state(self) -> str:
        """`blocked` outranks `unreadable` outranks `clean`."""
        findings = self.inspection.findings if self.inspection else ()
        if any(finding.severity in BLOCKING for finding in findings):
            return "blocked"
        return "unreadable" if self.trouble else "clean"


@dataclass(frozen=True, kw_only=True)
class InspectedFiles:
    """All that was asked for."""

    files: tuple[Inspected, ...]
    passed_over: int = 0  # files in folders that are no model, by content and by name

    @property
    def exit_code(self) -> int:
        """0 all read and clean, 1 something blocked, 3 something not readable or nothing there."""
        states = {file.state for file in self.files}
        if "blocked" in states:
            return 1
        return 3 if "unreadable" in states or not states else 0


def inspect_all(paths: Iterable[Path]) -> InspectedFiles:
    """Inspect files, and every file below folders; there, what is no model is only counted."""
    kept, passed_over = [], 0
    for path, named in _files(paths):
        file = _inspect(path)
        if named or _concerns_models(file):
            kept.append(file)
        else:
            passed_over += 1
    return InspectedFiles(files=tuple(kept), passed_over=passed_over)


def _concerns_models(file: Inspected) -> bool:
    """Tell whether a file calls itself a model, holds one, or could not be looked at."""
    if file.inspection is None or Path(file.path).suffix.lower() in _MODEL_SUFFIXES:
        return True
    return file.state != "unreadable" or file.inspection.artifact.kind != "unknown"


def tell_inspections(inspected: InspectedFiles, form: str) -> str:
    """Write the result as `text` or `json`."""
    if form == "json":
        return json.dumps([_as_dict(file) for file in inspected.files], indent=2)
    lines = [line for file in inspected.files for line in _lines(file)]
    if inspected.passed_over:
        lines.append(f"{inspected.passed_over} other files are no models, and were passed over.")
    return "\n".join(lines) or "No file was found, so nothing was checked."


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Every file, and whether it was named by itself."""
    for path in paths:
        # Not `is_dir`, which raises where the name is longer than a file system allows.
        if os.path.isdir(path):  # noqa: PTH112
            yield from ((file, False) for file in _below(path))
        else:
            yield path, True


def _below(folder: Path) -> Iterator[Path]:
    """Give each file, each link, and each folder that cannot be listed: all are told of."""
    closed: list[str] = []
    for place, folders, files in os.walk(
        folder, onerror=lambda error: closed.append(error.filename)
    ):
        folders.sort()
        # Links to folders are not followed.
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]  # noqa: PTH114, PTH118 - as above
        yield from sorted(Path(place, name) for name in (*files, *links))
    yield from map(Path, closed)


def _inspect(path: Path) -> Inspected:
    try:
        inspection = inspect(path)
    except CandidateError as error:
        return Inspected(path=str(path), inspection=None, trouble=f"{error}. {error.hint}")
    trouble = f"{inspection.unreadable.rstrip('.')}. {inspection.hint}".strip()
    return Inspected(
        path=str(path), inspection=inspection, trouble=trouble if inspection.unreadable else ""
    )


def _lines(file: Inspected) -> Iterator[str]:
    if file.inspection is None:
        yield visible(f"{file.state:10} {file.path}: {file.trouble}")
        return
    artifact = file.inspection.artifact
    yield visible(
        f"{file.state:10} {file.path}  {artifact.kind}  {artifact.bytes} bytes  {artifact.sha256}"
    )
    if file.trouble:
        yield visible(f"           {file.trouble}")
    for finding in file.inspection.findings:
        where = f" [{finding.member} @ {finding.offset}]" if finding.member else ""
        yield visible(f"           {finding.severity}: {finding.rule_id}: {finding.message}{where}")
        if finding.rule_id in RULES:
            yield f"           {RULES[finding.rule_id].remedy}"


def _as_dict(file: Inspected) -> dict[str, Any]:
    inspection = file.inspection
    return {
        "path": file.path,
        "state": file.state,
        "trouble": file.trouble,
        "artifact": to_dict(inspection.artifact) if inspection else None,
        "findings": [to_dict(finding) for finding in inspection.findings] if inspection else [],
    }
