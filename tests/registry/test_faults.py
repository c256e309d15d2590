"""Servers that misbehave: each fault is really produced, by a small server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from outcomes import outcome
from servers import Answer, stand_in

from gatekeeper.errors import RegistryError
from gatekeeper.registry import Version, open_registry

pytest.importorskip("mlflow")

SEARCH = "/api/2.0/mlflow/model-versions/search"
WHERE = "/api/2.0/mlflow/model-versions/get-download-uri"
MODEL = "/api/2.0/mlflow/registered-models/get"
FILES = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")


def _described(name: str = "net", version: str = "1", **other: Any) -> dict[str, Any]:
    facts = {"source": "mlflow-artifacts:/1/model", "status": "READY", "creation_timestamp": 1}
    return {"name": name, "version": version, **facts, **other}


def _listed(server: str) -> list[Version]:
    return list(open_registry(f"mlflow:{server}").versions())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_credentials(status: int) -> None:
    with stand_in(lambda *_: (status, b"no")) as server, pytest.raises(RegistryError) as told:
        _listed(server)
    assert not told.value.passing
    assert "MLFLOW_TRACKING_TOKEN" in told.value.hint


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_fault_of_the_server_may_pass(status: int) -> None:
    with stand_in(lambda *_: (status, b"trouble")) as server, pytest.raises(RegistryError) as told:
        _listed(server)
    assert told.value.passing


def test_500_and_then_good_is_good() -> None:
    asked: list[str] = []

    def answer(method: str, path: str) -> Answer:
        asked.append(path)
        return (500, b"") if len(asked) == 1 else (200, {"model_versions": [_described()]})

    with stand_in(answer) as server:
        (version,) = _listed(server)
    assert (version.model, version.version, len(asked)) == ("net", "1", 2)


def test_an_answer_that_does_not_come_is_told() -> None:
    end = threading.Event()

    def answer(method: str, path: str) -> Answer:
        end.wait(20)
        return 200, {}

    with stand_in(answer) as server, pytest.raises(RegistryError, match="does not answer") as told:
        try:
            _listed(server)
        finally:
            end.set()
    assert told.value.passing


def test_a_server_that_is_not_there_is_told() -> None:
    with stand_in(lambda *_: (200, {})) as server:
        pass
    with pytest.raises(RegistryError, match="does not answer") as told:
        _listed(server)
    assert told.value.passing


@pytest.mark.parametrize("body", [b"<html>a login page</html>", b"", b"[1, 2", b"\xff\xfe"])
def test_another_kind_of_server_is_told_in_one_line(body: bytes) -> None:
    with stand_in(lambda *_: (404, body)) as server, pytest.raises(RegistryError) as told:
        _listed(server)
    assert str(told.value).isprintable()
    assert not told.value.passing


@pytest.mark.parametrize("same", [True, False])
def test_pages_in_a_circle_end(same: bool) -> None:
    """The same token again, or ever new ones for the same page."""
    count = iter(range(10_000))

    def answer(method: str, path: str) -> Answer:
        token = "again" if same else f"token-{next(count)}"
        versions = [_described(version=str(next(count)) if same else "1")]
        return 200, {"model_versions": versions, "next_page_token": token}

    with stand_in(answer) as server, pytest.raises(RegistryError, match="circle") as told:
        _listed(server)
    assert not told.value.passing


def test_no_message_and_no_address_shows_a_password() -> None:
    with stand_in(lambda *_: (500, b"me:s3cret@")) as server:
        address = server.replace("://", "://me:s3cret@")
        registry = open_registry(f"mlflow:{address}")
        with pytest.raises(RegistryError) as told:
            list(registry.versions())
    assert "s3cret" not in str(told.value) + registry.address
    assert registry.address == f"mlflow:{server.replace('://', '://***@')}"


@pytest.mark.parametrize(
    "odd",
    [_described(name="../../etc"), _described(name="a\nb"), _described(version=".."),
     _described(status="FAILED_REGISTRATION"), _described(name="\u202eten")],
)  # fmt: skip
def test_what_cannot_be_had_is_one_row_and_the_others_go_on(odd: dict[str, Any]) -> None:
    body = {"model_versions": [odd, _described()]}
    with stand_in(lambda *_: (200, body)) as server:
        bad, good = _listed(server)
    assert bad.fault
    assert not good.fault
    assert (bad.model + bad.version + bad.address + bad.fault).isprintable()
    assert "/" not in bad.model + bad.version


def _serving(source: str, files: Callable[[str], Answer]) -> Callable[[str, str], Answer]:
    def answer(method: str, path: str) -> Answer:
        if path.startswith(SEARCH):
            return 200, {"model_versions": [_described()]}
        if path.startswith(WHERE):
            return 200, {"artifact_uri": source}
        if path.startswith(MODEL):
            return 200, {"registered_model": {"name": "net"}}
        return files(path) if path.startswith(FILES) else (404, {})

    return answer


def _fetched(answer: Callable[[str, str], Answer], into: Path) -> Path:
    with stand_in(answer) as server:
        registry = open_registry(f"mlflow:{server}")
        (version,) = registry.versions()
        return registry.fetch(version, into)


@pytest.mark.parametrize(
    "name",
    ["../evil", "/evil", "a/../../evil", "a\\..\\evil", "", "..", "%2e%2e/evil",
     "%252e%252e%252fevil", "x" * 300, "a//b", "file:///evil"],
)  # fmt: skip
def test_no_file_leaves_its_folder(name: str, tmp_path: Path) -> None:
    def files(path: str) -> Answer:
        listing = {"files": [{"path": name, "is_dir": False, "file_size": 4}]}
        return (200, listing) if "?path=" in path else (200, b"evil")

    with pytest.raises(RegistryError, match=r"leaves its folder|Invalid path|longer"):
        _fetched(_serving("mlflow-artifacts:/1/model", files), tmp_path / "into")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_listing_without_end_ends(tmp_path: Path) -> None:
    files = {"files": [{"path": "deeper", "is_dir": True}]}
    with pytest.raises(RegistryError, match="deep"):
        _fetched(_serving("mlflow-artifacts:/1/model", lambda _: (200, files)), tmp_path / "into")


@pytest.mark.parametrize("content", [b"short", b"much longer than what was listed"])
def test_a_file_of_another_length_is_told(content: bytes, tmp_path: Path) -> None:
    def files(path: str) -> Answer:
        listing = {"files": [{"path": "w.pt", "is_dir": False, "file_size": 9}]}
        return (200, listing) if "?path=" in path else (200, content)

    with pytest.raises(RegistryError, match="not what was listed") as told:
        _fetched(_serving("mlflow-artifacts:/1/model", files), tmp_path / "into")
    assert told.value.passing
    assert not list((tmp_path / "into").iterdir())


@pytest.mark.parametrize(("status", "passing"), [(401, False), (404, False), (500, True)])
def test_a_file_that_is_not_given_is_told(status: int, passing: bool, tmp_path: Path) -> None:
    def files(path: str) -> Answer:
        listing = {"files": [{"path": "w.pt", "is_dir": False, "file_size": 9}]}
        return (200, listing) if "?path=" in path else (status, b"no")

    with pytest.raises(RegistryError) as told:
        _fetched(_serving("mlflow-artifacts:/1/model", files), tmp_path / "into")
    assert told.value.passing == passing
    assert not list((tmp_path / "into").iterdir())


@pytest.mark.parametrize(
    "source",
    ["mlflow-artifacts://127.0.0.1:9/x", "http://127.0.0.1:9/x", "ftp://127.0.0.1/x", "relative/x",
     "/nowhere/at/all", "file:///nowhere/at/all", "dbfs:/x", "runs", "", "models:/other/1"],
)  # fmt: skip
def test_artifacts_elsewhere_are_not_fetched(source: str, tmp_path: Path) -> None:
    """The server's password would go along to another host."""
    with pytest.raises(RegistryError) as told:
        _fetched(_serving(source, lambda _: (500, b"")), tmp_path / "into")
    assert not told.value.passing


