"""`gatekeeper inspect`: what was passed over is named, and no trouble takes the others along."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from candidates import gatekeeper

from gatekeeper.candidate.inspect import Inspector
from gatekeeper.errors import CandidateError, RunDirectoryError

POOR = """
import resource, sys
from gatekeeper.cli import start
bound = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (bound, bound))
start()
"""
RUNS = b"cos\nsystem\n(S'true'\ntR."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One good model beside 130 notes."""
    torch.save({"w": torch.ones(3)}, tmp_path / "model.pt")
    for number in range(130):
        (tmp_path / f"note-{number:03}.txt").write_text("nothing", encoding="utf-8")
    return tmp_path


def test_what_was_passed_over_is_named_in_every_format(folder: Path) -> None:
    text, document, log = (
        gatekeeper("inspect", ".", "--format", form, cwd=folder)
        for form in ("text", "json", "sarif")
    )
    assert {text.returncode, document.returncode, log.returncode} == {0}
    assert "130 other files are no models, and were passed over: note-000.txt, " in text.stdout
    assert "note-019.txt and 110 more" in text.stdout
    told = json.loads(document.stdout)
    assert [file["path"] for file in told["files"]] == ["model.pt"]
    assert told["passed_over"]["count"] == 130
    assert told["passed_over"]["named"] == [f"note-{n:03}.txt" for n in range(100)]
    assert told["exit_code"] == 0
    (run,) = json.loads(log.stdout)["runs"]
    assert run["properties"]["passedOver"] == 130
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert "note-099.txt and 30 more" in note["message"]["text"]


def test_what_is_named_like_a_model_is_never_passed_over(folder: Path) -> None:
    """Formats that the gate does not know are still models: other people load them."""
    suffixes = [
        "gguf",
        "tflite",
        "msgpack",
        "mlmodel",
        "ckpt",
        "pth",
        "bin",
        "h5",
        "pb",
        "keras",
        "joblib",
        "pkl",
        "dill",
        "PT",
    ]
    for suffix in suffixes:
        (folder / f"other.{suffix}").write_bytes(b"GGUF or something else")
    done = gatekeeper("inspect", ".", "--format", "json", cwd=folder)
    assert done.returncode == 3
    told = json.loads(done.stdout)
    states = {file["path"]: file["state"] for file in told["files"]}
    assert states == {
        "model.pt": "clean", **{f"other.{suffix}": "unreadable" for suffix in suffixes}
    }  # fmt: skip
    assert told["passed_over"]["count"] == 130


@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_a_folder_without_models_beside_a_good_file_is_not_clean(form: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "a\x1b[31m.txt").write_text("nothing", encoding="utf-8")
    done = gatekeeper("inspect", "model.pt", "empty", "notes", "--format", form, cwd=folder)
    assert done.returncode == 3
    assert done.stdout.count("nothing was checked: this folder holds no model") == 2
    assert "\x1b" not in done.stdout
    assert "a" in done.stdout
    blocked = folder / "empty" / "bad.pt"
    blocked.write_bytes(RUNS)
    assert gatekeeper("inspect", "empty", "notes", cwd=folder).returncode == 1


@pytest.mark.parametrize("bound", [5, 6, 7, 8, 9, 10, 12, 14])
def test_a_machine_without_descriptors_is_told_in_a_line_a_file(bound: int, tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt", "c.pt"):
        torch.save({"w": torch.ones(3)}, tmp_path / name)
    words = [sys.executable, "-c", POOR, str(bound), "inspect", "a.pt", "b.pt", "c.pt"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (0, 3), done.stderr
    if done.returncode == 3:
        assert all(name in done.stdout for name in ("a.pt", "b.pt", "c.pt"))
        assert "Too many open files" in done.stdout
        assert "--resume" not in done.stdout + done.stderr


def test_a_stream_on_such_a_machine_is_an_error_of_ours(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (folder / "model.pt").open("rb") as stream, Inspector() as inspector:
        inspector.start()
        resource.setrlimit(resource.RLIMIT_NOFILE, (stream.fileno(), hard))
        try:
            with pytest.raises(RunDirectoryError, match="Too many open files") as told:
                inspector.inspect_stream(stream, Path("model.pt"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert told.value.exit_code == 3
        assert inspector.inspect_stream(stream, Path("model.pt")).artifact.kind == "torch-zip"


def test_a_file_that_cannot_be_read_leaves_no_answer_behind(folder: Path) -> None:
    """Its late answer would be taken for that about the next file."""
    unread = Path("/sys/class/net/lo/speed")  # a file of 4,096 bytes, none of which can be read
    if not unread.exists():
        pytest.skip("no such file on this machine")
    with Inspector() as inspector:
        with pytest.raises(CandidateError, match="Invalid argument"):
            inspector.inspect(unread)
        (folder / "bad.pt").write_bytes(RUNS)
        assert inspector.inspect(folder / "bad.pt").findings
        assert not inspector.inspect(folder / "model.pt").findings


def test_an_interrupted_inspection_names_no_option_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.touch()
    os.truncate(path, 20 << 30)  # without blocks; to digest it takes long enough
    words = [sys.executable, "-m", "gatekeeper", "inspect", str(path)]
    with subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever started the tests in the background may have had it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        pause = threading.Event()
        while not has_child(running.pid) and running.poll() is None:
            pause.wait(0.01)
        running.send_signal(signal.SIGINT)
        try:
            _, told = running.communicate(timeout=120)
        finally:
            running.kill()  # or it would be waited for until all is digested
    assert running.returncode == 130
    assert told.strip() == "Interrupted; nothing was left half-written."


def has_child(process: int) -> bool:
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return any(task.read_text(encoding="ascii").strip() for task in tasks)
