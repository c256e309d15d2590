"""The wheel carries all that the gate needs, and works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


def run(*words: str, cwd: Path, **more: str) -> str:
    environment = {**os.environ, **more}
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist as pip would."""
    out = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_policies_templates_and_the_flow(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    for policy in (ROOT / "policies").glob("*.yaml"):
        assert f"gatekeeper/_bundled/policies/{policy.name}" in names
    for template in (ROOT / "reports/templates").iterdir():
        assert f"gatekeeper/_bundled/reports/templates/{template.name}" in names
    assert "gatekeeper/_bundled/flows/gate.py" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]


def test_it_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    where = run("-c", "import gatekeeper; print(gatekeeper.__file__)", cwd=tmp_path,
                PYTHONPATH=str(site))  # fmt: skip
    assert where.startswith(str(site))
    shown = run("-m", "gatekeeper", "policy", "show", "strict", cwd=tmp_path, PYTHONPATH=str(site))
    assert "name: strict" in shown
    (tmp_path / "model.pt").write_bytes(b"<html>")
    code = (
        "from gatekeeper.pipeline import run; from gatekeeper.job import Job;"
        "print(run(Job(model='model.pt', out='run')).verdict.decision);"
        "from gatekeeper.flow_loader import load_flow; load_flow('gate'); load_flow('audit')"
    )
    assert run("-c", code, cwd=tmp_path, PYTHONPATH=str(site)).split() == ["undecided"]
    assert (tmp_path / "run/report.html").exists()
