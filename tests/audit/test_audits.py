"""Audits of a folder registry through the command line, with real scans of small files."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from candidates import gatekeeper
from registries import LFS, audit, configure, hostile, judgements, put, rows, told


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry that was audited once."""
    folder = tmp_path_factory.mktemp("audited")
    models = folder / "models"
    for copy in range(4):
        put(models, f"evil-{copy}", "1", hostile())
    put(models, "pointer", "1", LFS)
    put(models, "pointer", "2", LFS + b"x")
    put(models, "many", "1", b"a", "a.pt")
    put(models, "many", "1", b"b", "b.pt")
    put(models, "picked", "1", LFS, "weights.pt")
    put(models, "picked", "1", b"notes", "weights-notes.txt")
    put(models, "companion", "1", LFS, "model.pt")
    put(models, "companion", "1", hostile(), "code/loader.pkl")
    put(models, "unruled", "1", LFS)
    put(models, "imageless", "1", LFS)
    (models / "loose.pt").write_bytes(LFS)
    configure(
        folder,
        "workers: 2",
        """
  - {models: "picked", file: "weights*.pt"}
  - {models: "companion", file: "model.pt"}
  - {models: "imageless", data: nowhere}
  - {models: "[!u]*"}
""",
    )
    done = audit(folder)
    assert done.returncode == 1, done.stderr
    (folder / "said.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def test_each_digest_is_judged_once(first: Path) -> None:
    judged = judgements(first)
    assert len(judged) == len({digest for digest, _ in judged}) == 3
    now = rows(first)
    assert {now[f"evil-{copy}/1"]["decision"] for copy in range(4)} == {"reject"}
    assert len({now[f"evil-{copy}/1"]["report"] for copy in range(4)}) == 1
    assert (first / "gatekeeper-audit" / now["evil-0/1"]["report"]).is_file()
    assert told(first)["judged"] == 3


@pytest.mark.parametrize(
    ("version", "decision", "reason"),
    [
        ("evil-0/1", "reject", "code-execution"),
        ("pointer/1", "undecided", "git lfs pull"),
        ("many/1", "undecided", "Name one with `file` in the rule"),
        ("picked/1", "undecided", "git lfs pull"),
        ("companion/1", "reject", "code/loader.pkl, beside the weights"),
        ("unruled/1", "undecided", "no rule fits"),
        ("imageless/1", "undecided", "no images at"),
    ],
)
def test_every_version_is_one_row_with_its_reason(
    first: Path, version: str, decision: str, reason: str
) -> None:
    row = rows(first)[version]
    assert (row["decision"], row["accepted"], row["change"]) == (decision, False, "new")
    assert reason in row["reason"]
    assert "\n" not in row["reason"]


def test_a_file_outside_of_any_version_is_told(first: Path) -> None:
    loose = [row for name, row in rows(first).items() if "loose.pt" in name]
    assert [row["decision"] for row in loose] == ["undecided"]
    assert "MODEL/VERSION" in loose[0]["reason"]


def test_the_terminal_names_what_is_not_to_be_used(first: Path) -> None:
    said = (first / "said.txt").read_text(encoding="utf-8")
    assert "evil-0/1: REJECT: code-execution" in said
    assert said.rstrip().endswith("Page: gatekeeper-audit/index.html")


def test_history_tells_of_one_model(first: Path) -> None:
    done = gatekeeper("history", "pointer", "--format", "json", cwd=first)
    assert done.returncode == 0, done.stderr
    past = json.loads(done.stdout)
    assert [(one["version"], one["change"], one["decision"]) for one in past] == [
        ("1", "new", "undecided"),
        ("2", "new", "undecided"),
    ]
    unknown = gatekeeper("history", "nobody", cwd=first)
    assert unknown.returncode == 2
    assert "no audit has seen a model 'nobody'" in unknown.stderr


def test_a_second_audit_judges_what_changed_alone(first: Path, tmp_path: Path) -> None:
    """The story of a registry: nothing new, other bytes, a removed version, another policy."""
    here = tmp_path / "copy"
    shutil.copytree(first, here)  # as a restored backup: every file has to be looked at again
    again = audit(here)
    assert again.returncode == 1
    assert told(here)["judged"] == 0
    assert {row["change"] for row in rows(here).values()} == {"new"}  # another folder

    put(here / "models", "pointer", "1", hostile("PATH"))
    shutil.rmtree(here / "models/evil-3")
    assert audit(here).returncode == 1
    now = rows(here)
    assert told(here)["judged"] == 1
    assert (now["pointer/1"]["change"], now["pointer/1"]["before"]) == ("content", "undecided")
    assert now["pointer/1"]["decision"] == "reject"
    assert now["evil-3/1"]["change"] == "gone"
    assert now["evil-2/1"]["change"] == "same"
    assert now["evil-2/1"]["kept"]
    assert "evil-3/1" not in _after(here)

    policy = here / "quick.yaml"
    policy.write_text(policy.read_text(encoding="utf-8") + "min_samples: 10\n", encoding="utf-8")
    assert audit(here).returncode == 1
    assert told(here)["judged"] == 4  # each digest anew under the policy as it is now
    assert {row["change"] for row in rows(here).values()} == {"same"}


def test_undecided_ones_are_tried_again_when_asked(first: Path, tmp_path: Path) -> None:
    here = tmp_path / "copy"
    shutil.copytree(first, here)
    shutil.rmtree(here / "models")
    put(here / "models", "pointer", "1", LFS)
    put(here / "models", "evil", "1", hostile())
    assert audit(here).returncode == 1
    assert told(here)["judged"] == 0
    assert audit(here, "--retry").returncode == 1
    assert told(here)["judged"] == 1


def test_two_audits_at_once_judge_nothing_twice(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for number in range(3):
        put(models, f"evil-{number}", "1", hostile(str(number)))
    configure(tmp_path)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: audit(tmp_path), range(2)))
    assert [one.returncode for one in done] == [1, 1], [one.stderr for one in done]
    with sqlite3.connect(tmp_path / "gatekeeper-audit/ledger.sqlite") as ledger:
        judged = [row[0] for row in ledger.execute("SELECT judged FROM audits")]
    ledger.close()
    assert sum(judged) == 3
    assert {row["decision"] for row in rows(tmp_path).values()} == {"reject"}


