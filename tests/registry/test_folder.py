"""Folders as they are found: links, pipes, odd names, loose files, and very many versions."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.errors import RegistryError
from gatekeeper.registry import Version, open_registry

ODD = [b"new\nline", b"\xff\xfe", "right\u202eleft".encode(), b"back\\slash", b"\x1b[31m", b"a\tb"]
# Any bytes that a file system takes as one name.
NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: not set(name) & {0, 0x2F} and name not in {b".", b".."}
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "registry").mkdir()
    return tmp_path / "registry"


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder to work in as somebody whom permissions stop."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        mine = os.geteuid()
        yield Path(place)
        os.seteuid(mine)
        for path in Path(place).glob("**/"):
            path.chmod(0o755)  # else nobody but root could remove them


def _put(folder: Path, name: str = "model.pt", content: bytes = b"weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def _listed(root: Path) -> list[Version]:
    return list(open_registry(str(root)).versions())


def _faults(root: Path) -> dict[tuple[str, str], str]:
    return {(each.model, each.version): each.fault for each in _listed(root)}


def test_depth_is_fixed_and_everything_below_belongs_to_the_version(root: Path) -> None:
    _put(root / "net" / "1" / "data" / "deep" / "er")
    _put(root / "net" / "1", "MLmodel")
    (version,) = _listed(root)
    assert (version.model, version.version, version.bytes) == ("net", "1", 14)


def test_order_is_that_of_names(root: Path) -> None:
    for name in ("b/2", "a/9", "b/1", ".hidden/1", "a/10"):
        _put(root / name)
    order = [f"{each.model}/{each.version}" for each in _listed(root)]
    assert order == [".hidden/1", "a/10", "a/9", "b/1", "b/2"]


def test_loose_files_are_told_where_to_go(root: Path) -> None:
    _put(root, "loose.pt")
    _put(root / "net", ".loose.pt")
    _put(root / "net" / "1")
    faults = _faults(root)
    assert "MODEL/VERSION/" in faults["loose.pt", ""]
    assert "MODEL/VERSION/" in faults["net", ".loose.pt"]
    assert faults["net", "1"] == ""


def test_an_empty_version_is_a_fault(root: Path) -> None:
    (root / "net" / "1" / "sub").mkdir(parents=True)
    assert "no file" in _faults(root)["net", "1"]


@pytest.mark.parametrize("place", ["net", "net/1", "net/1/model.pt", "net/1/sub/model.pt"])
@pytest.mark.parametrize("target", ["/etc/passwd", "/etc", "../../../outside", "nowhere", "/"])
def test_no_link_is_followed_out_of_the_registry(root: Path, place: str, target: str) -> None:
    _put(root.parent / "outside")
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).symlink_to(target)
    (version,) = _listed(root)
    assert version.fault
    with pytest.raises(RegistryError):
        open_registry(str(root)).fetch(version, root.parent / "into")


def test_a_link_to_a_file_of_the_registry_is_its_file(root: Path) -> None:
    shared = _put(root / "shared" / "1")
    (root / "net" / "1").mkdir(parents=True)
    (root / "net" / "1" / "model.pt").symlink_to("../../shared/1/model.pt")
    before = {each.model: each for each in _listed(root)}
    assert not before["net"].fault
    shared.write_bytes(b"other weights")
    assert {each.model: each for each in _listed(root)}["net"] != before["net"]


def test_links_in_a_circle_are_a_fault(root: Path) -> None:
    (root / "net" / "1").mkdir(parents=True)
    (root / "net" / "1" / "a").symlink_to("b")
    (root / "net" / "1" / "b").symlink_to("a")
    (root / "net" / "2").symlink_to(".")
    assert all(_faults(root).values())


@pytest.mark.parametrize("place", ["pipe", "net/pipe", "net/1/pipe"])
def test_a_pipe_is_a_fault_and_is_not_opened(root: Path, place: str) -> None:
    """Opening it would wait for ever."""
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(root / place)
    assert all(_faults(root).values())


def test_what_may_not_be_read_is_one_row_and_the_others_go_on(unprivileged: Path) -> None:
    for name in ("net/1", "net/2", "shut/1", "zoo/1"):
        _put(unprivileged / name)
    (unprivileged / "net" / "1").chmod(0)
    (unprivileged / "shut").chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    faults = _faults(unprivileged)
    assert "Permission denied" in faults["net", "1"]
    assert "Permission denied" in faults["shut", ""]
    assert faults["net", "2"] == faults["zoo", "1"] == ""


def test_a_tree_deeper_than_paths_may_be_is_a_fault(root: Path) -> None:
    _put(root / "net" / "2")
    (root / "net" / "1").mkdir()
    above = os.open(root / "net" / "1", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=above)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)
    faults = _faults(root)
    assert "too long" in faults["net", "1"]
    assert faults["net", "2"] == ""


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_shown_harmlessly_and_found_again(root: Path, name: bytes) -> None:
    odd = os.fsdecode(name)
    folder = _put(root / odd / odd, odd).parent
    registry = open_registry(str(root))
    (version,) = registry.versions()
    assert not version.fault
    assert version.model.isprintable()
    json.dumps(asdict(version), ensure_ascii=False).encode()
    assert registry.fetch(version, root.parent / "into") == folder


def test_what_is_shown_of_an_odd_name_names_nothing_else(root: Path) -> None:
    """A folder that is named as an odd one is shown would otherwise be judged in its place."""
    _put(root / "net" / "a\nb")
    (odd,) = _listed(root)
    _put(root / "net" / odd.version, content=b"another")
    shown = {each.version: each for each in _listed(root)}
    assert len(shown) == 2
    registry = open_registry(str(root))
    assert registry.fetch(shown[odd.version], root).name == "a\nb"


@given(names=st.sets(NAMES, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_every_name_that_a_file_system_takes_is_listed_apart(names: set[bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        odd = [os.fsdecode(name) for name in names]
        made = {_put(Path(place, "net", name), name).parent for name in odd}
        registry = open_registry(place)
        found = list(registry.versions())
        assert not any(each.fault for each in found)
        assert len({(each.model, each.version) for each in found}) == len(names)
        assert all(each.version.isprintable() and "/" not in each.version for each in found)
        json.dumps([asdict(each) for each in found], ensure_ascii=False).encode()
        assert {registry.fetch(each, Path(place)) for each in found} == made


@pytest.mark.parametrize("change", ["content", "same size", "touched", "added", "renamed", "mode"])
def test_a_changed_version_has_another_fingerprint(root: Path, change: str) -> None:
    path = _put(root / "net" / "1")
    seen = path.stat()
    (before,) = _listed(root)
    if change == "content":
        path.write_bytes(b"other weights")
    elif change == "same size":  # with its times put back, as a careful attacker would
        other = _put(root / "net" / "1", "other", b"WEIGHTS")
        other.replace(path)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    elif change == "touched":
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1))
    elif change == "added":
        _put(path.parent, "more.pt")
    elif change == "renamed":
        path.rename(path.with_name("renamed.pt"))
    else:
        path.chmod(stat.S_IRUSR)
    (after,) = _listed(root)
    assert after.fingerprint != before.fingerprint


def test_a_version_with_a_fault_by_now_is_not_fetched(root: Path) -> None:
    path = _put(root / "net" / "1")
    (version,) = _listed(root)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(RegistryError, match="leads out of the registry"):
        open_registry(str(root)).fetch(version, root)


def test_memory_does_not_grow_with_the_number_of_models(root: Path) -> None:
    for model in range(200):
        for version in range(100):
            (root / str(model) / str(version)).mkdir(parents=True)
            (root / str(model) / str(version) / "w").touch()
    tracemalloc.start()
    count = sum(1 for _ in open_registry(str(root)).versions())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 1_000_000
