"""SARIF for GitHub code scanning: complete, bounded, and never empty where nothing was decided.

No installed package holds the official SARIF 2.1.0 schema, so the part of it that the gate writes
is written down here, with what GitHub asks on top.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from full_record import HOSTILE, full_record

from gatekeeper.records import Finding, GateRecord
from gatekeeper.report import render

TEXT = {"type": "string", "minLength": 1}
SHORT = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {**TEXT, "maxLength": 1024}},
    "additionalProperties": False,
}
LEVEL = {"enum": ["note", "warning", "error"]}
ONE = {"const": 1}
RULE = {
    "type": "object",
    "required": ["id", "shortDescription", "fullDescription", "help", "properties"],
    "properties": {
        "id": TEXT,
        "shortDescription": SHORT,
        "fullDescription": SHORT,
        "help": SHORT,
        "defaultConfiguration": {"properties": {"level": LEVEL}, "required": ["level"]},
        "properties": {
            "required": ["security-severity"],
            "properties": {"security-severity": {"enum": ["9.0", "7.0", "4.0", "1.0", "0.0"]}},
        },
    },
    "additionalProperties": False,
}
PLACE = {
    "type": "object",
    "required": ["artifactLocation", "region"],
    "properties": {
        "artifactLocation": {
            "required": ["uri"],
            "properties": {"uri": {"type": "string", "pattern": r"^(file:///)?(?!/)[\w.~/%-]+$"}},
        },
        "region": {
            "required": ["startLine", "startColumn", "endLine", "endColumn"],
            "properties": dict.fromkeys(("startLine", "startColumn", "endLine", "endColumn"), ONE),
        },
    },
    "additionalProperties": False,
}
RESULT = {
    "type": "object",
    "required": ["ruleId", "level", "message", "locations", "partialFingerprints"],
    "properties": {
        "ruleId": TEXT,
        "level": LEVEL,
        "message": {"required": ["text"], "properties": {"text": TEXT}},
        "locations": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "required": ["physicalLocation"],
                "properties": {"physicalLocation": PLACE, "logicalLocations": {"type": "array"}},
                "additionalProperties": False,
            },
        },
        "partialFingerprints": {
            "required": ["primaryLocationLineHash"],
            "properties": {"primaryLocationLineHash": {"pattern": "^[0-9a-f]{32}$"}},
        },
        "properties": {
            "properties": {"byteOffset": {"type": "integer", "minimum": 0}},
            "additionalProperties": False,
        },
        "suppressions": {
            "items": {
                "required": ["kind"],
                "properties": {"kind": {"enum": ["inSource", "external"]}},
            }
        },
    },
    "additionalProperties": False,
}
RUN = {
    "type": "object",
    "required": ["tool", "automationDetails", "results", "invocations"],
    "properties": {
        "tool": {
            "required": ["driver"],
            "properties": {
                "driver": {
                    "required": ["name", "rules"],
                    "properties": {"rules": {"items": RULE, "uniqueItems": True}},
                }
            },
        },
        "automationDetails": {"properties": {"id": {"pattern": "^gatekeeper/[0-9a-z]+$"}}},
        "results": {"items": RESULT, "maxItems": 25_000},
        "invocations": {
            "items": {
                "required": ["executionSuccessful"],
                "properties": {"executionSuccessful": {"type": "boolean"}},
            }
        },
    },
}
SCHEMA = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "properties": {
        "$schema": {"pattern": r"^https://.*sarif-2\.1\.0\.json$"},
        "version": {"const": "2.1.0"},
        "runs": {"items": RUN, "minItems": 1, "maxItems": 1},
    },
    "additionalProperties": False,
}


def run_of(record: GateRecord) -> dict[str, Any]:
    document = json.loads(render(record, "sarif"))
    jsonschema.validate(document, SCHEMA)
    run: dict[str, Any] = document["runs"][0]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in run["results"]} == rules
    return run


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_leave_it_valid(words: str) -> None:
    run = run_of(full_record(words))
    assert render(full_record(words), "sarif").isascii()
    for result in run["results"]:
        assert result["message"]["text"].isprintable()


def test_archive_members_and_layers_are_logical_places() -> None:
    results = run_of(full_record())["results"]
    logical = [place["locations"][0].get("logicalLocations") for place in results]
    assert [{"fullyQualifiedName": "plain words", "kind": "member"}] in logical
    assert [{"fullyQualifiedName": "plain words", "kind": "module"}] in logical


def test_the_weightiest_come_first() -> None:
    levels = [result["level"] for result in run_of(full_record())["results"]]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


def test_what_nobody_could_decide_is_an_alert_of_its_own() -> None:
    record = full_record()
    unread = replace(
        record, findings=(), checks=(), verdict=replace(record.verdict, decision="undecided")
    )
    run = run_of(unread)
    (alert,) = run["results"]
    assert (alert["ruleId"], alert["level"]) == ("not-decided", "error")
    assert "plain words" in alert["message"]["text"]
    assert run["invocations"][0]["executionSuccessful"] is False


def test_what_was_not_checked_is_a_notification() -> None:
    (invocation,) = run_of(full_record())["invocations"]
    told = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert told == ["Not checked: plain words"]


def test_a_finding_of_an_unknown_rule_is_not_dropped() -> None:
    odd = Finding(rule_id="from-the-future", screen="x", severity="critical", message="seen")
    results = run_of(replace(full_record(), findings=(odd,), checks=()))["results"]
    assert [result["ruleId"] for result in results] == ["from-the-future"]


def test_results_are_bounded_as_github_bounds_them() -> None:
    found = tuple(
        Finding(rule_id="norm-outlier", screen="x", severity="low", message="m", unit=k)
        for k in range(25_010)
    )
    weighty = Finding(rule_id="code-execution", screen="x", severity="critical", message="m")
    drawn = render(replace(full_record(), findings=(*found, weighty)), "sarif")
    results = json.loads(drawn)["runs"][0]["results"]
    assert len(results) == 25_000
    assert any(result["ruleId"] == "code-execution" for result in results)