@pytest.mark.parametrize(
    ("text", "told_as"),
    [
        ("rulez: []", "audit.yaml:1: rulez: unknown key"),
        ("policy: ci\nrules:\n  - {card: x.yaml}", "audit.yaml:3: rules.0.models"),
        ("rules: []", "no model would be judged"),
        ("workers: 0", "audit.yaml:1: workers"),
        ("minutes: .nan", "audit.yaml:1: minutes"),
        ("policy: nobody", "no policy 'nobody'"),
        ("card: nobody.yaml", "cannot read"),
        ("ledger: here", "a URL is wanted"),
        ("webhook: {url: 'ftp://x', secret_env: S}", "webhook.url"),
        ("webhook: {url: 'http://127.0.0.1:1', secret_env: NOBODY_SET}", "NOBODY_SET is empty"),
        ("- a list", "a mapping of keys"),
        ("a: &b 1", "anchors and aliases"),
        ("mlflow: {approve_alias: ok}", "has no aliases"),
    ],
)
def test_a_malformed_configuration_is_told_with_its_line(
    tmp_path: Path, text: str, told_as: str
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "audit.yaml").write_text(text, encoding="utf-8")
    done = audit(tmp_path)
    assert done.returncode == 2, done.stderr
    assert told_as in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "gatekeeper-audit").exists()


def test_a_registry_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = gatekeeper("audit", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_registry_that_holds_nothing_is_not_accepted(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    configure(tmp_path)
    done = audit(tmp_path)
    assert done.returncode == 3, done.stderr
    assert "Trouble: the registry lists nothing: look for a typo" in done.stdout


def _after(folder: Path) -> dict[str, object]:
    assert audit(folder).returncode == 1
    return dict(rows(folder))
