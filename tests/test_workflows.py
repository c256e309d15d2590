"""The workflows pin what they run, and no input reaches a shell as text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOWS = Path(__file__).resolve().parent.parent / ".github/workflows"


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yml")), ids=lambda path: path.name)
def test_actions_are_pinned_and_scripts_hold_no_expression(path: Path) -> None:
    for step in steps(path):
        assert "${{" not in step.get("run", "")
        assert re.search(r"@[0-9a-f]{40}$", step.get("uses", "x@" + "0" * 40))


def test_the_gate_is_installed_from_its_own_checkout() -> None:
    """The workflow is copied into a repository that holds a model, not the gate."""
    taken = steps(WORKFLOWS / "prerelease.yml")
    (gate,) = [step["with"] for step in taken if step.get("with", {}).get("path") == "gate"]
    assert gate["ref"]
    assert gate["repository"]
    installs = [step["run"] for step in taken if "pip install" in step.get("run", "")]
    assert installs == ["python -m pip install -c gate/constraints.txt ./gate"]
