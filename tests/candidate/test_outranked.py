"""A finding outranks an error: what breaks off a look takes nothing back that was seen."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from forged import HARMLESS, PAYLOAD, checkpoint

from gatekeeper.candidate import sources
from gatekeeper.candidate.inspect import Inspector

# Gives every process less memory for data than the second member inflates to.
POOR = """
import resource
from gatekeeper.cli import start
resource.setrlimit(resource.RLIMIT_DATA, (60 << 20, 60 << 20))
start()
"""


def archive_of(first: bytes) -> bytes:
    """Put a member of 40 MB behind `first`; it inflates by no more than honest ones do."""
    noise, out = random.Random(0).randbytes(1 << 16), io.BytesIO()
    blocks = b"".join(noise[at : at + 512] * 6 for at in range(0, len(noise), 512))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", first)
        archive.writestr("m/notes", blocks * 105)
    return out.getvalue()


@pytest.mark.parametrize(("first", "code"), [(PAYLOAD + b".", 1), (HARMLESS, 3)])
def test_a_payload_before_what_breaks_the_look_is_still_blocked(
    first: bytes, code: int, tmp_path: Path
) -> None:
    (tmp_path / "m.pt").write_bytes(archive_of(first))
    words = [sys.executable, "-c", POOR, "inspect", "m.pt", "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "needs more memory than the quarantine gives" in done.stdout
    assert ("imports os.system" in done.stdout) == (code == 1)


def test_a_file_that_changes_meanwhile_keeps_its_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(checkpoint(PAYLOAD + b"."))
    really = sources.sha256

    def late(descriptor: int) -> str:
        path.touch()
        return really(descriptor)

    monkeypatch.setattr(sources, "sha256", late)
    with Inspector() as inspector:
        seen = inspector.inspect(path)
    assert seen.findings
    assert "changed while" in seen.unreadable
