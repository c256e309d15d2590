"""A real MLflow server: pages, verdicts as tags, the alias, and the hardened version."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from outcomes import outcome
from servers import MlflowServer
from stores import MlflowStore

from gatekeeper.errors import RegistryError
from gatekeeper.registry import Registry, Version

pytestmark = pytest.mark.server

FILES = {"data/model.pth": b"weights", "MLmodel": b"flavors: {}\n"}


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    path = tmp_path / "hardened.onnx"
    path.write_bytes(os.urandom(1000))
    return path


def _version(registry: Registry, model: str, number: str) -> Version:
    found = [each for each in registry.versions() if (each.model, each.version) == (model, number)]
    assert len(found) == 1
    return found[0]


def test_pages_are_read_to_the_end_and_nothing_comes_twice(
    mlflow_store: MlflowStore, model: str
) -> None:
    from gatekeeper.registry.mlflow import MlflowRegistry

    numbers = {mlflow_store.put(model, FILES) for _ in range(5)}
    registry = MlflowRegistry(mlflow_store.uri, page=2)
    found = [(each.model, each.version) for each in registry.versions()]
    assert len(found) == len(set(found))
    assert {number for name, number in found if name == model} == numbers


def test_publishing_while_pages_are_read_loses_none(mlflow_store: MlflowStore, model: str) -> None:
    """MLflow sorts by the time of the last change unless told otherwise, and a tag is one."""
    from gatekeeper.registry.mlflow import MlflowRegistry

    numbers = {mlflow_store.put(model, FILES) for _ in range(5)}
    registry = MlflowRegistry(mlflow_store.uri, page=1)
    found = set()
    for version in registry.versions():
        if version.model == model:
            found.add(version.version)
            registry.publish(version, outcome("reject"))
    assert found == numbers


def test_a_verdict_is_written_as_tags_and_only_once(mlflow_store: MlflowStore, model: str) -> None:
    number = mlflow_store.put(model, FILES)
    registry = mlflow_store.registry()
    version = _version(registry, model, number)
    registry.publish(version, outcome("undecided", report=""))
    registry.publish(version, outcome("reject"))
    changed = mlflow_store.client.get_model_version(model, number).last_updated_timestamp
    registry.publish(version, outcome("reject"))
    found = mlflow_store.client.get_model_version(model, number)
    assert found.last_updated_timestamp == changed
    assert found.tags == {
        "gatekeeper.verdict": "reject",
        "gatekeeper.accepted": "false",
        "gatekeeper.policy_sha256": "b" * 64,
        "gatekeeper.artifact_sha256": "a" * 64,
        "gatekeeper.report_uri": "file:///reports/report.html",
        "gatekeeper.scanned_at": "2026-11-22T00:00:00Z",
    }
    assert mlflow_store.aliases(model) == {}


def test_what_is_published_leaves_the_fingerprint(mlflow_store: MlflowStore, model: str) -> None:
    number = mlflow_store.put(model, FILES)
    registry = mlflow_store.registry()
    before = _version(registry, model, number)
    registry.publish(before, outcome("pass"))
    assert _version(registry, model, number) == before


def test_the_alias_goes_to_the_newest_that_passed(mlflow_store: MlflowStore, model: str) -> None:
    one, two, three = (mlflow_store.put(model, FILES) for _ in range(3))
    registry = mlflow_store.registry(approve_alias="approved")
    for number, decision, holder in [
        (two, "pass", two),
        (one, "pass", two),  # never back to an older one
        (three, "undecided", two),  # never on to one that did not pass
        (three, "pass", three),
        (two, "reject", three),
        (three, "reject", None),  # taken away, and given to no one who was not judged anew
        (one, "pass", one),
    ]:
        registry.publish(_version(registry, model, number), outcome(decision))  # type: ignore[arg-type]
        assert mlflow_store.aliases(model).get("approved") == holder, (number, decision)


def test_an_alias_on_what_was_never_judged_goes_to_what_passed(
    mlflow_store: MlflowStore, model: str
) -> None:
    one, two = (mlflow_store.put(model, FILES) for _ in range(2))
    mlflow_store.client.set_registered_model_alias(model, "approved", two)
    registry = mlflow_store.registry(approve_alias="approved")
    registry.publish(_version(registry, model, one), outcome("pass"))
    assert mlflow_store.aliases(model) == {"approved": one}


def test_other_aliases_are_left_alone(mlflow_store: MlflowStore, model: str) -> None:
    number = mlflow_store.put(model, FILES)
    mlflow_store.client.set_registered_model_alias(model, "champion", number)
    registry = mlflow_store.registry(approve_alias="approved")
    registry.publish(_version(registry, model, number), outcome("reject"))
    assert mlflow_store.aliases(model) == {"champion": number}


def test_a_hardened_one_is_logged_once_and_gets_the_alias(
    mlflow_store: MlflowStore, model: str, onnx: Path, tmp_path: Path
) -> None:
    """The version itself still holds the weights that the policy did not accept."""
    number = mlflow_store.put(model, FILES)
    registry = mlflow_store.registry(approve_alias="approved", log_hardened=True)
    version = _version(registry, model, number)
    for _ in range(2):
        registry.publish(version, outcome("hardened", hardened=onnx))
    versions = [each for each in registry.versions() if each.model == model]
    assert len(versions) == 2
    logged = versions[1]
    assert mlflow_store.aliases(model) == {"approved": logged.version}
    assert mlflow_store.tags(model, logged.version)["gatekeeper.source_version"] == number
    assert mlflow_store.tags(model, number)["gatekeeper.hardened_version"] == logged.version
    folder = registry.fetch(logged, tmp_path / "into")
    assert [path.read_bytes() for path in folder.iterdir()] == [onnx.read_bytes()]


def test_a_hardened_version_is_not_hardened_again(
    mlflow_store: MlflowStore, model: str, onnx: Path, tmp_path: Path
) -> None:
    number = mlflow_store.put(model, FILES)
    registry = mlflow_store.registry(approve_alias="approved", log_hardened=True)
    source = _version(registry, model, number)
    registry.publish(source, outcome("hardened", hardened=onnx))
    logged = [each for each in registry.versions() if each.model == model][1]
    again = tmp_path / "again.onnx"
    again.write_bytes(b"hardened twice")
    digest = hashlib.sha256(onnx.read_bytes()).hexdigest()
    registry.publish(logged, outcome("hardened", hardened=again, artifact_sha256=digest))
    assert len([each for each in registry.versions() if each.model == model]) == 2
    # Judged by itself it did not pass as it is, and its source does not bring the alias back.
    assert mlflow_store.aliases(model) == {}
    registry.publish(source, outcome("hardened", hardened=onnx))
    assert mlflow_store.aliases(model) == {}
    registry.publish(logged, outcome("pass", artifact_sha256=digest))
    assert mlflow_store.aliases(model) == {"approved": logged.version}


@pytest.mark.parametrize(("accepted", "log"), [(True, False), (False, True)])
def test_hardened_weights_that_are_not_logged_approve_nothing(
    mlflow_store: MlflowStore, model: str, onnx: Path, accepted: bool, log: bool
) -> None:
    number = mlflow_store.put(model, FILES)
    mlflow_store.client.set_registered_model_alias(model, "approved", number)
    registry = mlflow_store.registry(approve_alias="approved", log_hardened=log)
    version = _version(registry, model, number)
    registry.publish(version, outcome("hardened", hardened=onnx, accepted=accepted))
    assert mlflow_store.aliases(model) == {}
    assert len([each for each in registry.versions() if each.model == model]) == 1


@pytest.mark.parametrize("name", ["it's", "with \"both\" 'quotes'", "späť", "a b", "..."])
def test_names_that_mlflow_takes_are_served(
    mlflow_store: MlflowStore, model: str, name: str, onnx: Path, tmp_path: Path
) -> None:
    name = f"{model} {name}"
    number = mlflow_store.put(name, FILES)
    registry = mlflow_store.registry(approve_alias="approved", log_hardened=True)
    version = _version(registry, name, number)
    assert (registry.fetch(version, tmp_path / "into") / "MLmodel").is_file()
    for _ in range(2):
        registry.publish(version, outcome("hardened", hardened=onnx))
    assert len([each for each in registry.versions() if each.model == name]) == 2


def test_a_version_that_is_one_file_is_fetched(
    mlflow_store: MlflowStore, model: str, tmp_path: Path
) -> None:
    number = mlflow_store.put(model, FILES)
    whole = mlflow_store.client.get_model_version(model, number)
    made = mlflow_store.client.create_model_version(
        model, f"{whole.source}/data/model.pth", run_id=whole.run_id
    )
    registry = mlflow_store.registry()
    folder = registry.fetch(_version(registry, model, made.version), tmp_path / "into")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"model.pth": b"weights"}


def test_a_version_whose_artifacts_are_gone_is_told(
    mlflow_store: MlflowStore, model: str, tmp_path: Path
) -> None:
    run = mlflow_store.client.create_run("0")
    mlflow_store.client.create_registered_model(model)
    mlflow_store.client.create_model_version(
        model, f"{run.info.artifact_uri}/model", run_id=run.info.run_id
    )
    registry = mlflow_store.registry()
    with pytest.raises(RegistryError, match="holds no file"):
        registry.fetch(_version(registry, model, "1"), tmp_path / "into")


def test_a_logged_model_of_mlflow_3_is_fetched(
    mlflow_store: MlflowStore, model: str, tmp_path: Path
) -> None:
    client: Any = mlflow_store.client
    mlflow_store.put(model, FILES)
    made = client.create_logged_model("0", name="net")
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "w.pt").write_bytes(b"weights")
    client.log_model_artifacts(made.model_id, str(tmp_path / "only"))
    client.finalize_logged_model(made.model_id, "READY")
    version = client.create_model_version(model, f"models:/{made.model_id}", model_id=made.model_id)
    registry = mlflow_store.registry()
    folder = registry.fetch(_version(registry, model, version.version), tmp_path / "into")
    assert (folder / "w.pt").read_bytes() == b"weights"


def test_publishing_about_a_deleted_version_is_told(mlflow_store: MlflowStore, model: str) -> None:
    number = mlflow_store.put(model, FILES)
    registry = mlflow_store.registry()
    version = _version(registry, model, number)
    mlflow_store.delete(model, number)
    with pytest.raises(RegistryError, match="deleted") as told:
        registry.publish(version, outcome("pass"))
    assert not told.value.passing


def test_a_server_that_stops_is_told_and_after_its_start_all_goes_on(tmp_path: Path) -> None:
    server = MlflowServer(tmp_path)
    server.start()
    try:
        store = MlflowStore(server.uri, tmp_path / "to-log")
        number = store.put("net", FILES)
        registry = store.registry()
        version = _version(registry, "net", number)
        server.stop()
        for ask in (
            lambda: list(registry.versions()),
            lambda: registry.fetch(version, tmp_path / "into"),
            lambda: registry.publish(version, outcome("pass")),
        ):
            with pytest.raises(RegistryError) as told:
                ask()
            assert told.value.passing
            assert str(told.value).isprintable()
        server.start()
        folder = registry.fetch(version, tmp_path / "into")
        assert (folder / "data" / "model.pth").read_bytes() == b"weights"
        registry.publish(version, outcome("pass"))
        assert store.tags("net", number)["gatekeeper.verdict"] == "pass"
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # MLflow's, of SQLAlchemy
def test_the_database_behind_a_server_is_a_registry_too(
    mlflow_server: MlflowServer, mlflow_store: MlflowStore, model: str
) -> None:
    from gatekeeper.registry import open_registry

    number = mlflow_store.put(model, FILES)
    registry = open_registry(f"mlflow:sqlite:///{mlflow_server.folder}/mlflow.db")
    version = _version(registry, model, number)
    with pytest.raises(RegistryError, match="another server"):  # only the server has its files
        registry.fetch(version, mlflow_server.folder / "into")
    registry.publish(version, outcome("pass"))
    assert mlflow_store.tags(model, number)["gatekeeper.verdict"] == "pass"
