"""A disk that really fills up while a version comes in: a small one, in a namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from servers import Answer, stand_in

_FETCH = """
import sys
from pathlib import Path
from gatekeeper.errors import RegistryError
from gatekeeper.registry import landing, open_registry

landing._free = lambda _: 1 << 40  # others fill the disk after the look at it
address, into = sys.argv[1], Path(sys.argv[2])
if address.startswith("memory"):
    import fsspec
    fsspec.filesystem("memory").pipe_file("/models/net/1/w.pt", b"x" * 1_000_000)
registry = open_registry(address)
(version,) = registry.versions()
try:
    registry.fetch(version, into)
except RegistryError as error:
    print(error, error.passing, error.hint, list(into.iterdir()), sep="|")
"""


@cache
def _possible() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _fetched(address: str, place: Path) -> str:
    if not _possible():
        pytest.skip("the kernel gives nobody a small disk of their own")
    words = 'mount -t tmpfs -o size=100k none "$1" && exec "$2" -c "$3" "$4" "$1"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", words, "sh", str(place), sys.executable, _FETCH, address],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "no space left" in done.stdout, done.stderr
    return done.stdout.strip()


def _promised(said: str) -> None:
    message, passing, hint, left = said.split("|")
    assert message.endswith("no space left in " + message.rpartition(" ")[2])
    assert (passing, left) == ("False", "[]")
    assert "TMPDIR" in hint


def test_from_a_bucket(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    _promised(_fetched("memory://models", tmp_path))


def test_from_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")

    def answer(method: str, path: str) -> Answer:
        if "/search" in path:
            version = {"name": "net", "version": "1", "source": "mlflow-artifacts:/1"}
            return 200, {"model_versions": [{**version, "status": "READY"}]}
        if "/get-download-uri" in path:
            return 200, {"artifact_uri": "mlflow-artifacts:/1/model"}
        if "/registered-models/get" in path:
            return 200, {"registered_model": {"name": "net"}}
        if "?path=" in path:
            return 200, {"files": [{"path": "w.pt", "is_dir": False, "file_size": 1_000_000}]}
        return (200, b"x" * 1_000_000) if "/mlflow-artifacts/" in path else (404, {})

    with stand_in(answer) as server:
        _promised(_fetched(f"mlflow:{server}", tmp_path))
