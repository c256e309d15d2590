"""The lines of `gatekeeper inspect`: each says a thing once, as a sentence, and is short."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
from candidates import gatekeeper

LONG = b"x" * 1_000_000
SPACED = b"x y " * 250_000


def test_a_question_ends_in_one_sign(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("m/data.pkl", bytes(300 << 20))
    for command in ("inspect", "scan"):
        done = gatekeeper(command, "bomb.pt", cwd=tmp_path)
        assert done.returncode == 3
        assert "a zip bomb? If you trust it, save it again without" in done.stdout


def test_a_path_stands_once_on_its_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    done = gatekeeper("inspect", "pipe.pt", "loop.pt", "none.pt", cwd=tmp_path)
    pipe, loop, none, _ = done.stdout.splitlines()
    assert pipe.startswith("unreadable pipe.pt: is a pipe, socket or device, not a file. Give")
    assert loop.startswith("unreadable loop.pt: cannot open it: Too many levels")
    assert none.startswith("unreadable none.pt: cannot open it: No such file or directory. Check")


@pytest.mark.parametrize("name", [LONG, SPACED])
def test_a_name_of_a_megabyte_is_cut_on_lines_and_whole_in_json(
    name: bytes, tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x02cmynets.a" + name + b"\nNet\n)\x81.")
    lines = gatekeeper("inspect", "model.pt", cwd=tmp_path).stdout
    (finding,) = [line for line in lines.splitlines() if "mynets" in line]
    assert "imports mynets.ax" in finding
    assert " ... " in finding
    assert finding.endswith("[byte 2]")
    assert len(finding) < 320
    told = json.loads(gatekeeper("inspect", "model.pt", "--format", "json", cwd=tmp_path).stdout)
    assert len(told["files"][0]["findings"][0]["message"]) == 2000
