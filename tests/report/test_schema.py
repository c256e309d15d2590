"""The JSON Schema in docs/ is that of the records, and real records obey it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from full_record import HOSTILE, full_record
from jsonschema.validators import validator_for

from gatekeeper.records import jsonable
from gatekeeper.report import json_schema, read_record, render

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "reports/samples/record.json"


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((ROOT / "docs/record.schema.json").read_text())
    validator_for(schema).check_schema(schema)
    return schema


def test_it_names_every_key_of_a_record(shipped: dict[str, Any]) -> None:
    record = json.loads(render(full_record(), "json"))
    assert set(shipped["properties"]) == set(record)
    decisions = shipped["$defs"]["Verdict"]["properties"]["decision"]["enum"]
    assert decisions == ["pass", "hardened", "reject", "undecided"]


def test_the_sample_of_a_real_run_obeys(shipped: dict[str, Any]) -> None:
    sample = json.loads(SAMPLE.read_text(encoding="utf-8"))
    jsonschema.validate(sample, shipped)
    assert sample["verdict"]["decision"] == "hardened"


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_a_record_full_of_hostile_words_obeys_and_comes_back(
    shipped: dict[str, Any], words: str
) -> None:
    drawn = render(full_record(words), "json")
    jsonschema.validate(json.loads(drawn), shipped)
    assert render(read_record(drawn, "again"), "json") == drawn
    assert all(sign.isprintable() or sign == "\n" for sign in drawn)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict", "decision"), "fine"),
        (("seed",), "zero"),
        (("candidate", "bytes"), None),
        (("checks",), {}),
        (("norms", 0, "before"), ["large"]),
    ],
)
def test_a_damaged_record_does_not_obey(
    shipped: dict[str, Any], path: tuple[Any, ...], value: object
) -> None:
    record = json.loads(render(full_record(), "json"))
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, shipped)


def test_the_sample_names_no_path_of_a_machine() -> None:
    for file in (SAMPLE, SAMPLE.with_name("report.html")):
        text = file.read_text(encoding="utf-8")
        for part in ('": "/', "/tmp/", "/home/", str(Path.home()), str(ROOT)):
            assert part not in text


def test_json_has_no_nan_and_no_lone_surrogate() -> None:
    odd = {"caf\udce9": [float("nan"), float("inf"), 1.5, ("a", "\ud800")], "n": None, "b": True}
    assert jsonable(odd) == {"caf\ufffd": [None, None, 1.5, ["a", "\ufffd"]], "n": None, "b": True}


def test_the_schema_is_drawn_the_same_every_time() -> None:
    assert json_schema() == json_schema()
