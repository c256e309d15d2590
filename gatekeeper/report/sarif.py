"""SARIF 2.1.0 for code scanning: a result for every finding and every check that did not pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from gatekeeper.foreign_text import visible
from gatekeeper.records import Artifact, CandidateRecord, GateRecord, Severity
from gatekeeper.report.wording import SCREEN_LABELS
from gatekeeper.rules import NOT_DECIDED, RULES, Rule

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: dict[Severity, str] = {
    "critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note",
}  # fmt: skip
_SCORES: dict[Severity, str] = {
    "critical": "9.0", "high": "7.0", "medium": "4.0", "low": "1.0", "info": "0.0",
}  # fmt: skip
_OF_WEIGHTS = frozenset({*SCREEN_LABELS, "assessment"})  # screens that speak of the weights
_LONGEST = 1024
_MOST = 25_000  # results of one run
_WEIGHT = ("error", "warning", "note")
_REGION = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1}


def sarif(record: GateRecord) -> str:
    """Draw `record` as SARIF."""
    return document(
        [*_undecided(record), *_findings(record), *_checks(record)],
        version=record.tool.version,
        category=record.candidate.sha256[:16] or "unread",
        whole=record.verdict.decision != "undecided",
        notes=[f"Not checked: {one.reason}" for one in record.skipped],
        properties={"decision": record.verdict.decision},
    )


def document(
    results: list[dict[str, Any]], *, version: str, category: str, whole: bool,
    notes: Sequence[str], properties: dict[str, Any],
) -> str:  # fmt: skip
    """Write results as SARIF; the weightiest first, as many as GitHub takes.

    Args:
        results: as `result` gives them.
        version: of the tool.
        category: tells runs of the same kind apart.
        whole: whether all that was asked for was done.
        notes: what was not checked: a list of results alone would look like the whole.
        properties: of the run.
    """
    results = sorted(results, key=lambda result: _WEIGHT.index(result["level"]))[:_MOST]
    used = list(dict.fromkeys(result["ruleId"] for result in results))
    driver = {"name": "gatekeeper", "version": version, "rules": [_rule(name) for name in used]}
    told = [{"level": "note", "message": {"text": visible(note)}} for note in notes]
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"gatekeeper/{category}"},
        "properties": properties,
        "invocations": [{"executionSuccessful": whole, "toolExecutionNotifications": told}],
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def level_of(severity: Severity) -> str:
    """SARIF's word for how bad a finding is."""
    return _LEVELS[severity]


def _undecided(record: GateRecord) -> list[dict[str, Any]]:
    """An alert of its own: without one, a file that nobody could read would look clean."""
    if record.verdict.decision != "undecided":
        return []
    return [_result(record, NOT_DECIDED, "error", " ".join(record.verdict.reasons), "verdict")]


def _findings(record: GateRecord) -> list[dict[str, Any]]:
    results = []
    replaced = record.outputs.onnx is not None and record.outputs.onnx.weights == "purified"
    for finding in record.findings:
        # What the weights that came in show is no alert where others are deployed.
        level = "note" if replaced and finding.screen in _OF_WEIGHTS else _LEVELS[finding.severity]
        where = "/".join(map(str, (finding.member, finding.layer, finding.unit, finding.offset)))
        told = _result(record, finding.rule_id, level, finding.message, where)
        if name := finding.member or finding.layer:
            within(told, name, "member" if finding.member else "module")
        at_byte(told, finding.offset)
        if finding.waived:
            told["suppressions"] = [{"kind": "external", "justification": "waived by the policy"}]
        results.append(told)
    return results


def _checks(record: GateRecord) -> list[dict[str, Any]]:
    deployed = record.outputs.onnx.weights if record.outputs.onnx else None
    return [
        _result(
            record,
            check.rule_id,
            "note" if deployed and check.subject != deployed else
            "error" if check.outcome == "failed" else "warning",
            check.message,
            check.subject,
        )
        for check in record.checks
        if check.outcome != "passed"
    ]  # fmt: skip


def _result(record: GateRecord, rule: str, level: str, message: str, where: str) -> dict[str, Any]:
    return result(record.candidate, rule, level, message, where)


def result(
    file: Artifact | CandidateRecord, rule: str, level: str, message: str, where: str,
    uri: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Give one result: what a rule says of a file, where inside of it, and where the file lies.

    Without `uri` only the name of a file outside of the working folder is told: a record is drawn
    again elsewhere, years later, and must look the same.
    """
    told = visible(message)
    what = f"{file.sha256}:{rule}:{visible(where)}:{told}"
    print_of = hashlib.sha256(what.encode())
    location = {"artifactLocation": {"uri": uri or _uri(file.path)}, "region": dict(_REGION)}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": told},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"primaryLocationLineHash": print_of.hexdigest()[:32]},
    }


def within(result: dict[str, Any], name: str, kind: str) -> dict[str, Any]:
    """Say which member of an archive, or which module, a result is about."""
    logical = {"fullyQualifiedName": visible(name), "kind": kind}
    result["locations"][0]["logicalLocations"] = [logical]
    return result


def at_byte(result: dict[str, Any], offset: int | None) -> dict[str, Any]:
    """Say at which byte of the file, or of its member, a result lies: code hosts show the text."""
    if offset is not None:
        result["message"]["text"] += f" (at byte {offset})"
        result["properties"] = {"byteOffset": offset}
    return result


def _uri(path: str) -> str:
    """A repo-relative uri; of a path from outside of the repository, only the name."""
    pure = PurePath(path)
    relative = pure.name if pure.is_absolute() or ".." in pure.parts else pure.as_posix()
    return quote(relative.encode("utf-8", "surrogateescape")) or "candidate"


def _rule(name: str) -> dict[str, Any]:
    rule = RULES.get(name) or _unknown(name)
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title[:_LONGEST]},
        "fullDescription": {"text": rule.explanation[:_LONGEST]},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"security-severity": _SCORES[rule.severity]},
    }


def _unknown(name: str) -> Rule:
    """A rule of another version of the gate: its findings stand, though nothing explains them."""
    return Rule(
        id=name,
        title=f"Rule {name}",
        explanation="This version of the gate does not know the rule; the finding stands.",
        remedy="Draw the report with the version that wrote the record.",
        severity="medium",
    )