def test_links_in_a_folder_of_artifacts_are_refused(tmp_path: Path) -> None:
    store = tmp_path / "artifacts"
    store.mkdir()
    (store / "w.pt").write_bytes(b"weights")
    answer = _serving(str(store), lambda _: (500, b""))
    assert _fetched(answer, tmp_path / "into") == store
    (store / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(RegistryError, match="link"):
        _fetched(answer, tmp_path / "into")


def test_a_path_is_followed_on_the_servers_own_machine_only() -> None:
    from gatekeeper.registry.sources import local_folder

    assert local_folder("/tmp", "http://127.0.0.1:5000") == Path("/tmp")
    assert local_folder("file:///tmp", "sqlite:///x.db") == Path("/tmp")
    with pytest.raises(RegistryError, match="path of the server"):
        local_folder("/tmp", "http://models.example:5000")


def test_publishing_where_it_is_refused_is_told() -> None:
    def answer(method: str, path: str) -> Answer:
        if method == "POST":
            return 403, {"error_code": "PERMISSION_DENIED", "message": "read only"}
        if path.startswith(SEARCH):
            return 200, {"model_versions": [_described()]}
        return 200, {"model_version": _described()}

    with stand_in(answer) as server:
        registry = open_registry(f"mlflow:{server}", approve_alias="approved")
        (version,) = registry.versions()
        with pytest.raises(RegistryError, match="read only") as told:
            registry.publish(version, outcome("pass"))
    assert not told.value.passing
