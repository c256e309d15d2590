"""JUnit: a CI system shows the gate as tests, whatever a candidate calls itself."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from full_record import HOSTILE, full_record

from gatekeeper.records import Decision, GateRecord, Outputs
from gatekeeper.report import render


def suite(record: GateRecord) -> ET.Element:
    found = ET.fromstring(render(record, "junit")).find("testsuite")
    assert found is not None
    return found


def decided(decision: Decision) -> GateRecord:
    record = full_record()
    outputs = record.outputs if decision in ("pass", "hardened") else Outputs(onnx=None)
    verdict = replace(record.verdict, decision=decision)
    return replace(record, verdict=verdict, outputs=outputs)


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_it_is_well_formed_and_counts_right(words: str) -> None:
    drawn = suite(full_record(words))
    cases = drawn.findall("testcase")
    assert int(drawn.get("tests", "")) == len(cases) == 6
    assert int(drawn.get("failures", "")) == len(drawn.findall("testcase/failure"))
    assert int(drawn.get("errors", "")) == len(drawn.findall("testcase/error"))
    assert "::" not in render(full_record(words), "junit")


def outcomes(record: GateRecord) -> list[str]:
    return [child.tag for case in suite(record).findall("testcase") for child in case]


def test_what_is_deployed_counts_and_what_is_open_is_an_error() -> None:
    assert outcomes(decided("hardened")) == ["skipped", "skipped"]
    assert outcomes(decided("reject")) == ["failure", "error", "failure"]
    assert outcomes(decided("undecided")) == ["failure", "error", "error"]


def test_a_pass_is_green_whatever_the_network_that_is_not_deployed_lacks() -> None:
    record = decided("pass")
    assert record.outputs.onnx is not None
    candidate = replace(record.outputs.onnx, weights="candidate")
    swapped = tuple(
        replace(check, subject="purified" if check.subject == "candidate" else "candidate")
        for check in record.checks
    )
    record = replace(record, outputs=Outputs(onnx=candidate), checks=swapped)
    assert suite(record).get("failures") == suite(record).get("errors") == "0"


def test_an_unread_candidate_is_no_green_suite() -> None:
    unread = replace(decided("undecided"), checks=(), verification=None)
    assert suite(unread).get("errors") == "1"


def test_what_was_not_checked_is_told() -> None:
    told = suite(full_record()).findtext("system-out")
    assert told is not None
    assert "plain words" in told
    assert suite(replace(full_record(), skipped=())).find("system-out") is None
