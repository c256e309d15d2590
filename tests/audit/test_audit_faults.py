"""What happens to an audit: killed, out of disk, a scan killed, a version deleted; for real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from candidates import gatekeeper
from registries import audit, configure, hostile, judgements, put, rows, told

pytestmark = pytest.mark.slow
_PATIENCE = 120.0  # seconds


def until(holds: Callable[[], bool]) -> None:
    """Wait for what must come; fails where it does not."""
    wait, end = threading.Event(), time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not come"
        wait.wait(0.02)


def scans(folder: Path) -> list[int]:
    """Process numbers of the scans whose working folder is `folder`."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            here = (place / "cwd").resolve() == folder.resolve()
        except OSError:
            continue
        if b"gatekeeper.audit.child" in words and here and place.name.isdigit():
            found.append(int(place.name))
    return found


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gatekeeper", "audit", "models", "--config", "audit.yaml"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        put(tmp_path / "models", f"evil-{number}", "1", hostile(str(number)))
    configure(tmp_path)
    return tmp_path


def whole(folder: Path) -> None:
    """The next audit completes the work: every version, each digest judged once, nothing torn."""
    assert audit(folder).returncode == 1
    assert {row["decision"] for row in rows(folder).values()} == {"reject"}
    assert len(judgements(folder)) == 3
    out = folder / "gatekeeper-audit"
    assert not [name for name in os.listdir(out) if name.startswith(".")]  # noqa: PTH208 - names
    assert all((out / row["report"]).is_file() for row in rows(folder).values())
    assert audit(folder).returncode == 1
    assert told(folder)["judged"] == 0


def test_a_killed_scan_is_one_row_and_the_next_audit_goes_on(folder: Path) -> None:
    running = start(folder)
    until(lambda: bool(scans(folder)))
    os.kill(scans(folder)[0], signal.SIGKILL)
    said, _ = running.communicate(timeout=_PATIENCE)
    assert running.returncode == 1  # the others were judged, and rejected
    killed = [row for row in rows(folder).values() if "SIGKILL" in row["reason"]]
    assert [row["decision"] for row in killed] == ["undecided"]
    assert "Audit again" in said
    assert len(judgements(folder)) == 2
    whole(folder)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_audit_that_is_ended_leaves_no_scan_behind(folder: Path, sign: signal.Signals) -> None:
    with start(folder) as running:
        until(lambda: bool(scans(folder)))
        running.send_signal(sign)
        running.communicate(timeout=_PATIENCE)
    until(lambda: not scans(folder))
    if sign == signal.SIGINT:
        assert running.returncode == 130
    assert not (folder / "gatekeeper-audit/index.html").exists()
    whole(folder)


def test_a_version_that_goes_while_it_is_audited_is_one_row(folder: Path) -> None:
    with start(folder) as running:
        until(lambda: bool(scans(folder)))
        shutil.rmtree(folder / "models/evil-2")
        running.communicate(timeout=_PATIENCE)
    assert running.returncode == 1
    lost = rows(folder)["evil-2/1"]
    assert lost["decision"] == "undecided"
    assert lost["reason"]
    assert audit(folder).returncode == 1
    assert rows(folder)["evil-2/1"]["change"] == "gone"


def test_a_full_disk_loses_nothing(folder: Path) -> None:
    """On a disk of its own that is too small, then on the same after room was made."""
    disk = folder / "gatekeeper-audit"
    disk.mkdir()
    script = f"""
mount -t tmpfs -o size=600k tmpfs {disk} || exit 77
head -c 520000 /dev/zero > {disk}/ballast
{sys.executable} -m gatekeeper audit models --config audit.yaml; echo "first $?"
rm {disk}/ballast; mount -o remount,size=20m {disk}
{sys.executable} -m gatekeeper audit models --config audit.yaml > /dev/null; echo "second $?"
ls -A {disk}
"""
    done = subprocess.run(
        ["unshare", "--map-root-user", "--user", "--mount", "sh", "-c", script],
        capture_output=True, text=True, cwd=folder, check=False,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("needs a kernel that lets users mount a disk of their own")
    assert "first 3" in done.stdout, done.stdout + done.stderr
    assert "no space" in (done.stdout + done.stderr).lower() or "full" in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert "second 1" in done.stdout
    left = done.stdout.split("second 1")[1].split()
    assert {"audit.json", "index.html", "ledger.sqlite"} <= set(left)
    assert not [name for name in left if name.startswith(".index")]


def test_a_folder_that_cannot_be_written_is_told_at_once(folder: Path) -> None:
    (folder / "file").write_text("no folder")
    done = gatekeeper("audit", "models", "--out", "file/audit", cwd=folder)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
