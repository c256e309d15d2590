"""What was inspected, as lines to read, as JSON, and as SARIF for code scanning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gatekeeper import __version__
from gatekeeper.foreign_text import shortened, visible
from gatekeeper.inspection import Inspected, InspectedFiles
from gatekeeper.records import Artifact, Finding, to_dict
from gatekeeper.report.file_uri import uri_of
from gatekeeper.report.sarif import at_byte, document, level_of, result, within
from gatekeeper.report.wording import place
from gatekeeper.rules import NOT_DECIDED, RULES

_SHOWN = 20  # names on a line
_LONGEST = 240  # signs of a message or a place on a line; a name may have a million
_NOTHING = "No file was found, so nothing was checked."


def tell_inspections(inspected: InspectedFiles, form: str) -> str:
    """Write the result as `text`, `json` or `sarif`."""
    if form == "json":
        return json.dumps(_as_document(inspected), indent=2)
    if form == "sarif":
        return _sarif(inspected)
    lines = [line for file in inspected.files for line in _lines(file)]
    if len(inspected.files) > 1:
        lines.append(_summed(inspected))
    if inspected.passed_over:
        lines.append(_passed_over(inspected, _SHOWN))
    return "\n".join(lines) or _NOTHING


def _summed(inspected: InspectedFiles) -> str:
    states = [file.state for file in inspected.files]
    counts = ", ".join(
        f"{states.count(name)} {name}" for name in ("blocked", "unreadable", "clean")
    )
    return f"{len(states)} inspected: {counts}"


def _passed_over(inspected: InspectedFiles, most: int) -> str:
    count, names = inspected.passed_over, inspected.named[:most]
    told = (
        "1 other file is no model, and was"
        if count == 1
        else f"{count} other files are no models, and were"
    )
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return visible(f"{told} passed over: {', '.join(names)}{more}")


def _lines(file: Inspected) -> Iterator[str]:
    if file.inspection is None:
        trouble = _unnamed(file.trouble, file.path)
        yield visible(f"{file.state:10} {file.path}: {trouble}")
        return
    artifact = file.inspection.artifact
    yield visible(
        f"{file.state:10} {file.path}  {artifact.kind}  {artifact.bytes} bytes  {artifact.sha256}"
    )
    if file.trouble:
        # Twice as long, as the hint stands at its end.
        yield visible(f"           {shortened(file.trouble, 2 * _LONGEST)}")
    for finding in file.inspection.findings:
        where = f" [{shortened(place(finding), _LONGEST)}]" if place(finding) else ""
        message = shortened(finding.message, _LONGEST)
        yield visible(f"           {finding.severity}: {finding.rule_id}: {message}{where}")
        if finding.rule_id in RULES:
            yield f"           {RULES[finding.rule_id].remedy}"


def _unnamed(trouble: str, path: str) -> str:
    """Leave out the path, which stands before it on the line."""
    for verb in ("open", "read"):
        if trouble.startswith(before := f"cannot {verb} {path}: "):
            return f"cannot {verb} it: {trouble[len(before) :]}"
    return trouble.removeprefix(f"{path} ")


def _as_document(inspected: InspectedFiles) -> dict[str, Any]:
    return {
        "exit_code": inspected.exit_code,
        "files": [_as_dict(file) for file in inspected.files],
        "passed_over": {"count": inspected.passed_over, "named": list(inspected.named)},
    }


def _as_dict(file: Inspected) -> dict[str, Any]:
    inspection = file.inspection
    return {
        "path": file.path,
        "state": file.state,
        "trouble": file.trouble,
        "artifact": to_dict(inspection.artifact) if inspection else None,
        "findings": [_found(finding) for finding in inspection.findings] if inspection else [],
        "protections": list(inspection.protections) if inspection else [],
    }


def _found(finding: Finding) -> dict[str, Any]:
    remedy = RULES[finding.rule_id].remedy if finding.rule_id in RULES else ""
    return {**to_dict(finding), "remedy": remedy}


def _sarif(inspected: InspectedFiles) -> str:
    results = [one for file in inspected.files for one in _results(file)]
    notes = [_passed_over(inspected, inspected.passed_over)] if inspected.passed_over else []
    if not inspected.files:
        notes.append(_NOTHING)
    counts = {"inspected": len(inspected.files), "passedOver": inspected.passed_over}
    return document(
        results, version=__version__, category="inspect", whole=inspected.exit_code != 3,
        notes=notes, properties=counts,
    )  # fmt: skip


def _results(file: Inspected) -> Iterator[dict[str, Any]]:
    inspection = file.inspection
    artifact = inspection.artifact if inspection else Artifact(
        path=file.path, kind="unreadable", sha256="", bytes=0
    )  # fmt: skip
    lies = uri_of(file.path)  # a copy in another folder is another alert
    if file.trouble:
        # An alert of its own: without one, a file that nobody could read would look clean.
        yield result(artifact, NOT_DECIDED, "error", file.trouble, lies, lies)
    for finding in inspection.findings if inspection else ():
        where = f"{lies}:{finding.member}/{finding.offset}"
        level = level_of(finding.severity)
        told = result(artifact, finding.rule_id, level, finding.message, where, lies)
        at_byte(told, finding.offset)
        yield within(told, finding.member, "member") if finding.member else told
