"""Every format is a pure function of the record, and nothing hostile gets through any of them."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from gatekeeper.errors import UsageError
from gatekeeper.records import Finding, GateRecord, Skipped
from gatekeeper.report import FORMATS, compare, json_schema, read_record, render

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "reports/samples/record.json"
SCHEMA = ROOT / "docs/record.schema.json"
HOSTILE = (
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b[0m",
    "::error::done\n::set-output name=x::1",
    "line\r\nbreak",
    "\u202egnp.exe",
    "| a | ![x](http://evil) | `b` {{ 7*7 }}",
    "n" * 255,
    "\udcff\udcfe",
    "]]>&amp;\x00\x0b",
)


@pytest.fixture(scope="module")
def sample() -> GateRecord:
    return read_record(SAMPLE.read_text(encoding="utf-8"), "sample")


def poisoned(record: GateRecord, text: str) -> GateRecord:
    """Put `text` wherever a candidate, its file or its card could put words."""
    finding = Finding(
        rule_id="code-execution", screen="static", severity="critical", message=text,
        layer=text, member=text, offset=3,
    )  # fmt: skip
    return replace(
        record,
        candidate=replace(record.candidate, path=text, architecture=text),
        findings=(finding, *record.findings),
        verdict=replace(record.verdict, reasons=(text,)),
        skipped=(Skipped(step="read", reason=text),),
        norms=tuple(replace(layer, layer=text) for layer in record.norms),
        triggers=tuple(replace(t, target_class=text, picture=text) for t in record.triggers),
        data=replace(record.data, path=text) if record.data else None,
    )


def test_the_schema_that_is_shipped_is_that_of_the_records(pytestconfig: pytest.Config) -> None:
    drawn = json.dumps(json_schema(), indent=2) + "\n"
    if pytestconfig.getoption("--update-golden"):
        SCHEMA.write_text(drawn, encoding="utf-8")
    assert SCHEMA.read_text(encoding="utf-8") == drawn


def test_the_sample_fits_the_schema_and_a_damaged_one_does_not() -> None:
    plain = json.loads(SAMPLE.read_text(encoding="utf-8"))
    jsonschema.validate(plain, json_schema())
    del plain["verdict"]["decision"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain, json_schema())


def test_the_sample_report_is_what_would_be_drawn_now(
    sample: GateRecord, pytestconfig: pytest.Config
) -> None:
    page = SAMPLE.with_name("report.html")
    if pytestconfig.getoption("--update-golden"):
        page.write_text(render(sample, "html"), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == render(sample, "html")


@pytest.mark.parametrize("form", FORMATS)
def test_a_record_read_back_draws_the_same(sample: GateRecord, form: str) -> None:
    again = read_record(render(sample, "json"), "again")
    assert again == sample
    assert render(again, form) == render(sample, form)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_comes_through(sample: GateRecord, form: str, text: str) -> None:
    drawn = render(poisoned(sample, text), form)
    drawn.encode("utf-8")  # can be written
    assert "<script>alert" not in drawn or form in ("json", "sarif", "text")
    if form != "json":
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", drawn)
        assert not re.search("^::", drawn, re.MULTILINE)


def test_a_record_keeps_even_hostile_words(sample: GateRecord) -> None:
    for text in HOSTILE:
        kept = read_record(render(poisoned(sample, text), "json"), "x")
        told = text.encode("utf-8", "replace").decode().replace("?", "\N{REPLACEMENT CHARACTER}")
        assert kept.verdict.reasons in ((text,), (told,))


@pytest.mark.parametrize("text", HOSTILE)
def test_junit_stays_well_formed(sample: GateRecord, text: str) -> None:
    record = poisoned(sample, text)
    suite = ET.fromstring(render(record, "junit")).find("testsuite")
    assert suite is not None
    assert int(suite.get("tests", "")) == len(suite.findall("testcase")) == len(record.checks) + 1


def test_junit_tells_failures_from_errors(sample: GateRecord) -> None:
    failed = replace(sample, verdict=replace(sample.verdict, decision="reject"))
    suite = ET.fromstring(render(failed, "junit")).find("testsuite")
    assert suite is not None
    assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure")) > 0
    hardened = ET.fromstring(render(sample, "junit")).find("testsuite")
    assert hardened is not None
    assert hardened.get("failures") == "0"  # what is deployed meets the policy


class Tags(HTMLParser):
    """Collects what a browser would see as tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.mark.parametrize("text", ["<img src=http://e/x onerror=a()>", "\"'><script>a()</script>"])
def test_the_page_loads_nothing_and_runs_nothing(sample: GateRecord, text: str) -> None:
    page = render(poisoned(sample, text), "html")
    seen = Tags()
    seen.feed(page)
    assert not seen.tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    loads = [value for name, value in seen.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith("data:image/png;base64,") or value == "" for value in loads)
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_the_page_says_what_a_reviewer_needs(sample: GateRecord) -> None:
    page = html.unescape(render(sample, "html"))
    parts = (
        "HARDENED", "What the policy asks", "Weight norms", "Recall of each class",
        "Triggers that the gate recovered", "data:image/png;base64,", "Purification",
        "Provenance", sample.candidate.sha256, "What this cannot show",
    )  # fmt: skip
    for part in parts:
        assert part in page
    assert page.index("HARDENED") < page.index("What the policy asks") < page.index("Provenance")


@pytest.mark.parametrize("form", FORMATS)
def test_a_record_of_almost_nothing_is_drawn(sample: GateRecord, form: str) -> None:
    bare = replace(
        sample, data=None, findings=(), screens={}, norms=(), triggers=(), purification=None,
        verification=None, checks=(), waivers=(), skipped=(),
        outputs=replace(sample.outputs, onnx=None),
        verdict=replace(sample.verdict, decision="undecided", reasons=("nothing was read",)),
    )  # fmt: skip
    assert "nothing was read" in render(bare, form) or form == "sarif"


def test_two_records_are_compared_in_words(sample: GateRecord) -> None:
    other = replace(sample, verdict=replace(sample.verdict, decision="reject"))
    assert "reject" in compare(other, sample).lower()
    assert "hardened" in compare(other, sample).lower()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": "2"}', "[" * 100_000])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_record(text, "x.json")
