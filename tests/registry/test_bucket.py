"""Buckets as they are found: keys that are no paths, consoles' markers, a store that misbehaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from registry_fixtures import bucket
from servers import Answer, stand_in
from stores import BucketStore

from gatekeeper.errors import RegistryError
from gatekeeper.registry import Version, open_registry

HOSTILE = ["net/1/../../../evil", "net/1//evil", "net/1/.", "../1/evil", "/net/1/evil", "./1/evil",
           "net/../evil/w.pt", "net//evil", "net/1/a\\..\\evil", "net/1/right\u202eleft",
           "net/1/" + "x" * 300, "loose.pt", "net/loose.pt"]  # fmt: skip


@pytest.fixture
def memory() -> BucketStore:
    return bucket("memory://")


@pytest.fixture
def s3(s3_address: str) -> BucketStore:
    return bucket("s3://models")


def _listed(store: BucketStore) -> dict[tuple[str, str], Version]:
    return {(each.model, each.version): each for each in store.registry().versions()}


def _s3() -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])


@pytest.mark.server
@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_that_is_no_path_is_one_row_and_the_others_go_on(
    s3: BucketStore, key: str, tmp_path: Path
) -> None:
    good = s3.put("good", {"w.pt": b"weights"})
    _s3().put_object(Bucket="models", Key=f"{s3.root.partition('/')[2]}/{key}", Body=b"evil")
    listed = _listed(s3)
    assert not listed.pop(("good", good)).fault
    (odd,) = listed.values()
    assert odd.fault
    assert (odd.model + odd.version + odd.address + odd.fault).isprintable()
    with pytest.raises(RegistryError):
        s3.registry().fetch(odd, tmp_path / "into")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.server
def test_markers_of_folders_are_no_files(s3: BucketStore, tmp_path: Path) -> None:
    s3.put("net", {"data/w.pt": b"weights"})
    for marker in ("", "net/", "net/1/", "net/1/data/", "empty/"):
        key = f"{s3.root.partition('/')[2]}/{marker}"
        _s3().put_object(Bucket="models", Key=key, Body=b"")
    (version,) = _listed(s3).values()
    assert not version.fault
    folder = s3.registry().fetch(version, tmp_path / "into")
    assert (folder / "data" / "w.pt").read_bytes() == b"weights"


@pytest.mark.server
def test_more_objects_than_a_page_holds_are_all_listed(s3: BucketStore) -> None:
    """S3 lists a thousand at once."""
    for number in range(1100):
        s3.files.pipe_file(f"{s3.root}/net/{number}/w.pt", b"w")
    assert len(_listed(s3)) == 1100


@pytest.mark.server
def test_a_file_larger_than_a_block_is_fetched(s3: BucketStore, tmp_path: Path) -> None:
    content = os.urandom((8 << 20) + 17)
    s3.put("net", {"w.pt": content})
    (version,) = _listed(s3).values()
    assert (s3.registry().fetch(version, tmp_path) / "w.pt").read_bytes() == content


@pytest.mark.server
@pytest.mark.parametrize("address", ["s3://nowhere", "s3://models/nothing-here"])
def test_a_bucket_that_is_not_there_is_told(s3_address: str, address: str) -> None:
    with pytest.raises(RegistryError) as told:
        list(open_registry(address).versions())
    assert not told.value.passing


@pytest.mark.parametrize("store", ["memory", pytest.param("s3", marks=pytest.mark.server)])
@pytest.mark.parametrize("content", [b"WEIGHTS", b"longer weights"])
def test_an_overwritten_version_has_another_fingerprint(
    request: pytest.FixtureRequest, store: str, content: bytes
) -> None:
    found: BucketStore = request.getfixturevalue(store)
    found.put("net", {"w.pt": b"weights"})
    (before,) = _listed(found).values()
    found.files.pipe_file(f"{found.root}/net/1/w.pt", content)
    (after,) = _listed(found).values()
    assert after.fingerprint != before.fingerprint


def test_what_changes_while_it_is_read_is_told(memory: BucketStore, tmp_path: Path) -> None:
    """As many bytes as were listed come in, and no more."""
    memory.put("net", {"w.pt": b"weights"})
    (version,) = _listed(memory).values()
    registry: Any = memory.registry()
    listed = registry._store.find
    registry._store.find = lambda *args, **more: {
        name: {**each, "size": 3} for name, each in listed(*args, **more).items()
    }
    with pytest.raises(RegistryError, match="changed while it was read") as told:
        registry.fetch(version, tmp_path / "into")
    assert told.value.passing
    assert not list((tmp_path / "into").iterdir())


def test_a_prefix_that_may_not_be_listed_does_not_end_the_list(memory: BucketStore) -> None:
    for model in ("ours", "secret", "yours"):
        memory.put(model, {"w.pt": b"weights"})
    registry: Any = memory.registry()
    listed = registry._store.find

    def find(place: str, **more: Any) -> Any:
        if place.endswith("/secret"):
            raise PermissionError("Access Denied")
        return listed(place, **more)

    registry._store.find = find
    found = [(one.model, one.version, one.fault) for one in registry.versions()]
    assert [name for name, *_ in found] == ["ours", "secret", "yours"]
    assert found[1][1] == ""
    assert "cannot be listed" in found[1][2]
    assert "Access Denied" in found[1][2]
    assert (found[0][2], found[2][2]) == ("", "")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")


def _error(status: int, code: str) -> Answer:
    return status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("status", "code", "passing"),
    [(403, "AccessDenied", False), (403, "InvalidAccessKeyId", False), (404, "NoSuchBucket", False),
     (500, "InternalError", True), (503, "SlowDown", True)],
)  # fmt: skip
def test_what_s3_refuses_is_told(
    status: int, code: str, passing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stand_in(lambda *_: _error(status, code)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server)
        with pytest.raises(RegistryError) as told:
            list(open_registry("s3://models/x").versions())
    assert told.value.passing == passing
    assert str(told.value).isprintable()
    if status == 403:
        assert "AWS_PROFILE" in told.value.hint


@pytest.mark.usefixtures("keys")
def test_a_store_that_is_not_there_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in(lambda *_: (200, {})) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    with pytest.raises(RegistryError) as told:
        list(open_registry("s3://models/x").versions())
    assert told.value.passing
