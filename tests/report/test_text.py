"""What a terminal and a CI log are shown cannot steer them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from full_record import HOSTILE, full_record

from gatekeeper.foreign_text import inert, visible, well_formed
from gatekeeper.records import Finding, Skipped
from gatekeeper.report import compare, render


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_steer_nothing(words: str) -> None:
    record = full_record(words)
    other = replace(record, findings=(), verification=None, seed=1)
    for drawn in (render(record, "text"), compare(record, other)):
        assert all(sign.isprintable() or sign == "\n" for sign in drawn)
        assert "::" not in drawn
        assert "##[" not in drawn


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_add_no_line(words: str) -> None:
    plain = render(full_record(), "text").count("\n")
    assert render(full_record(words), "text").count("\n") == plain


def test_the_verdict_is_the_first_word_and_what_to_do_follows() -> None:
    lines = render(full_record(), "text").splitlines()
    assert lines[0].startswith("HARDENED: ")
    assert any(line.startswith("Next: Deploy hardened.onnx") for line in lines)
    assert "  plain words" in lines
    assert any("critical" in line for line in lines)
    assert "Findings: 2 (the weightiest first)" in lines  # the waived one is not counted


@pytest.mark.parametrize("form", ["text", "html", "sarif", "markdown"])
@pytest.mark.parametrize("member", ["", "archive/data.pkl"])
def test_a_finding_names_its_byte_with_and_without_a_member(form: str, member: str) -> None:
    finding = Finding(
        rule_id="code-execution", screen="inspect", severity="critical",
        message="the pickle imports os.system", member=member, offset=0,
    )  # fmt: skip
    drawn = render(replace(full_record(), findings=(finding,)), form)
    assert "byte 0" in drawn
    assert member in drawn


def test_what_does_not_fit_is_counted() -> None:
    verdict = replace(full_record().verdict, reasons=tuple(f"reason {k}" for k in range(12)))
    drawn = render(replace(full_record(), verdict=verdict), "text")
    assert "and 4 more in the report" in drawn
    headed = replace(verdict, reasons=(*verdict.reasons[:7], "The candidate itself:", "a", "b"))
    drawn = render(replace(full_record(), verdict=headed), "text")
    assert "The candidate itself:" not in drawn
    assert "and 3 more in the report" in drawn
    many = tuple(
        Finding(rule_id="norm-outlier", screen="x", severity="low", message=f"unit {k}")
        for k in range(9)
    )
    assert "Findings: 9" in render(replace(full_record(), findings=many), "text")


def test_what_was_skipped_is_never_dropped() -> None:
    skipped = tuple(Skipped(step="screen", reason=f"reason {k}.") for k in range(30))
    drawn = render(replace(full_record(), skipped=skipped), "text")
    assert all(f"reason {k}." in drawn for k in range(30))


def test_a_comparison_names_what_changed_and_nothing_else() -> None:
    record = full_record()
    assert compare(record, record) == "Nothing changed."
    other = replace(record, verdict=replace(record.verdict, decision="reject"), findings=())
    told = compare(record, other).splitlines()
    assert told[0] == "decision: hardened -> reject"
    assert len([line for line in told if line.startswith("gone: ")]) == 3


def test_foreign_text_is_made_harmless_and_readable() -> None:
    assert visible("naïve 猫 – ok") == "naïve 猫 – ok"
    assert inert("a::b:::c ##[group]") == "a: :b: : :c ## [group]"
    assert well_formed("caf\udce9").encode() == "caf\ufffd".encode()
    steering = "\x00\x1f\x7f\x9b\u202e\u2028"
    assert visible(steering) == "\ufffd" * len(steering)
