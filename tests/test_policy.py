"""A policy line can be read aloud; a typo is refused with file and line."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.errors import PolicyError
from gatekeeper.policy import Bound, Policy, read_policy, shipped
from gatekeeper.rules import METRICS, RULES

GOOD = """\
name: ours
require:
  clean_accuracy: { at_least: 0.8 }
"""
DIGEST = "0" * 64
WAIVER = f"""\
waivers:
  - rule: norm-outlier
    artifact: sha256:{DIGEST}
    reason: known since the audit of May
    owner: vision team
    expires: 2027-01-01
"""


def policy(folder: Path, text: str | bytes) -> Path:
    path = folder / "policy.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(PolicyError) as refused:
        read_policy(str(path))
    assert refused.value.exit_code == 2
    return str(refused.value)


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_policy_reads_and_says_for_whom_it_is(name: str) -> None:
    read = read_policy(name)
    assert read.name == name
    assert set(read.require) <= set(METRICS)
    assert set(read.forbid) <= set(RULES)
    assert {"code-execution", "non-finite-weights"} <= set(read.forbid)
    assert Path(read.path).read_text(encoding="utf-8").startswith("# For ")


def test_strict_asks_for_no_less_than_default() -> None:
    default, strict = read_policy("default"), read_policy("strict")
    for name, bound in default.require.items():
        if bound.at_least is not None:
            assert (strict.require[name].at_least or 0) >= bound.at_least
        if bound.at_most is not None:
            assert (strict.require[name].at_most or 0) <= bound.at_most
    assert strict.min_samples >= default.min_samples
    assert not strict.accept_hardened


def test_what_is_left_out_has_a_safe_default(tmp_path: Path) -> None:
    read = read_policy(str(policy(tmp_path, GOOD)))
    assert read.forbid == ("code-execution", "non-finite-weights")
    assert (read.min_samples, read.min_samples_per_class) == (500, 20)
    assert (read.purify.when, read.purify.method) == ("always", "auto")
    assert len(read.sha256) == 64


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (GOOD + "acept_hardened: true\n", 4, "unknown key"),
        (GOOD.replace("at_least", "atleast"), 3, "unknown key"),
        (GOOD.replace("clean_accuracy", "clean_acuracy"), 2, "no metric 'clean_acuracy'"),
        (GOOD.replace("0.8", ".nan"), 3, "finite"),
        (GOOD.replace("0.8", ".inf"), 3, "finite"),
        (GOOD.replace("0.8", "80"), 3, "less than or equal to 1"),
        (GOOD.replace("0.8", "-0.1"), 3, "greater than or equal to 0"),
        (GOOD.replace("0.8", "yes"), 3, "number"),
        (GOOD.replace("0.8", "'0.8'"), 3, "number"),
        (GOOD.replace("at_least: 0.8", "at_least: 0.8, at_most: 0.9"), 3, "one of them"),
        (GOOD.replace("{ at_least: 0.8 }", "{}"), 3, "one of them"),
        (GOOD.replace("at_least", "at_most"), 2, "clean_accuracy wants at_least"),
        ("name: ours\nrequire: { clean_accuracy_drop: { at_least: 0 } }\n", 2, "wants at_most"),
        ("name: ours\nrequire: { smallest_trigger_area: { at_most: 0 } }\n", 2, "wants at_least"),
        ("name: ours\nrequire: {}\n", 2, "pass everything"),
        ("name: ours\n", 1, "require"),
        (GOOD + "screen: [nose]\n", 4, "no screen 'nose'"),
        (GOOD + "forbid:\n  - code-execution\n  - code-execusion\n", 4, "no rule"),
        (GOOD + "forbid: [check/clean_accuracy]\n", 4, "change its bound"),
        (GOOD + "forbid: [not-decided]\n", 4, "never passed"),
        (GOOD + "purify: { when: sometimes }\n", 4, "'always', 'flagged' or 'never'"),
        (GOOD + "min_samples: 0\n", 4, "greater than or equal to 1"),
        (GOOD + "min_samples: yes\n", 4, "integer"),
        (GOOD + "accept_hardened: 1\n", 4, "boolean"),
        (GOOD + "path: elsewhere\n", 4, "unknown key 'path'"),
        (GOOD + "sha256: abc\n", 4, "unknown key 'sha256'"),
        (GOOD + WAIVER.replace("    reason: known since the audit of May\n", ""), 5, "reason"),
        (GOOD + WAIVER.replace("known since the audit of May", "''"), 7, "at least 3"),
        (GOOD + WAIVER.replace("    owner: vision team\n", ""), 5, "owner"),
        (GOOD + WAIVER.replace("2027-01-01", "next year"), 9, "date"),
        (GOOD + WAIVER.replace(DIGEST, "abc"), 6, "pattern"),
        (GOOD + WAIVER.replace("norm-outlier", "norm-outlayer"), 5, "no rule"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(
    tmp_path: Path, text: str, line: int, told: str
) -> None:
    path = policy(tmp_path, text)
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: ")
    assert told in message


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """What a misspelt key leaves missing is no problem of its own."""
    text = GOOD.replace("name", "nam") + "min_samples: 0\npurify: { wehn: never }\n"
    path = policy(tmp_path, text)
    with pytest.raises(PolicyError) as caught:
        read_policy(str(path))
    told = str(caught.value)
    assert told == (
        f"{path}:1: nam: unknown key; line 4: min_samples: Input should be greater than or equal "
        "to 1; line 5: purify.wehn: unknown key"
    )


def test_of_many_problems_five_are_told(tmp_path: Path) -> None:
    text = GOOD + "".join(f"key{number}: 1\n" for number in range(8))
    with pytest.raises(PolicyError, match=r"line 8: key4: unknown key; and 3 more$"):
        read_policy(str(policy(tmp_path, text)))


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", 1, "mapping"),
        ("- a\n- b\n", 1, "mapping"),
        (GOOD + "name: twice\n", 4, "the key 'name' stands twice"),
        (GOOD + "extra: !!python/object/apply:os.system ['true']\n", 4, "tag"),
        (GOOD + "extra: !include other.yaml\n", 4, "tag"),
        (GOOD + "a: &a [x]\nb: [*a, *a]\n", 4, "aliases"),
        (GOOD + "a: &a [*b, *b]\n", 4, "aliases"),
        (GOOD + "deep: " + "[" * 40 + "]" * 40 + "\n", 4, "nested deeper"),
        (GOOD + "sixty: 1" + ":1" * 200 + ".5\n", 1, "OverflowError"),
        (GOOD + "sixty: 1" + ":1" * 5000 + "\n", 4, "longer than 10000 signs"),
        (GOOD + "many: [" + "0," * 50_000 + "]\n", 4, "more than 50000 values"),
        (GOOD + "open: [1, 2\n", 5, "well-formed"),
        (GOOD + "\tname: tab\n", 4, "well-formed"),
        (GOOD + "bell: \x07\n", 4, "U+0007"),
        (GOOD.encode() + b"name: \xff\n", 4, "UTF-8"),
        (b"\xff\xfen\x00a\x00", 1, "UTF-8"),
        ("#" * 1_000_001, 1, "larger"),
    ],
)
def test_yaml_that_plays_tricks_is_refused(
    tmp_path: Path, text: str | bytes, line: int, told: str
) -> None:
    path = policy(tmp_path, text)
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: ")
    assert told in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "no file" in refusal(tmp_path / "nowhere.yaml")
    assert "no file" in refusal(tmp_path / ("long" * 200))
    assert "not a regular file" in refusal(tmp_path)
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "gone")
    assert "No such file" in refusal(tmp_path / "dangling.yaml")


def test_a_pipe_does_not_hold_the_gate(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert stat.S_ISFIFO((tmp_path / "pipe.yaml").stat().st_mode)
    assert "not a regular file" in refusal(tmp_path / "pipe.yaml")


def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    # The kernel refuses to read this one even to the superuser.
    locked = Path("/proc/self/mem")
    if not locked.exists():
        pytest.skip("needs /proc")
    assert str(locked) in refusal(locked)


shares = st.floats(0, 1)


@settings(derandomize=True, deadline=None)
@given(bound=shares, better=shares, worse=shares)
def test_a_bound_holds_on_one_side_only(bound: float, better: float, worse: float) -> None:
    at_least, at_most = Bound(at_least=bound), Bound(at_most=bound)
    assert at_least.met_by(bound)
    assert at_most.met_by(bound)
    assert at_least.met_by(max(bound, better))
    assert at_most.met_by(min(bound, better))
    assert at_least.met_by(worse) or at_most.met_by(worse)
    assert not at_least.met_by(float("nan"))
    assert not at_most.met_by(float("nan"))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(value=st.one_of(st.floats(), st.integers(), st.booleans(), st.text(max_size=8)))
def test_no_bound_outside_of_zero_and_one_is_accepted(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    import yaml

    folder = tmp_path_factory.mktemp("bound")
    shown = yaml.safe_dump(value, default_flow_style=True).split("\n...")[0].strip()
    path = policy(folder, GOOD.replace("0.8", shown))
    try:
        bound = read_policy(str(path)).require["clean_accuracy"].at_least
    except PolicyError:
        return
    assert bound is not None
    assert 0 <= bound <= 1
    assert not isinstance(value, (bool, str))


yaml_like = st.text(
    st.sampled_from(list(" \n\t:-[]{}'\"&*!|>%@#?,.~=<0123456789eExnamerequi_\x00\x85\u2028é")),
    max_size=80,
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(text=st.one_of(yaml_like, st.text(max_size=60), st.binary(max_size=60)))
def test_arbitrary_bytes_give_a_policy_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    path = policy(tmp_path_factory.getbasetemp(), content + b"\n" + GOOD.encode())
    with suppress(PolicyError):
        assert isinstance(read_policy(str(path)), Policy)
        return
    assert refusal(path).startswith(f"{path}:")
    path.write_bytes(content)
    assert refusal(path)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(name=st.text(max_size=300))
def test_an_arbitrary_name_is_a_policy_or_refused(name: str) -> None:
    try:
        read_policy(name)
    except PolicyError:
        return
    assert name in shipped()


def test_a_policy_that_would_pass_a_backdoor_says_so(tmp_path: Path) -> None:
    (tmp_path / "weak.yaml").write_text(
        "name: weak\nscreen: [neuron-norm]\nrequire: {onnx_top1_agreement: {at_least: 1.0}}\n"
    )
    gaps = " ".join(read_policy(str(tmp_path / "weak.yaml")).gaps)
    assert "a backdoored network would pass" in gaps
    assert "a network that knows nothing would pass" in gaps
    assert [read_policy(name).gaps for name in shipped()] == [[] for _ in shipped()]
