"""`gatekeeper.yaml` makes a bare `gatekeeper scan model.pt` enough, from wherever it is typed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatekeeper.config import Config, find_config
from gatekeeper.errors import CardError, ConfigError, UsageError
from gatekeeper.pipeline import run
from gatekeeper.planning import plan

TEXT = """\
data: clean
verify_data: held-out.npz
policy: policies/ours.yaml
cards: { "resnet18-*.pt": cards/resnet18.yaml, "*.pt": cards/any.yaml }
out: runs
"""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEKEEPER_CONFIG", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An organisation's folder with a configuration, and somewhere to work deep below it."""
    (tmp_path / "gatekeeper.yaml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "work/deeper").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("start", [".", "work", "work/deeper"])
def test_it_is_found_here_and_in_every_parent(home: Path, start: str) -> None:
    config = find_config(home / start)
    assert config.data == home / "clean"
    assert config.verify_data == home / "held-out.npz"
    assert config.policy == str(home / "policies/ours.yaml")
    assert config.cards["*.pt"] == home / "cards/any.yaml"
    assert config.out == home / "runs"


def test_the_nearest_one_counts(home: Path) -> None:
    (home / "work/gatekeeper.yaml").write_text("policy: strict\n")
    assert find_config(home / "work/deeper") == Config(policy="strict")
    assert find_config(home).data == home / "clean"


def test_the_environment_comes_first(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "organisation.yaml"
    elsewhere.write_text("data: pictures\n")
    monkeypatch.setenv("GATEKEEPER_CONFIG", str(elsewhere))
    assert find_config(home) == Config(data=elsewhere.parent / "pictures")
    monkeypatch.setenv("GATEKEEPER_CONFIG", str(elsewhere) + ".gone")
    with pytest.raises(ConfigError, match=r"organisation\.yaml\.gone"):
        find_config(home)


def test_absolute_paths_stay_and_shipped_names_are_no_paths(tmp_path: Path) -> None:
    (tmp_path / "gatekeeper.yaml").write_text("data: /srv/clean\npolicy: ci\n")
    assert find_config(tmp_path) == Config(data=Path("/srv/clean"), policy="ci")


def test_a_policy_in_a_folder_is_a_path_whatever_its_ending(tmp_path: Path) -> None:
    (tmp_path / "gatekeeper.yaml").write_text("policy: policies/ours\n")
    assert find_config(tmp_path).policy == str(tmp_path / "policies/ours")


def test_without_any_the_defaults_hold(tmp_path: Path) -> None:
    assert find_config(tmp_path) == Config()


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("data: clean\npolice: ci\n", 2, "unknown key"),
        ("data: [a]\n", 1, "path"),
        ("cards: model.pt\n", 1, "dictionary"),
        ("policy: 3\n", 1, "string"),
        ("data: a\ndata: b\n", 2, "stands twice"),
        ("[]\n", 1, "mapping"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(
    tmp_path: Path, text: str, line: int, told: str
) -> None:
    path = tmp_path / "gatekeeper.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        find_config(tmp_path)
    assert str(refused.value).startswith(f"{path}:{line}: ")
    assert told in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_plan_fills_in_what_was_not_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home / "work")
    (home / "policies").mkdir()
    ours = "name: ours\nrequire: { clean_accuracy: { at_least: 0.5 } }\n"
    (home / "policies/ours.yaml").write_text(ours)
    model = home / "work/resnet18-v3.pt"
    model.write_bytes(b"weights")
    job = plan(model, seed=3)
    assert (job.data, job.card) == (str(home / "clean"), str(home / "cards/resnet18.yaml"))
    assert (job.policy, job.seed) == (str(home / "policies/ours.yaml"), 3)
    assert job.out.startswith(str(home / "runs/resnet18-v3-"))
    given = plan(model, data=Path("mine"), policy="ci", out=Path("here"))
    assert (given.data, given.verify_data, given.policy, given.out) == ("mine", None, "ci", "here")


@pytest.mark.parametrize("name", ["gone.pt", "n" * 300, "a\0b"])
def test_no_candidate_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no file"):
        plan(tmp_path / name)


def test_an_unknown_method_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / "model.pt").write_bytes(b"weights")
    with pytest.raises(UsageError, match="magic"):
        plan(Path("model.pt"), method="magic", policy="ci")


@pytest.mark.parametrize("name", ["--help.pt", "..pt", "a b;c.pt", "é" * 100 + ".pt"])
def test_the_run_directory_has_a_plain_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"weights")
    out = Path(plan(tmp_path / name).out)
    assert out.parent == Path("gatekeeper-runs")
    assert out.name.replace("_", "").replace("-", "").replace(".", "").isalnum()
    assert not out.name.startswith(("-", "."))
    assert len(out.name) <= 100


CARD = "architecture: nets.py:make\nnum_classes: 2\n"


def cloned(root: Path) -> Path:
    """A stranger's repository, which brings a configuration, a card and the code it names."""
    (root / "gatekeeper.yaml").write_text('cards: { "*.pt": card.yaml }\n')
    (root / "card.yaml").write_text(CARD)
    (root / "nets.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
    )
    (root / "model.pt").write_bytes(b"weights")
    return root / "model.pt"


@pytest.mark.parametrize("start", [".", "docs"])
def test_a_configuration_that_came_with_the_candidate_may_not_name_code(
    tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cloned(tmp_path)
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / start)
    with pytest.raises(CardError, match="is not run") as refused:
        run(plan(Path(os.path.relpath(model)), out=tmp_path / "run"))
    assert "GATEKEEPER_CONFIG" in refused.value.hint
    assert not (tmp_path / "ran").exists()


def test_a_link_does_not_make_a_strangers_configuration_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link.pt").symlink_to(cloned(tmp_path / "theirs"))
    monkeypatch.chdir(tmp_path / "theirs")
    assert not plan(tmp_path / "link.pt").card_trusted
    assert not plan(Path("model.pt")).card_trusted


def test_the_operators_configuration_may_name_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder above the candidate's, or named by the operator, or with a card of their own."""
    model = cloned(tmp_path)
    (tmp_path / "incoming").mkdir()
    below = model.rename(tmp_path / "incoming/model.pt")
    monkeypatch.chdir(tmp_path)
    assert plan(below).card_trusted
    model.write_bytes(b"weights")
    assert plan(model, card=tmp_path / "card.yaml").card_trusted
    monkeypatch.setenv("GATEKEEPER_CONFIG", "gatekeeper.yaml")
    assert plan(model).card_trusted
