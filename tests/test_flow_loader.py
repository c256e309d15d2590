"""What the flow is loaded with holds for every child that Prefect starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHILD = """
import os, subprocess, sys
from gatekeeper.flow_loader import load_flow
load_flow("gate")
subprocess.run([sys.executable, "-m", "stranger"], cwd=sys.argv[1])
"""


def test_prefects_server_imports_nothing_from_the_working_folder(tmp_path: Path) -> None:
    """It is started as `python -m uvicorn`, perhaps in a stranger's repository."""
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "No module named stranger" in done.stderr
    assert not (tmp_path / "ran").exists()
