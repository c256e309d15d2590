"""The verdict fails closed: nothing that was not shown to hold ever ends in PASS or HARDENED."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from full_record import full_record
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.assessments import Assessment, CalibrationRecord, Rate, Standing
from gatekeeper.policy import Bound, Policy, Waiver
from gatekeeper.records import Decision, Finding, Measure, Skipped, Verdict, Verification
from gatekeeper.verdict import ALWAYS_FORBIDDEN, Judgement, exit_code, judge

DIGEST, OTHER = "a" * 64, "b" * 64
TODAY = date(2026, 6, 1)
POLICY = Policy(
    name="ours",
    require={
        "clean_accuracy": Bound(at_least=0.8),
        "recovered_trigger_success": Bound(at_most=0.1),
    },
    path="ours.yaml",
    sha256="0" * 64,
)


def measure(name: str, value: float | None, *, spread: float = 0.02, n: int = 600) -> Measure:
    if value is None:
        return Measure(name=name, value=None, note="no image of it")
    return Measure(name=name, value=value, low=value - spread, high=value + spread, n=n)


def measures(accuracy: float | None, success: float | None) -> dict[str, Measure]:
    return {
        "clean_accuracy": measure("clean_accuracy", accuracy),
        "recovered_trigger_success": measure("recovered_trigger_success", success),
    }


def assessment() -> Assessment:
    """What the screens said of a network that looks clean."""
    rate = Rate(value=0.0, low=0.0, high=0.1, n=30)
    known = CalibrationRecord(
        name="test", sha256=OTHER, threshold=3.0, clean=(0.5, 1.0), backdoored=(5.0,),
        false_alarms=rate, detection=rate,
    )  # fmt: skip
    return Assessment(
        outcome="clean-looking", score=0.7, suspected_class=None, suspected_source=None, kind=None,
        agreeing=(), evidence=(), why_inconclusive=(), calibration=known,
    )  # fmt: skip


GOOD, BAD = measures(0.95, 0.0), measures(0.95, 0.9)
OPEN = measures(0.81, 0.0)  # the interval reaches below 0.8
UNKNOWN = measures(0.95, None)
MISSING = {"clean_accuracy": GOOD["clean_accuracy"]}


def judged(
    before: dict[str, Measure] | None,
    after: dict[str, Measure] | None = None,
    **more: Any,
) -> Judgement:
    given = {
        "artifact_sha256": DIGEST,
        "findings": (),
        "verification": None if before is None else Verification(before=before, after=after),
        "samples": 600,
        "class_counts": {"cat": 300, "dog": 300},
        "skipped": (),
        "today": TODAY,
        **more,
    }
    return judge(given.pop("policy", POLICY), **given)


@pytest.mark.parametrize(
    ("before", "after", "decision", "deploy"),
    [
        (GOOD, None, "pass", "candidate"),
        (GOOD, GOOD, "pass", "purified"),
        (GOOD, BAD, "pass", "candidate"),
        (GOOD, OPEN, "pass", "candidate"),
        (BAD, GOOD, "hardened", "purified"),
        (OPEN, GOOD, "hardened", "purified"),
        (MISSING, GOOD, "hardened", "purified"),
        (BAD, None, "reject", None),
        (BAD, BAD, "reject", None),
        (OPEN, BAD, "reject", None),
        (OPEN, None, "undecided", None),
        (BAD, OPEN, "undecided", None),
        (UNKNOWN, None, "undecided", None),
        (MISSING, None, "undecided", None),
        ({}, {}, "undecided", None),
        (None, None, "undecided", None),
    ],
)
def test_the_table_of_decisions(
    before: dict[str, Measure] | None,
    after: dict[str, Measure] | None,
    decision: Decision,
    deploy: str | None,
) -> None:
    result = judged(before, after)
    assert result.verdict.decision == decision
    assert result.deploy == deploy
    assert result.verdict.reasons


@pytest.mark.parametrize(
    ("candidate", "purified", "score", "decision"),
    [
        ("suspicious", "clean-looking", 0.7, "hardened"),
        ("suspicious", "suspicious", 5.0, "reject"),
        ("suspicious", "inconclusive", 0.7, "undecided"),
        ("suspicious", None, None, "undecided"),
        ("inconclusive", "clean-looking", 0.7, "hardened"),
        ("inconclusive", "suspicious", 5.0, "reject"),
        ("inconclusive", "inconclusive", 0.7, "hardened"),
        ("inconclusive", "inconclusive", None, "undecided"),
        ("inconclusive", None, None, "undecided"),
    ],
)
def test_what_the_screens_say_of_the_purified_network_counts(
    candidate: Standing, purified: Standing | None, score: float | None, decision: Decision
) -> None:
    found = replace(assessment(), outcome=candidate)
    again = None if purified is None else replace(assessment(), outcome=purified, score=score)
    seen = Verification(before=GOOD, after=GOOD, screened=again)
    result = judged(None, assessment=found, verification=seen)
    assert result.verdict.decision == decision
    assert result.deploy == ("purified" if decision == "hardened" else None)
    if decision != "hardened":
        told = "the purified network was not screened"
        told = told if purified is None else f"the screens find the purified network {purified}"
        assert result.verdict.reasons[1].startswith(told)
    if candidate == "suspicious" and decision != "hardened":
        itself = "The candidate itself does not meet policy 'ours':"
        assert result.verdict.reasons[2] == itself
        assert result.verdict.reasons[3].startswith("the screens find the candidate suspicious")


@pytest.mark.parametrize(
    ("doubts", "decision"), [(("few",), "hardened"), (("few", "class 3"), "undecided")]
)
def test_a_doubt_that_only_the_purified_network_raises_counts(
    doubts: tuple[str, ...], decision: Decision
) -> None:
    known = replace(assessment(), outcome="inconclusive", why_inconclusive=("few", "dark"))
    again = replace(assessment(), outcome="inconclusive", why_inconclusive=doubts, score=0.7)
    seen = Verification(before=GOOD, after=GOOD, screened=again)
    assert judged(None, assessment=known, verification=seen).verdict.decision == decision


def test_a_waiver_of_the_candidate_does_not_cover_what_was_made_of_it() -> None:
    found = replace(assessment(), outcome="suspicious")
    seen = Verification(before=GOOD, after=GOOD, screened=found)
    policy = waiver(TODAY, rule="backdoor-suspected")
    result = judged(None, policy=policy, assessment=found, verification=seen)
    assert (result.verdict.decision, result.deploy) == ("pass", "candidate")


def test_what_was_not_measured_is_told_after_what_was() -> None:
    policy = POLICY.model_copy(
        update={"require": {"onnx_top1_agreement": Bound(at_least=1.0), **POLICY.require}}
    )
    reasons = judged(measures(0.81, None), policy=policy).verdict.reasons[1:]
    assert [reason.split()[0] for reason in reasons] == [
        "clean_accuracy",
        "recovered_trigger_success",
        "onnx_top1_agreement",
    ]


def test_what_failed_is_told_before_what_is_open() -> None:
    result = judged(measures(0.81, 0.9))
    assert "recovered_trigger_success of the candidate: 90 %" in result.verdict.reasons[1]
    assert "clean_accuracy of the candidate: 81 %" in result.verdict.reasons[2]
    assert "wanted at least 80 %" in result.verdict.reasons[2]


def test_an_open_line_says_how_many_images_would_decide_it() -> None:
    (check, _) = judged(OPEN).checks
    assert check.outcome == "undecided"
    assert "about 2,400 held-out images would decide it" in check.message
    (check, _) = judged(measures(0.8, 0.0)).checks
    assert "no number of images would decide it" in check.message


def test_a_value_without_an_interval_is_open_where_one_is_due() -> None:
    bare = {**GOOD, "clean_accuracy": Measure(name="clean_accuracy", value=0.99, n=600)}
    assert judged(bare).verdict.decision == "undecided"


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_is_no_number_is_open(odd: float) -> None:
    assert judged({**GOOD, "clean_accuracy": measure("clean_accuracy", odd)}).deploy is None


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("onnx_top1_agreement", Bound(at_least=1.0)),
        ("worst_class_recall_drop", Bound(at_most=0.1)),
        ("smallest_trigger_area", Bound(at_least=0.015)),
    ],
)
def test_extremes_and_equivalence_compare_what_was_observed(name: str, bound: Bound) -> None:
    policy = POLICY.model_copy(update={"require": {name: bound}})
    value = bound.at_least if bound.at_least is not None else bound.at_most
    at_the_bound = {name: Measure(name=name, value=value, low=0.0, high=1.0, n=600)}
    assert judged(at_the_bound, policy=policy).verdict.decision == "pass"


def finding(rule: str, **more: Any) -> Finding:
    return Finding(rule_id=rule, screen="test", severity="high", message="it is there", **more)


@pytest.mark.parametrize("rule", sorted({*ALWAYS_FORBIDDEN, *POLICY.forbid}))
def test_a_forbidden_finding_rejects_whatever_else_holds(rule: str) -> None:
    result = judged(GOOD, GOOD, findings=[finding(rule)])
    assert result.verdict.decision == "reject"
    assert result.verdict.reasons == (f"{rule}: it is there",)
    assert result.deploy is None


def test_other_findings_flag_and_do_not_decide() -> None:
    result = judged(GOOD, findings=[finding("norm-outlier"), finding("small-trigger")])
    assert result.verdict.decision == "pass"
    assert len(result.findings) == 2


def test_a_finding_outranks_an_error_and_hides_none() -> None:
    result = judged(None, findings=[finding("code-execution")], errors=["the disk was full"])
    assert result.verdict.decision == "reject"
    assert result.verdict.reasons == ("code-execution: it is there", "the disk was full")


def test_an_error_outranks_a_skip_and_keeps_from_passing() -> None:
    skipped = [Skipped(step="verify", reason="Export: not tried.")]
    result = judged(GOOD, GOOD, errors=["The export failed."], skipped=skipped)
    assert result.verdict.decision == "undecided"
    assert result.verdict.reasons[0] == "The export failed."
    assert result.deploy is None
    assert judged(None, errors=["Broken."], skipped=skipped).verdict.reasons == ("Broken.",)


def test_an_error_does_not_hide_what_failed_before_it() -> None:
    reasons = judged(BAD, errors=["Purification: out of memory."]).verdict.reasons
    assert reasons[0] == "Purification: out of memory."
    assert any("recovered_trigger_success" in reason for reason in reasons)


def test_where_nothing_was_verified_the_skips_say_why() -> None:
    result = judged(None, skipped=[Skipped(step="screen", reason="No clean images.")])
    assert result.verdict.decision == "undecided"
    assert "No clean images." in result.verdict.reasons


def waiver(expires: date, *, rule: str = "norm-outlier", artifact: str = DIGEST) -> Policy:
    signed = Waiver(
        rule=rule, artifact=f"sha256:{artifact}", reason="known", owner="team", expires=expires
    )
    return POLICY.model_copy(update={"waivers": (signed,), "forbid": ("norm-outlier",)})


def test_a_waiver_holds_to_its_last_day() -> None:
    found = [finding("norm-outlier")]
    result = judged(GOOD, findings=found, policy=waiver(TODAY))
    assert result.verdict.decision == "pass"
    assert result.findings[0].waived
    assert [entry.state for entry in result.waivers] == ["applied"]


def test_an_interval_without_end_says_so() -> None:
    wide = replace(GOOD["clean_accuracy"], value=1.0, low=-2.7e153, high=None)
    told = judged({**GOOD, "clean_accuracy": wide})
    assert told.verdict.decision == "undecided"
    assert any("too wide to say" in check.message for check in told.checks)


@pytest.mark.parametrize("outcome", ["suspicious", "inconclusive", "clean-looking"])
def test_a_waiver_answers_for_what_the_screens_say_together(outcome: Standing) -> None:
    """An inconclusive score is no finding, and somebody may answer for it all the same."""
    found = [finding("backdoor-suspected")] if outcome == "suspicious" else []
    told = replace(assessment(), outcome=outcome, why_inconclusive=("it was dark",))
    policy = waiver(TODAY, rule="backdoor-suspected")
    waived = judged(GOOD, policy=policy, findings=found, assessment=told)
    assert waived.verdict.decision == "pass"
    assert waived.waivers[0].state == ("unused" if outcome == "clean-looking" else "applied")
    bare = judged(GOOD, findings=found, assessment=told).verdict.decision
    expected = {"suspicious": "reject", "inconclusive": "undecided", "clean-looking": "pass"}
    assert bare == expected[outcome]
    late = judged(
        GOOD, policy=policy, findings=found, assessment=told, today=TODAY + timedelta(days=1)
    )
    assert late.verdict.decision == expected[outcome]
    assert any("expired" in why for why in late.verdict.reasons) == (outcome != "clean-looking")


def test_an_expired_waiver_brings_its_finding_back_and_says_so() -> None:
    found = [finding("norm-outlier")]
    result = judged(GOOD, findings=found, policy=waiver(date(2026, 5, 31)))
    assert result.verdict.decision == "reject"
    assert not result.findings[0].waived
    assert "The waiver for norm-outlier (team) expired on 2026-05-31." in result.verdict.reasons
    assert [entry.state for entry in result.waivers] == ["expired"]


def test_an_expired_waiver_is_told_even_where_its_finding_does_not_decide() -> None:
    policy = waiver(date(2026, 5, 31)).model_copy(update={"forbid": ()})
    result = judged(GOOD, findings=[finding("norm-outlier")], policy=policy)
    assert result.verdict.decision == "pass"
    assert any("expired" in reason for reason in result.verdict.reasons)


def test_a_waiver_of_another_artifact_or_rule_does_nothing() -> None:
    found = [finding("norm-outlier")]
    for policy in (waiver(TODAY, artifact=OTHER), waiver(TODAY, rule="small-trigger")):
        result = judged(GOOD, findings=found, policy=policy)
        assert result.verdict.decision == "reject"
        assert [entry.state for entry in result.waivers] == ["unused"]
    stale = judged(GOOD, policy=waiver(date(2020, 1, 1), artifact=OTHER))
    assert not any("expired" in reason for reason in stale.verdict.reasons)


def test_a_waived_code_execution_still_never_passes() -> None:
    policy = waiver(TODAY, rule="code-execution")
    result = judged(None, findings=[finding("code-execution")], policy=policy)
    assert result.verdict.decision == "undecided"


def test_too_few_samples_decide_nothing_but_a_failure() -> None:
    few = judged(GOOD, samples=499)
    assert few.verdict.decision == "undecided"
    assert "499 held-out images, at least 500 needed" in few.checks[0].message
    assert judged(BAD, samples=499).verdict.decision == "reject"
    assert judged(GOOD, samples=500).verdict.decision == "pass"


def test_classes_with_too_few_images_are_named() -> None:
    counts = {"cat": 590, "dog": 10, "emu": 0}
    reasons = judged(GOOD, class_counts=counts).verdict.reasons
    assert "Not compared, fewer than 20 held-out images: dog, emu." in reasons
    many = {f"class {k}": 0 for k in range(30)}
    assert judged(GOOD, class_counts=many).verdict.reasons[-1].endswith("and 20 more.")


def test_what_may_be_forgotten_is_told_of_a_purified_network_alone() -> None:
    counts = {"cat": 590, "dog": 10}
    told = [
        judged(*given, class_counts=counts).verdict.reasons[-1] for given in ((GOOD,), (BAD, GOOD))
    ]
    assert ["forgotten" in reason for reason in told] == [False, True]


@pytest.mark.parametrize(
    ("decision", "accept", "code"),
    [
        ("pass", True, 0), ("pass", False, 0), ("hardened", True, 0), ("hardened", False, 1),
        ("reject", True, 1), ("undecided", True, 3),
    ],
)  # fmt: skip
def test_exit_codes(decision: Decision, accept: bool, code: int) -> None:
    record = full_record()
    policy = replace(record.policy, accept_hardened=accept)
    verdict = Verdict(decision=decision, reasons=())
    assert exit_code(replace(record, policy=policy, verdict=verdict)) == code


values = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 1))
drawn_measures = st.builds(
    Measure, name=st.just("m"), value=values, low=values, high=values, n=st.integers(0, 10_000)
)
sides = st.dictionaries(st.sampled_from([*POLICY.require]), drawn_measures)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(
    before=st.one_of(st.just(GOOD), sides),
    after=st.one_of(st.none(), st.just(GOOD), sides),
    samples=st.sampled_from([0, 499, 500, 100_000]),
    errors=st.lists(st.just("broken"), max_size=1),
    rules=st.lists(st.sampled_from(["norm-outlier", "code-execution", "hidden-pickle"])),
)
def test_no_network_is_named_for_deployment_unless_all_its_checks_passed(
    before: dict[str, Measure],
    after: dict[str, Measure] | None,
    samples: int,
    errors: list[str],
    rules: list[str],
) -> None:
    found = [finding(rule) for rule in rules]
    result = judged(before, after, samples=samples, errors=errors, findings=found)
    accepted = result.verdict.decision in ("pass", "hardened")
    assert accepted == (result.deploy is not None)
    if not accepted:
        return
    held = [check for check in result.checks if check.subject == result.deploy]
    assert {check.metric for check in held} == set(POLICY.require)
    assert all(check.outcome == "passed" for check in held)
    assert samples >= POLICY.min_samples
    assert not errors
    assert not set(rules) & {"code-execution", "hidden-pickle"}
    for check in held:
        assert check.observed is not None
        assert check.observed.value is not None
        assert POLICY.require[check.metric].met_by(check.observed.value)


def test_a_candidate_as_good_as_before_is_not_called_hardened() -> None:
    worse = replace(GOOD["clean_accuracy"], value=0.5, low=0.4, high=0.6)
    assert judged(GOOD, {**GOOD, "clean_accuracy": worse}).deploy == "candidate"


@pytest.mark.parametrize(
    ("samples", "low", "decision"),
    [(50, -0.03, "undecided"), (50, 0.03, "reject"), (500, -0.03, "reject")],
)
def test_a_few_images_fail_a_line_only_where_no_more_of_them_could_mend_it(
    samples: int, low: float, decision: str
) -> None:
    policy = Policy(
        name="few", require={"clean_accuracy_drop": Bound(at_most=0.02)}, min_samples=500,
        path="", sha256="",
    )  # fmt: skip
    drop = Measure(name="clean_accuracy_drop", value=0.04, low=low, high=0.1, n=samples)
    told = judge(
        policy, artifact_sha256="", findings=(), samples=samples, class_counts={}, skipped=(),
        verification=Verification(before={"clean_accuracy_drop": drop}), today=date(2026, 1, 1),
    )  # fmt: skip
    assert told.verdict.decision == decision
