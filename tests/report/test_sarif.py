"""SARIF as GitHub code scanning wants it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.records import Finding, GateRecord
from gatekeeper.report import read_record, render
from gatekeeper.rules import RULES

SAMPLE = Path(__file__).resolve().parent.parent.parent / "reports/samples/record.json"


@pytest.fixture(scope="module")
def record() -> GateRecord:
    read = read_record(SAMPLE.read_text(encoding="utf-8"), "sample")
    found = tuple(
        Finding(
            rule_id=rule.id, screen="test", severity=rule.severity, message=f"seen: {rule.title}",
            member="archive/data.pkl", offset=12,
        )
        for rule in RULES.values()
        if not rule.id.startswith("check/")
    )  # fmt: skip
    return replace(read, findings=found)


@pytest.fixture(scope="module")
def run(record: GateRecord) -> dict[str, Any]:
    document = json.loads(render(record, "sarif"))
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-2.1.0.json")
    (only,) = document["runs"]
    return only  # type: ignore[no-any-return]


def test_every_rule_is_explained(run: dict[str, Any]) -> None:
    driver = run["tool"]["driver"]
    assert driver["name"] == "gatekeeper"
    for rule in driver["rules"]:
        assert 0 < len(rule["shortDescription"]["text"]) <= 1024
        assert 0 < len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"]
        assert float(rule["properties"]["security-severity"]) >= 0
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    assert {result["ruleId"] for result in run["results"]} == set(ids)


def test_every_finding_and_open_check_is_a_result(run: dict[str, Any], record: GateRecord) -> None:
    still_open = [check for check in record.checks if check.outcome != "passed"]
    assert len(run["results"]) == len(record.findings) + len(still_open)


def test_every_result_has_a_place_and_a_print(run: dict[str, Any]) -> None:
    prints = []
    for result in run["results"]:
        assert result["level"] in ("note", "warning", "error")
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        uri = place["artifactLocation"]["uri"]
        assert not uri.startswith(("/", "file:"))
        assert ".." not in uri.split("/")
        assert set(place["region"]) == {"startLine", "startColumn", "endLine", "endColumn"}
        prints.append(result["partialFingerprints"]["primaryLocationLineHash"])
    assert len(prints) == len(set(prints))
    assert run["automationDetails"]["id"].count("/") == 1


def test_a_waived_finding_is_suppressed(record: GateRecord) -> None:
    waived = replace(record, findings=(replace(record.findings[0], waived=True),))
    (run,) = json.loads(render(waived, "sarif"))["runs"]
    assert run["results"][0]["suppressions"]


def test_what_speaks_of_weights_that_are_replaced_is_no_alert() -> None:
    """The sample is HARDENED: what the screens say of the candidate stays a note."""
    hardened = read_record(SAMPLE.read_text(encoding="utf-8"), "sample")
    suspected = replace(
        hardened.findings[0], rule_id="backdoor-suspected", screen="assessment", severity="high"
    )
    ran = replace(suspected, rule_id="code-execution", screen="inspect", severity="critical")
    (run,) = json.loads(render(replace(hardened, findings=(suspected, ran)), "sarif"))["runs"]
    levels = {one["ruleId"]: one["level"] for one in run["results"]}
    assert (levels["backdoor-suspected"], levels["code-execution"]) == ("note", "error")


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("models/a b.pt", "models/a%20b.pt"),
        ("/home/x/model.pt", "model.pt"),
        ("../up/model.pt", "model.pt"),
        ("ü.pt", "%C3%BC.pt"),
    ],
)
def test_a_record_tells_the_same_wherever_it_is_drawn(
    record: GateRecord, path: str, uri: str
) -> None:
    moved = replace(record, candidate=replace(record.candidate, path=path))
    (run,) = json.loads(render(moved, "sarif"))["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == uri
