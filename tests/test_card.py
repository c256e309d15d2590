"""A card says what a network wants to see; what came with the candidate may not name code."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.card import Card, beside, read_card
from gatekeeper.errors import CardError
from gatekeeper.records import InputSpec

GOOD = """\
architecture: torchvision:resnet18
classes: [cat, dog]
input:
  size: [3, 32, 48]
  mean: [0.4, 0.5, 0.6]
  std: [0.2, 0.2, 0.2]
weights_key: net
output: probabilities
"""


def card(folder: Path, text: str) -> Path:
    path = folder / "card.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_card_says_all_that_is_needed(tmp_path: Path) -> None:
    read = read_card(card(tmp_path, GOOD), trusted=True)
    assert read.spec == InputSpec(size=(3, 32, 48), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
    assert read.classes == ("cat", "dog")
    assert (read.weights_key, read.output, read.trusted) == ("net", "probabilities", True)
    assert len(read.sha256 or "") == 64


def test_raw_pixels_and_grey_images_can_be_said(tmp_path: Path) -> None:
    text = "input: { size: [1, 28, 28], mean: [0], std: [0.00392157] }\n"
    spec = read_card(card(tmp_path, text), trusted=False).spec
    assert spec == InputSpec(size=(1, 28, 28), mean=(0.0,), std=(0.00392157,))


def test_a_card_may_leave_out_everything_but_must_be_a_mapping(tmp_path: Path) -> None:
    read = read_card(card(tmp_path, "{}\n"), trusted=False)
    assert (read.architecture, read.classes, read.spec) == (None, None, None)
    with pytest.raises(CardError, match=r"card.yaml:1: a mapping"):
        read_card(card(tmp_path, ""), trusted=False)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (GOOD.replace("architecture", "architektur"), 1, "unknown key"),
        (GOOD.replace("torchvision:resnet18", "''"), 1, "at least 1 character"),
        (GOOD.replace("[cat, dog]", "[cat]"), 1, "two different names"),
        (GOOD.replace("[cat, dog]", "[cat, cat]"), 1, "two different names"),
        (GOOD + "num_classes: 3\n", 1, "num_classes is 3, classes has 2"),
        (GOOD + "num_classes: 1\n", 9, "greater than or equal to 2"),
        (GOOD.replace("[3, 32, 48]", "[2, 32, 32]"), 3, "size must be"),
        (GOOD.replace("[3, 32, 48]", "[3, 32, 100000]"), 3, "size must be"),
        (GOOD.replace("[3, 32, 48]", "[3, 32]"), 4, "required"),
        (GOOD.replace("[0.4, 0.5, 0.6]", "[0.4]"), 3, "3 value(s) each"),
        (GOOD.replace("std: [0.2, 0.2, 0.2]", "std: [0.2, 0, 0.2]"), 3, "above 0"),
        (GOOD.replace("std: [0.2, 0.2, 0.2]", "std: [0.2, .nan, 0.2]"), 6, "finite"),
        (GOOD.replace("mean: [0.4", "mean: [.inf"), 5, "finite"),
        (GOOD.replace("probabilities", "odds"), 8, "'logits' or 'probabilities'"),
        (GOOD + "trusted: true\n", 9, "unknown key 'trusted'"),
        (GOOD + "classes: [a, b]\n", 9, "stands twice"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(
    tmp_path: Path, text: str, line: int, told: str
) -> None:
    path = card(tmp_path, text)
    with pytest.raises(CardError) as refused:
        read_card(path, trusted=True)
    assert str(refused.value).startswith(f"{path}:{line}: ")
    assert told in str(refused.value)
    assert refused.value.exit_code == 2


def test_code_is_named_by_the_operator_only(tmp_path: Path) -> None:
    path = card(tmp_path, GOOD.replace("torchvision:resnet18", "models.py:make_net"))
    assert read_card(path, trusted=True).architecture == "models.py:make_net"
    with pytest.raises(CardError, match=r"card.yaml:1: .* names code") as refused:
        read_card(path, trusted=False)
    assert "--card" in refused.value.hint


def test_the_card_beside_a_model_is_found(tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    assert beside(model) is None
    (tmp_path / "model.pt.card.yaml").write_text(GOOD)
    assert beside(model) == tmp_path / "model.pt.card.yaml"
    (tmp_path / "model.card.yaml").write_text(GOOD)
    assert beside(model) == tmp_path / "model.card.yaml"


def test_nothing_but_a_regular_file_is_a_card(tmp_path: Path) -> None:
    (tmp_path / "model.card.yaml").mkdir()
    assert beside(tmp_path / "model.pt") is None
    assert beside(tmp_path / ("n" * 255)) is None  # the card's name would be too long
    with pytest.raises(CardError, match="not a regular file"):
        read_card(tmp_path, trusted=True)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    content=st.dictionaries(
        st.sampled_from([*Card.model_fields, "size", "mean", "std", "odd"]), values, max_size=4
    )
)
def test_arbitrary_values_give_a_card_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]
) -> None:
    import yaml

    path = card(tmp_path_factory.getbasetemp(), yaml.safe_dump(content, allow_unicode=False))
    with suppress(CardError):
        assert not read_card(path, trusted=False).trusted
        return
    with pytest.raises(CardError, match=f"^{re.escape(str(path))}:[0-9]+: "):
        read_card(path, trusted=False)
