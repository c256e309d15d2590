"""audit.yaml: which rule a model gets, and what a rule takes from the top."""

from __future__ import annotations

import string
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.config import AuditConfig, Rule, read_audit_config
from gatekeeper.errors import ConfigError

NAMES = st.text(alphabet=string.ascii_lowercase + "-/", min_size=1, max_size=8)
PATTERNS = st.text(alphabet="ab*?-/[]", min_size=1, max_size=6)


def read(folder: Path, text: str) -> AuditConfig:
    (folder / "audit.yaml").write_text(text, encoding="utf-8")
    return read_audit_config(folder / "audit.yaml")


@given(patterns=st.lists(PATTERNS, min_size=1, max_size=5), model=NAMES)
def test_the_first_rule_that_fits_is_taken(patterns: list[str], model: str) -> None:
    rules = tuple(Rule(models=pattern, seed=place) for place, pattern in enumerate(patterns))
    found = AuditConfig(rules=rules).rule_for(model)
    fits = [place for place, pattern in enumerate(patterns) if fnmatchcase(model, pattern)]
    assert (found.seed if found else None) == (fits[0] if fits else None)


def test_a_rule_takes_from_the_top_what_it_leaves_out(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        "policy: strict\ndata: clean\nverify_data: held\nseed: 7\n"
        "rules:\n  - {models: 'a*', data: other}\n  - {models: 'b*', policy: mine.yaml}\n",
    )
    first, second = config.rule_for("a1"), config.rule_for("b1")
    assert first is not None
    assert second is not None
    assert (first.policy, first.data, first.seed) == ("strict", str(tmp_path / "other"), 7)
    assert first.verify_data is None  # which belongs to the images of the top
    assert second.verify_data == str(tmp_path / "held")
    assert second.policy == str(tmp_path / "mine.yaml")
    assert config.rule_for("c1") is None


def test_without_rules_the_top_is_for_every_model(tmp_path: Path) -> None:
    rule = read(tmp_path, "policy: ci\n").rule_for("anything")
    assert rule is not None
    assert rule.policy == "ci"


def test_paths_count_from_the_files_own_folder(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        "card: cards/a.yaml\ncalibration: c.yaml\ndata: torchvision:MNIST:sets\n"
        "ledger: sqlite:///ledgers/l.sqlite\n",
    )
    assert config.card == tmp_path / "cards/a.yaml"
    assert config.calibration == tmp_path / "c.yaml"
    assert config.data == f"torchvision:MNIST:{tmp_path / 'sets'}"
    assert config.ledger == f"sqlite:///{tmp_path / 'ledgers/l.sqlite'}"


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
KEYS = st.one_of(st.sampled_from(sorted(AuditConfig.model_fields)), st.text(max_size=10))
TREES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(KEYS, inner)), max_leaves=10
)


@given(content=st.dictionaries(KEYS, TREES, max_size=5))
def test_whatever_stands_there_is_read_or_refused_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    folder = tmp_path_factory.mktemp("any")
    told = ""
    try:
        config = read(folder, yaml.safe_dump(content, allow_unicode=True))
    except ConfigError as error:
        told = str(error)
    assert told.startswith(f"{folder / 'audit.yaml'}") if told else config.workers >= 1
