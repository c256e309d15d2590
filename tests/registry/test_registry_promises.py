"""What every registry promises, asked of each kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from stores import FolderStore, Store

from gatekeeper.errors import RegistryError, UsageError
from gatekeeper.registry import Outcome, Version, open_registry

FILES = {"data/model.pth": b"weights" * 1000, "MLmodel": b"flavors: {}\n", "code/net.py": b""}


def _own(store: Store, model: str) -> list[Version]:
    return [each for each in store.registry().versions() if each.model == model]


def test_versions_are_listed_once_and_faultless(store: Store, model: str) -> None:
    put = {store.put(model, FILES) for _ in range(3)}
    found = _own(store, model)
    assert len(found) == 3
    assert {each.version for each in found} == put
    assert not any(each.fault for each in found)
    assert all(each.fingerprint and each.address for each in found)
    assert {each.bytes for each in found} <= {None, sum(map(len, FILES.values()))}


def test_listing_twice_gives_the_same_fingerprints(store: Store, model: str) -> None:
    store.put(model, FILES)
    store.put(model, FILES)
    assert _own(store, model) == _own(store, model)


def test_fetched_bytes_are_those_put(store: Store, model: str, tmp_path: Path) -> None:
    store.put(model, FILES)
    (version,) = _own(store, model)
    folder = store.registry().fetch(version, tmp_path / "into")
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert files == FILES


def test_fetching_again_over_what_a_killed_run_left(
    store: Store, model: str, tmp_path: Path
) -> None:
    store.put(model, FILES)
    (version,) = _own(store, model)
    left = tmp_path / "into" / "files" / "torn.pt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"torn")
    folder = store.registry().fetch(version, tmp_path / "into")
    assert not (folder / "torn.pt").exists()


def test_a_deleted_version_is_told_and_leaves_nothing(
    store: Store, model: str, tmp_path: Path
) -> None:
    store.put(model, FILES)
    kept = store.put(model, FILES)
    (version,) = (each for each in _own(store, model) if each.version != kept)
    store.delete(model, version.version)
    with pytest.raises(RegistryError, match="deleted") as told:
        store.registry().fetch(version, tmp_path / "into")
    assert not told.value.passing
    assert "\n" not in str(told.value)
    assert told.value.hint
    assert not list((tmp_path / "into").rglob("*"))
    assert [each.version for each in _own(store, model)] == [kept]


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    store: Store, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's size is the one thing here that is not real."""
    store.put(model, FILES)
    (version,) = _own(store, model)
    monkeypatch.setattr("gatekeeper.registry.landing._free", lambda _: 100)
    into = tmp_path / "into"
    if isinstance(store, FolderStore):
        assert not store.registry().fetch(version, into).is_relative_to(into)
        return
    with pytest.raises(RegistryError, match="100 bytes free"):
        store.registry().fetch(version, into)
    assert not list(into.iterdir())


def test_publishing_is_harmless(store: Store, model: str) -> None:
    store.put(model, FILES)
    (version,) = _own(store, model)
    outcome = Outcome(
        decision="reject", accepted=False, artifact_sha256="a" * 64, policy_sha256="b" * 64,
        report="", judged_at="2026-11-22T00:00:00Z",
    )  # fmt: skip
    store.registry().publish(version, outcome)
    assert _own(store, model) == [version]


@pytest.mark.parametrize(
    "address",
    ["nowhere", "gopher9://x/y", "memory://a::b", "mlflow:nowhere", "mlflow:sqlite:///nowhere.db",
     "mlflow:sqlite://", "mlflow:", "", "s3://b::memory://x", "\0", "a" * 5000, "file://elsewhere/x",
     "mlfow:http://127.0.0.1:1"],
)  # fmt: skip
def test_what_is_no_registry_is_told_with_a_remedy(address: str) -> None:
    with pytest.raises(UsageError) as told:
        open_registry(address)
    assert told.value.hint
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    "address",
    ["gopher9://me:s3cret@x/y", "mlflow:oracle://me:s3cret@h/x", "memory9://me:s3/cret@h"],
)
def test_no_error_shows_a_password(address: str) -> None:
    with pytest.raises(UsageError) as told:
        open_registry(address)
    assert "cret" not in str(told.value)


def test_settings_of_mlflow_are_refused_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no aliases"):
        open_registry(str(tmp_path), approve_alias="approved")


def test_a_file_url_is_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a b" / "net" / "1").mkdir(parents=True)
    (tmp_path / "a b" / "net" / "1" / "w.pt").write_bytes(b"w")
    (version,) = open_registry(f"file://{tmp_path}/a%20b").versions()
    assert version.model == "net"


@pytest.mark.parametrize("lacking", ["fsspec", "mlflow", "s3fs"])
def test_what_is_not_installed_is_named(lacking: str) -> None:
    address = {"fsspec": "memory://x", "mlflow": "mlflow:http://127.0.0.1:1", "s3fs": "s3://b"}
    code = (
        f"import sys; sys.modules[{lacking!r}] = None\n"
        "from gatekeeper.errors import UsageError\n"
        "from gatekeeper.registry import open_registry\n"
        f"try: open_registry({address[lacking]!r})\n"
        "except UsageError as error: print(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'gatekeeper-models[" in done.stdout


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, gatekeeper.registry, gatekeeper.registry.bucket, gatekeeper.registry.mlflow\n"
        "print(sorted({'torch', 'mlflow', 'fsspec', 's3fs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
