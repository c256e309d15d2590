"""The picture of the attempts says of each what was measured, and why where nothing was."""

from __future__ import annotations

from typing import Any

import pytest

from gatekeeper.records import Attempt, Measure
from gatekeeper.report.attempts_chart import attempts_chart

DROP, AREA = "clean_accuracy_drop", "smallest_trigger_area"


def attempt(outcome: Any, *, final: bool = False, **measures: float | None) -> Attempt:
    return Attempt(
        method="ft-sam", settings={}, seconds=1.0, outcome=outcome, message="", history=(),
        measures={name: Measure(name=name, value=v, n=9) for name, v in measures.items()},
        final=final,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (attempt("accepted", **{DROP: 0.01, AREA: 0.02}), None),
        (attempt("refused", **{DROP: 0.1}), "not sought"),  # it forgot too much
        (attempt("refused", **{DROP: 0.0, AREA: None}), "not measured"),  # it means nothing there
        (attempt("accepted", final=True, **{AREA: 0.02}), "tuned on all images"),
        (attempt("diverged"), "stopped"),
    ],
)
def test_why_nothing_was_measured(of: Attempt, words: str | None) -> None:
    drawn = str(attempts_chart([attempt("accepted", **{DROP: 0.0, AREA: 0.03}), of], ()))
    known = {"not sought", "not measured", "tuned on all images", "stopped"}
    assert {word for word in known if word in drawn} == ({words} if words else set())


def test_a_last_attempt_that_forgot_has_neither() -> None:
    drawn = str(attempts_chart([attempt("accepted", **{DROP: 0.0, AREA: 0.03}),
                                attempt("refused", final=True)], ()))  # fmt: skip
    assert "tuned on all images" in drawn
    assert "not sought" in drawn
