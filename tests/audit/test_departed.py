"""What counts as gone: the registry's list must lack it twice, and must have been whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stores import FolderStore

from gatekeeper.audit.departed import departed
from gatekeeper.audit.settled import Settled
from gatekeeper.errors import RegistryError
from gatekeeper.ledger.entries import Seen
from gatekeeper.registry.interface import Outcome, Registry, Version


class PagedRegistry:
    """A folder registry whose list is read by position, one version a page, as MLflow's is."""

    def __init__(self, registry: Registry, between: Callable[[int], None]) -> None:
        self.address, self._registry, self._between = registry.address, registry, between

    def versions(self) -> Iterator[Version]:
        place = 0
        while place < len(now := list(self._registry.versions())):
            yield now[place]
            place += 1
            self._between(place)

    def fetch(self, version: Version, into: Path) -> Path:
        return self._registry.fetch(version, into)

    def publish(self, version: Version, outcome: Outcome) -> None:
        self._registry.publish(version, outcome)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "models")
    for model in ("a", "b", "c", "d"):
        store.put(model, {"model.pt": b"weights"})
    return store


def seen(model: str, *, gone: bool = False) -> Seen:
    return Seen(
        model=model, version="1", fingerprint="f", file="model.pt", artifact_sha256="0" * 64,
        card_sha256="", key="k", blocked="", decision="pass", accepted=True, reason="",
        since="2026-01-01", published="", gone=gone,
    )  # fmt: skip


def before(*models: str) -> dict[tuple[str, str], Seen]:
    return {(model, "1"): seen(model) for model in models}


def settled(registry: Registry) -> list[Settled]:
    return [Settled(version=version) for version in registry.versions()]


def test_what_two_lists_lack_is_gone(store: FolderStore) -> None:
    store.delete("c", "1")
    registry = store.registry()
    gone, trouble = departed(registry, before("a", "b", "c", "d"), settled(registry))
    assert ([one.model for one in gone], trouble) == (["c"], "")


def test_what_was_gone_before_is_not_gone_again(store: FolderStore) -> None:
    registry = store.registry()
    known = before("a") | {("z", "1"): seen("z", gone=True)}
    assert departed(registry, known, settled(registry)) == ([], "")


def test_what_a_list_passed_over_is_not_gone(store: FolderStore) -> None:
    def delete_the_first(place: int) -> None:
        if place == 2 and (store.root / "a/1").exists():
            store.delete("a", "1")

    registry = PagedRegistry(store.registry(), delete_the_first)
    found = settled(registry)
    assert [one.version.model for one in found] == [
        "a",
        "b",
        "d",
    ]  # c moved to a page that was read
    gone, trouble = departed(registry, before("a", "b", "c", "d"), found)
    assert gone == []
    assert "passed over 1 version(s), such as c/1" in trouble


def test_a_second_list_that_breaks_off_makes_nothing_gone(store: FolderStore) -> None:
    found = settled(store.registry())

    def fail(place: int) -> None:
        raise RegistryError("the server went away", hint="Start it.")

    gone, trouble = departed(PagedRegistry(store.registry(), fail), before("a", "z"), found)
    assert gone == []
    assert "broke off: the server went away" in trouble


def test_a_model_that_cannot_be_listed_loses_no_version(store: FolderStore) -> None:
    store.delete("b", "1")
    (store.root / "b").rmdir()
    (store.root / "b").symlink_to(store.root / "a")
    registry = store.registry()
    gone, trouble = departed(registry, before("a", "b", "z"), settled(registry))
    assert ([one.model for one in gone], trouble) == (["z"], "")
