"""What travels to workers: absolute places, the organisation's own rules, and no passwords."""

from __future__ import annotations

from concurrent.futures import CancelledError
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from registries import configure, hostile, put

from gatekeeper.audit.auditor import Auditor
from gatekeeper.audit.order import AuditOrder, placed, refuse_passwords
from gatekeeper.audit.run import audit, threads
from gatekeeper.audit.settled import Settled
from gatekeeper.errors import ConfigError, UsageError
from gatekeeper.registry.folder import FolderRegistry
from gatekeeper.registry.interface import Version

VERSIONS = [Version(model="m", version=str(n), address=f"m/{n}", fingerprint="") for n in (1, 2)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home/models").mkdir(parents=True)
    (tmp_path / "away").mkdir()
    (tmp_path / "home/gatekeeper.yaml").write_text("policy: ci\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def test_an_order_means_the_same_in_another_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = AuditOrder(registry="models", out="out", ledger="sqlite:///book.sqlite")
    there = placed(order)
    monkeypatch.chdir(home.parent / "away")
    assert placed(there) == there
    assert there.registry == str(home / "models")
    assert there.ledger == f"sqlite:///{home}/book.sqlite"
    assert Auditor(there).defaults.policy == "ci"
    (home / "gatekeeper.yaml").unlink()
    with pytest.raises(ConfigError):
        _ = Auditor(there).planner


def test_no_file_of_the_organisation_is_picked_up_on_the_way(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.parent / "away")
    there = placed(AuditOrder(registry="models", out="out"))
    monkeypatch.chdir(home)
    assert Auditor(there).defaults.policy is None


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("mlflow:sqlite:///x.db", "mlflow:sqlite:///{here}/x.db"),
        ("mlflow:sqlite:////x.db", "mlflow:sqlite:////x.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("s3://bucket/models", "s3://bucket/models"),
        ("mlflow:http://127.0.0.1:5000", "mlflow:http://127.0.0.1:5000"),
    ],
)
def test_only_files_are_placed(address: str, wanted: str, home: Path) -> None:
    assert placed(AuditOrder(registry=address, out="o")).registry == wanted.format(here=home)


@pytest.mark.parametrize(
    ("registry", "ledger"),
    [
        ("mlflow:https://me:pass@host", None),
        ("models", "postgresql+psycopg://me:pa/ss@host/name"),
        ("models", "postgresql+psycopg://host/name?password=pass"),
    ],
)
def test_a_password_does_not_travel(registry: str, ledger: str | None) -> None:
    with pytest.raises(UsageError, match="password") as told:
        refuse_passwords(AuditOrder(registry=registry, out="o", ledger=ledger))
    assert "pass@" not in str(told.value)
    refuse_passwords(AuditOrder(registry="mlflow:https://host:5000", out="o", ledger="a://me@host"))


class Dying(Auditor):
    """Its worker is lost on the first version."""

    cause: type[BaseException] = CancelledError

    def take(self, version: Version, *_: object, **__: object) -> Settled:
        if version.version == "1":
            raise self.cause
        return Settled(version=version)


def test_a_lost_worker_is_one_row(home: Path) -> None:
    auditor = Dying(AuditOrder(registry="models", out="out"))
    rows = {one.version.version: one for one in threads(auditor, VERSIONS)}
    assert "CancelledError" in rows["1"].fault
    assert rows["1"].fault.endswith("Audit again.")
    assert rows["2"].fault == ""
    auditor.cause = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        list(threads(auditor, VERSIONS))


def test_a_report_in_the_folder_of_another_audit_is_not_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two audits with one ledger: the second keeps the verdict, and has no report of its own."""
    put(tmp_path / "models", "evil", "1", hostile())
    config = configure(tmp_path, f"ledger: 'sqlite:///{tmp_path / 'ours.sqlite'}'")
    reports = []
    monkeypatch.setattr(
        FolderRegistry, "publish", lambda _, __, outcome: reports.append(outcome.report)
    )
    for name in ("one", "two"):
        put(tmp_path / "models", "evil", name, hostile())  # a verdict that is to be published
        order = AuditOrder(
            registry=str(tmp_path / "models"), out=str(tmp_path / name), config=str(config)
        )
        assert audit(order).judged == (1 if name == "one" else 0)
    (report,) = {each for each in reports if each}
    assert Path(unquote(urlsplit(report).path)).is_file()
    assert reports[-1] == ""
