"""The scorecard that is published is that of the cases that stand in the code."""

from __future__ import annotations

import json
import re
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from environment import RESULTS
from evasion import every_case


def test_no_case_is_missing_from_the_results_and_none_is_stale() -> None:
    result = json.loads((RESULTS / "evasion.json").read_text(encoding="utf-8"))
    tried = [(row["row"], row["what"], row["expected"]) for row in result["rows"]]
    cases = [(case.row, case.what, case.expect) for case in every_case()]
    assert tried == cases, "run `python benchmarks/evasion.py`"


def test_every_row_of_the_inputs_has_a_case() -> None:
    assert {case.row for case in every_case()} == set(range(1, 21))


def test_a_case_that_is_not_run_names_tests_that_are_there_or_says_why_not() -> None:
    for case in every_case():
        if case.lay is None:
            named = re.findall(r"`(tests/[\w/]+\.py)`", case.elsewhere)
            assert named or case.excuse, case.what
            assert all((ROOT / name).is_file() for name in named), case.what
