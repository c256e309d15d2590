"""What is wrong gets one clear line, the right exit code, and loses nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from candidates import gatekeeper, plain_policy, save_candidate, save_images
from PIL import Image

from gatekeeper.job import Job
from gatekeeper.model import Images, Model
from gatekeeper.pipeline import run

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, backdoored: Model) -> Path:
    return save_candidate(backdoored, tmp_path_factory.mktemp("candidate"))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"x", "byte"),
        (bytes(range(255, 0, -1)) * 9, "no kind of model"),
        (b"<html><body>404</body></html>", "HTML"),
        (PNG, "PNG"),
        (LFS, "git lfs pull"),
    ],
)
def test_what_is_no_model_is_undecided(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    record = run(Job(model=str(tmp_path / "model.pt"), out=str(tmp_path / "run"), policy="default"))
    assert record.verdict.decision == "undecided"
    assert word.lower() in record.verdict.reasons[0].lower()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--policy", "nonsense"], "nonsense"),
        (["--data", "nowhere"], "nowhere"),
        (["--card", "nowhere.yaml"], "nowhere.yaml"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "warp"], "warp"),
        (["--purify", "magic"], "magic"),
        (["--seed", "-1"], "seed"),
        (["--out", __file__], "is no folder"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    tmp_path: Path, model: Path, words: list[str], told: str
) -> None:
    result = gatekeeper("scan", model, *words, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was begun


@pytest.mark.parametrize(
    "words", [["scan"], ["policy", "check", "no.yaml"], ["rules", "no-rule"], ["report", "no.json"]]
)
def test_other_commands_refuse_in_the_same_way(tmp_path: Path, words: list[str]) -> None:
    result = gatekeeper(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def class_folders(root: Path, count: int) -> Path:
    """Ten images of noise in each of `count` class folders."""
    chance = np.random.default_rng(0)
    for label in range(count):
        folder = root / str(label)
        folder.mkdir(parents=True)
        for index in range(10):
            noise = chance.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{index}.png")
    return root


def break_nothing(root: Path) -> None:
    assert root.is_dir()


def truncate(root: Path) -> None:
    file = root / "3/4.png"
    file.write_bytes(file.read_bytes()[:40])


def enlarge(root: Path) -> None:
    Image.new("1", (32_000, 2_500)).save(root / "3/4.png")


def replace_by_folder(root: Path) -> None:
    (root / "3/4.png").unlink()
    (root / "3/4.png").mkdir()


@pytest.mark.parametrize(
    ("count", "damage", "told"),
    [
        (9, break_nothing, "9"),
        (0, break_nothing, "0 class folder"),
        (1, break_nothing, "1 class folder"),
        (10, truncate, "3/4.png"),
        (10, enlarge, "3/4.png"),
        (10, replace_by_folder, "3/4.png"),
    ],
)
def test_bad_clean_images_are_named(
    tmp_path: Path, model: Path, count: int, damage: object, told: str
) -> None:
    (tmp_path / "clean").mkdir()
    class_folders(tmp_path / "clean", count)
    damage(tmp_path / "clean")  # type: ignore[operator]
    result = gatekeeper("scan", model, "--data", "clean", "--out", "run", cwd=tmp_path)
    assert result.returncode == 2, result.stdout + result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_too_few_images_for_the_policy_are_counted(
    tmp_path: Path, model: Path, held_out: Images
) -> None:
    few = save_images(held_out.select(torch.arange(60)), tmp_path / "few.npz")
    out = tmp_path / "run"
    policy = str(plain_policy(tmp_path, "ci"))
    record = run(Job(model=str(model), out=str(out), data=str(few), policy=policy))
    assert record.verdict.decision in ("reject", "undecided")
    assert any("held-out images, at least 500 needed" in c.message for c in record.checks)
    assert not (out / "hardened.onnx").exists()


def test_an_occupied_directory_is_not_touched(tmp_path: Path, model: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").write_text("mine")
    for extra in ([], ["--resume"]):
        result = gatekeeper("scan", model, "--out", "out", *extra, cwd=tmp_path)
        assert result.returncode in (2, 3)
        assert "out" in result.stderr
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_a_directory_that_cannot_be_written_is_said_so(tmp_path: Path, model: Path) -> None:
    result = gatekeeper("scan", model, "--out", "/proc/gatekeeper", cwd=tmp_path)
    assert result.returncode == 3
    assert "/proc/gatekeeper" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_leaves_no_torn_file(tmp_path: Path, model: Path, held_out: Images) -> None:
    data = save_images(held_out, tmp_path / "clean.npz")
    words = [sys.executable, "-m", "gatekeeper", "scan", str(model), "--data", str(data)]

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    result = subprocess.run(
        [*words, "--policy", "ci", "--out", "run"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        preexec_fn=small_disk,
        check=False,
    )
    assert result.returncode == 3, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    left = {entry.name for entry in (tmp_path / "run").iterdir()}
    assert not left & {"weights.safetensors", "hardened.onnx", "record.json"}
    assert not [name for name in left if name.endswith(".partial")]
