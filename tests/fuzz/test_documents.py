"""Cards and policies as text: read, or refused in one line with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gatekeeper.card import read_card
from gatekeeper.errors import CardError, PolicyError
from gatekeeper.policy import read_policy

Read = TypeVar("Read")
repeatable = settings(
    derandomize=True, deadline=None, max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
POLICY = """name: ours
screen: [neuron-norm]
purify: { when: flagged, method: ft-sam }
require:
  clean_accuracy: { at_least: 0.9 }
forbid: [code-execution]
waivers:
  - { rule: norm-outlier, artifact: x, reason: known, owner: me, expires: 2030-01-01 }
"""
CARD = """architecture: torchvision:resnet18
classes: [a, "b"]
input:
  size: [3, 32, 32]
  mean: [0.1, 0.2, .3]
  std: [1, 1, 1.0]
output: logits
"""
_SCRAPS = [
    "? ", ": ", "- ", "[", "{", "}", ", ", "&a ", "*a", "!!str ", "!x ", "<<: ", "| \n", "> \n",
    "'", '"', "\\x41", "#", "%YAML 1.1\n", "---\n", "...\n", "\t", "\r", "\u2028", "\x85", "\ufeff",
    "~", "yes", ".nan", "0x1F", "1_000", "0b1", "1e999", "2030-01-01", "\n", "\n  ", "=",
    "2030-13-41 00:00:00 +99:99", "1" + ":59" * 400, "1" + ":59" * 400 + ".0", "9" * 5000,
]  # fmt: skip


@st.composite
def documents(draw: st.DrawFn, good: str) -> str:
    """Put scraps into a good document, or in the place of its values."""
    text = good
    for _ in range(draw(st.integers(0, 4))):
        scrap = "".join(draw(st.lists(st.sampled_from(_SCRAPS) | st.text(max_size=3), max_size=4)))
        place = draw(st.integers(0, len(text)))
        dropped = draw(st.sampled_from([0, 0, 1, 5, 20]))
        text = text[:place] + scrap + text[place + dropped :]
    return text


def written(text: str, folder: Path) -> Path:
    path = folder / "own.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def read_or_refused(read: Callable[[], Read], path: Path) -> Read | None:
    """Give what was read, or None where it was refused by name and line."""
    refusal = ""
    try:
        return read()
    except (CardError, PolicyError) as error:
        refusal = str(error)
    assert re.match(re.escape(str(path)) + r":\d+: .", refusal), refusal
    return None


@repeatable
@given(text=documents(POLICY))
@example(text=POLICY + "x: 1" + ":59" * 400 + ".0\n")
def test_a_policy_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = written(text, tmp_path)
    policy = read_or_refused(lambda: read_policy(str(path)), path)
    if policy is None:
        return
    assert policy.require
    assert all(
        (bound.at_least is None) != (bound.at_most is None) for bound in policy.require.values()
    )


@repeatable
@given(documents(CARD))
def test_a_card_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = written(text, tmp_path)
    card = read_or_refused(lambda: read_card(path, trusted=False), path)
    if card is not None:
        assert not card.trusted
        assert ".py:" not in (card.architecture or "")


@pytest.mark.parametrize(
    "good", [POLICY.replace("artifact: x", f"artifact: 'sha256:{'0' * 64}'"), CARD]
)
def test_the_documents_are_good_before_they_are_damaged(good: str, tmp_path: Path) -> None:
    path = written(good, tmp_path)
    read_policy(str(path)) if good.startswith("name") else read_card(path, trusted=False)
