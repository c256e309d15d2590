"""The command line without a candidate: help, rules, policies, imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


def gatekeeper(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gatekeeper", *words], capture_output=True, text=True, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    loaded = python("import sys, gatekeeper.cli; print(*sys.modules)").split()
    heavy = {"torch", "prefect", "onnx", "onnxruntime", "mlflow", "pydantic", "numpy", "rich"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize(
    "words", [[], ["scan"], ["inspect"], ["report"], ["policy"], ["rules"], ["demo"]]
)
def test_every_command_explains_itself(words: list[str]) -> None:
    result = gatekeeper(*words, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout


def test_readme_shows_the_real_help() -> None:
    shown = gatekeeper("scan", "--help").stdout
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert shown.strip() in readme


@pytest.mark.parametrize("name", ["default", "strict", "ci", "one-shot"])
def test_shipped_policies_are_well_formed(name: str) -> None:
    assert gatekeeper("policy", "check", name).returncode == 0
    assert f"name: {name}" in gatekeeper("policy", "show", name).stdout


def test_rules_explain_themselves() -> None:
    listed = gatekeeper("rules").stdout.split()
    assert "code-execution" in listed
    assert "Remedy" in gatekeeper("rules", "code-execution").stdout


def test_an_internal_error_is_one_line_and_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gatekeeper import cli

    def burst(**_: object) -> int:
        message = "burst"
        raise RuntimeError(message)

    monkeypatch.setattr(cli.cli, "main", burst)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 3
    shown = capsys.readouterr().err
    assert "internal error" in shown
    assert "Traceback" not in shown
    Path(shown.split(" with ")[1].strip()).unlink()


def test_inspect_exit_codes(tmp_path: Path) -> None:
    import torch

    good, bad, odd = tmp_path / "good", tmp_path / "bad", tmp_path / "odd"
    for folder in (good, bad, odd):
        folder.mkdir()
    torch.save({"w": torch.ones(2)}, good / "a.pt")
    (bad / "a.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    (odd / "a.pt").write_bytes(b"")
    assert gatekeeper("inspect", str(good)).returncode == 0
    assert gatekeeper("inspect", str(bad), str(odd)).returncode == 1
    assert gatekeeper("inspect", str(odd), str(good)).returncode == 3
    assert "os.system" in gatekeeper("inspect", str(bad)).stdout
