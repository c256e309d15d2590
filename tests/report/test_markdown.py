"""The summary of a pull request: hostile words make no markup, no mention, no command."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from full_record import HOSTILE, full_record

from gatekeeper.records import Finding
from gatekeeper.report import render

# Signs that Markdown or GitHub obeys, where no backslash stands before them.
LIVE = re.compile(r"(?<!\\)[`*_\[\]#|~@!]")


def own_lines() -> list[str]:
    return render(full_record(), "markdown").splitlines()


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_make_no_markup(words: str) -> None:
    drawn = render(full_record(words), "markdown")
    assert all(sign.isprintable() or sign == "\n" for sign in drawn)
    assert not re.search(r"<(?!br>)", drawn)
    assert "::" not in drawn
    lines = drawn.splitlines()
    assert len(lines) == len(own_lines())
    for line, own in zip(lines, own_lines(), strict=True):
        assert LIVE.findall(line) == LIVE.findall(own)


def test_every_row_of_a_table_has_the_same_columns() -> None:
    for words in HOSTILE.values():
        rows = [x for x in render(full_record(words), "markdown").splitlines() if x[:1] == "|"]
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
        assert widths == {4, 6}  # findings, checks


def test_the_verdict_is_the_heading() -> None:
    lines = own_lines()
    assert lines[0] == "# Gatekeeper: HARDENED"
    assert "**Deploy hardened.onnx of this run, never the file that came in.**" in lines[2]
    assert any("at least 80 %" in line for line in lines)
    assert "- plain words" in lines
    assert any("small-trigger (waived)" in line for line in lines)


def test_it_stays_within_what_github_shows() -> None:
    found = tuple(
        Finding(rule_id="norm-outlier", screen="x", severity="low", message="w" * 1000)
        for _ in range(5000)
    )
    drawn = render(replace(full_record(), findings=found), "markdown")
    assert len(drawn.encode()) < 2**20
    assert "4950 more in the report." in drawn
