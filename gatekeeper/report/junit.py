"""JUnit XML: a test case for every check, so that CI systems show the gate as tests."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from gatekeeper.foreign_text import inert
from gatekeeper.records import GateRecord

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(record: GateRecord) -> str:
    """Draw `record` as JUnit XML: what failed is a failure, what is undecided an error."""
    cases = [*_checks(record), _verdict(record)]
    suite = ET.Element(
        "testsuite",
        name="gatekeeper",
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        timestamp=_legal(record.started_at),
    )
    suite.extend(cases)
    if record.skipped:
        told = [skipped.reason for skipped in record.skipped]
        ET.SubElement(suite, "system-out").text = "\n".join(["Not checked:", *map(_legal, told)])
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _checks(record: GateRecord) -> list[ET.Element]:
    cases = []
    # What the other network misses is no failure where this one is what is deployed.
    judged = record.outputs.onnx.weights if record.outputs.onnx else None
    for check in record.checks:
        case = ET.Element(
            "testcase", classname=f"gatekeeper.{check.subject}", name=_legal(check.metric)
        )
        if judged is not None and check.subject != judged and check.outcome != "passed":
            ET.SubElement(case, "skipped", message=_legal(check.message))
        elif check.outcome == "failed":
            ET.SubElement(case, "failure", message=_legal(check.message))
        elif check.outcome == "undecided":
            ET.SubElement(case, "error", message=_legal(check.message))
        cases.append(case)
    return cases


def _verdict(record: GateRecord) -> ET.Element:
    case = ET.Element("testcase", classname="gatekeeper", name="verdict")
    reasons = _legal(" ".join(record.verdict.reasons))
    if record.verdict.decision == "reject":
        ET.SubElement(case, "failure", message=reasons)
    elif record.verdict.decision == "undecided":
        ET.SubElement(case, "error", message=reasons)
    return case


def _legal(text: str) -> str:
    # XML knows fewer signs than Unicode; terminals and CI logs obey some of those it knows.
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", inert(text))
