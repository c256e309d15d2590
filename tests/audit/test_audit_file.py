"""`audit.json` comes back as it was written, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from audit_samples import HOSTILE, audit, row, small

from gatekeeper.audit.summary_file import read_audit, write_audit
from gatekeeper.errors import GatekeeperError


def test_an_audit_comes_back() -> None:
    assert read_audit(write_audit(small()), "audit.json") == small()


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_are_kept_and_leave_no_sign_that_steers(words: str) -> None:
    told = write_audit(audit([row(model=words, reason=words, version=words)]))
    assert all(" " <= sign <= "~" or sign == "\n" for sign in told)
    again = read_audit(told, "audit.json")
    assert write_audit(again) == told
    assert again.rows[0].model.encode("utf-8")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("number",), "3"),
        (("number",), True),
        (("number",), 3.5),
        (("tool",), None),
        (("exit_code",), None),
        (("counts", "passed"), "4"),
        (("counts",), []),
        (("trend",), {}),
        (("trend", 0, "finished_at"), 7),
        (("rows", 0, "decision"), "fine"),
        (("rows", 0, "change"), "other"),
        (("rows", 0, "accepted"), 1),
        (("rows", 0, "accepted"), "yes"),
        (("rows", 0, "bytes"), "12"),
        (("rows", 0, "model"), None),
        (("rows", 0, "before"), ""),
        (("rows",), None),
    ],
)
def test_a_wrong_type_is_refused_by_name(path: tuple[Any, ...], value: object) -> None:
    plain = json.loads(write_audit(small()))
    inner = plain
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    refused(json.dumps(plain), naming=".".join(map(str, path)))


@pytest.mark.parametrize("name", ["tool", "rows", "counts", "judged"])
def test_what_is_missing_is_refused_by_name(name: str) -> None:
    plain = json.loads(write_audit(small()))
    del plain[name]
    refused(json.dumps(plain), naming=name)


def test_each_field_of_a_row_is_needed() -> None:
    for name in json.loads(write_audit(small()))["rows"][0]:
        plain = json.loads(write_audit(small()))
        del plain["rows"][2][name]
        refused(json.dumps(plain), naming=f"rows.2.{name}")


@pytest.mark.parametrize("version", ["2", "", 1, None])
def test_another_schema_version_is_refused(version: object) -> None:
    plain = {**json.loads(write_audit(small())), "schema_version": version}
    refused(json.dumps(plain), naming="schema version 1")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", "[" * 100_000, "\ud800", '{"a": "\\ud800"}', "\x00"]
)
def test_what_is_no_audit_is_refused(text: str) -> None:
    refused(text, naming="here.json is not an audit")


def test_a_lone_surrogate_within_is_refused() -> None:
    refused(write_audit(small()).replace('"xray"', '"\\ud800"'), naming="not an audit")


def test_a_number_of_too_many_digits_is_refused() -> None:
    told = write_audit(replace(small(), number=987_654_321))
    refused(told.replace("987654321", "9" * 5000), naming="not an audit")


def refused(text: str, *, naming: str) -> None:
    with pytest.raises(GatekeeperError) as raised:
        read_audit(text, "here.json")
    message = str(raised.value)
    assert naming in message
    assert "here.json" in message
    assert "\n" not in message
    assert raised.value.hint
    assert raised.value.exit_code == 2
