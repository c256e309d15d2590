"""What decides a verdict is in its key, and nobody can swap it while a verdict is made."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from registries import LFS, audit, configure, hostile, put, rows

from gatekeeper.audit.auditor import Auditor
from gatekeeper.audit.config import Rule
from gatekeeper.audit.looking import look
from gatekeeper.audit.order import AuditOrder
from gatekeeper.audit.terms import card_digest, images_digest, make_ready
from gatekeeper.errors import ConfigError

CARD = "architecture: net.py:make\nnum_classes: 2\ninput: {size: [1, 8, 8], mean: [0], std: [1]}\n"


@pytest.fixture
def version(tmp_path: Path) -> Path:
    put(tmp_path / "models", "net", "1", LFS, "model.pt")
    return tmp_path / "models/net/1"


def test_a_swap_and_a_swap_back_are_seen(tmp_path: Path) -> None:
    policy = configure(tmp_path).with_name("quick.yaml")
    ready = make_ready(Rule(models="*", policy=str(policy)), {})
    assert ready.stands()
    before = policy.read_text()
    policy.write_text("name: lenient\nrequire: {clean_accuracy: {at_least: 0.0}}\n")
    policy.write_text(before)
    assert not ready.stands()


def test_a_card_that_names_code_has_one_digest_of_both(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(CARD)
    (tmp_path / "net.py").write_text("make = 1\n")
    first = card_digest(tmp_path / "card.yaml", trusted=True)
    (tmp_path / "net.py").write_text("make = 2\n")
    assert len(first) == 64
    assert card_digest(tmp_path / "card.yaml", trusted=True) != first


def test_images_count_with_the_sets_name_and_behind_linked_class_folders(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.bin").write_bytes(b"a")
    names = (f"torchvision:{name}:{tmp_path / 'set'}" for name in ("MNIST", "FashionMNIST"))
    assert len({images_digest(name) for name in names}) == 2
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1.png").write_bytes(b"1")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/cat").symlink_to(tmp_path / "elsewhere")
    before = images_digest(str(tmp_path / "data"))
    (tmp_path / "elsewhere/1.png").write_bytes(b"2")
    assert images_digest(str(tmp_path / "data")) != before


def test_a_companion_that_cannot_be_told_is_no_harmless_one(tmp_path: Path, version: Path) -> None:
    ready = make_ready(Rule(models="*", policy="ci", file="model.pt"), {})
    (version / "README.md").write_text("notes")
    (version / "config.json").write_text("{}")
    assert look(version, ready).fault == ""
    (version / "extra.pkl").write_bytes(b"\x80\x04" + b"]" * 250_000 + b".")
    looked = look(version, ready)
    assert "extra.pkl, beside the weights" in looked.fault
    assert not looked.lasting
    (version / "loader.pkl").write_bytes(hostile())
    assert "loader.pkl" in look(version, ready).blocked


def test_a_link_in_a_version_is_told(version: Path) -> None:
    (version / "loader.pkl").symlink_to(version / "model.pt")
    ready = make_ready(Rule(models="*", policy="ci", file="model.pt"), {})
    assert "holds a link (loader.pkl)" in look(version, ready).fault


def test_the_registrys_own_gatekeeper_yaml_is_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "net", "1", LFS)
    (tmp_path / "gatekeeper.yaml").write_text("policy: lenient.yaml\n")
    monkeypatch.chdir(tmp_path)
    auditor = Auditor(AuditOrder(registry=".", out=str(tmp_path.parent / "out")))
    with pytest.raises(ConfigError, match="lies in the registry"):
        auditor.planner.check()


def test_odd_names_end_no_audit_and_an_empty_folder_is_not_all_gone(tmp_path: Path) -> None:
    put(tmp_path / "models", "evil", "1", hostile())
    odd = tmp_path / "models/odd/1"
    odd.mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(odd) + b"/m\xff.pt")).write_bytes(pickle.dumps([]))
    configure(tmp_path)
    done = audit(tmp_path)
    assert done.returncode == 1, done.stderr
    assert "cannot be shown" in rows(tmp_path)["odd/1"]["reason"]

    (tmp_path / "models").rename(tmp_path / "unmounted")
    (tmp_path / "models").mkdir()
    done = audit(tmp_path)
    assert done.returncode == 3, done.stdout
    assert "lists nothing, where 2 version(s) were before" in done.stdout
