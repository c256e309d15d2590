"""A resumed directory never shows the verdict of another run, and keeps no failure."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from candidates import plain_policy, save_candidate, save_images
from safetensors.torch import save_file

from gatekeeper import pipeline
from gatekeeper.candidate import quarantine
from gatekeeper.errors import DataError, RunDirectoryError, UsageError
from gatekeeper.job import Job
from gatekeeper.model import Images, Model
from gatekeeper.pipeline import PUBLISHED, STEPS, begin, run, take
from gatekeeper.rundir import RunDirectory
from gatekeeper.steps.workshop import Workshop


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    torch.save({"strange.weight": torch.ones(3, 3)}, tmp_path / "model.pt")
    return Job(model=str(tmp_path / "model.pt"), out=str(tmp_path / "run"), device="cpu")


@pytest.fixture
def passed(job: Job) -> Path:
    """A finished run; the artifact that a PASS leaves is put there by hand."""
    run(job)
    (Path(job.out) / "hardened.onnx").write_bytes(b"network")
    return Path(job.out)


def test_the_run_of_another_candidate_is_refused(job: Job, passed: Path, tmp_path: Path) -> None:
    kept = {entry.name: entry.read_bytes() for entry in passed.iterdir()}
    (tmp_path / "other").mkdir()
    torch.save({"other.weight": torch.ones(2)}, tmp_path / "other/model.pt")
    other = replace(job, model=str(tmp_path / "other/model.pt"))
    with pytest.raises(UsageError, match="run of another candidate"):
        run(other, resume=True)
    assert {entry.name: entry.read_bytes() for entry in passed.iterdir()} == kept
    moved = tmp_path / "other/moved.pt"
    moved.write_bytes(Path(job.model).read_bytes())
    told: list[str] = []
    run(replace(job, model=str(moved)), resume=True, tell=told.append)
    assert any("differs from the earlier run's (model)" in line for line in told)


def test_a_resumed_run_that_is_none_is_told(job: Job) -> None:
    told: list[str] = []
    run(job, resume=True, tell=told.append)
    assert any("holds no run to resume" in line for line in told)


def killed(_: Workshop) -> list[str]:
    raise Killed


@pytest.mark.parametrize("step", list(STEPS)[:-1])
def test_no_verdict_outlives_a_step_that_is_taken_again(
    step: str, job: Job, passed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunDirectory.open(passed, resume=True) as room:
        earlier = room.state()
        (passed / f"{step}-left.bin").write_bytes(b"of the other candidate")
        room.finish(step, key="other", files=[f"{step}-left.bin"], seconds=0, notes={})
        monkeypatch.setitem(STEPS, step, killed)
        work = begin(job, room, lambda _: None)
        with pytest.raises(Killed):
            take(step, work)
        left = {entry.name for entry in passed.iterdir()}
        assert not left & {*PUBLISHED, f"{step}-left.bin"}
        later = list(STEPS)[list(STEPS).index(step) :]
        assert not left & {name for s in later[1:] for name in earlier[s].files}
        assert not set(later) & set(room.state())


def test_no_verdict_outlives_a_failure_to_begin_a_step(
    job: Job, passed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(*_: object) -> str:
        message = "the images are gone"
        raise DataError(message)

    monkeypatch.setattr(pipeline, "_key", no_data)
    with pytest.raises(DataError):
        run(job, resume=True)
    assert not [name for name in PUBLISHED if (passed / name).exists()]
    assert (passed / "candidate.json").exists()  # the work is kept, the verdict is not


def test_forgetting_stays_inside_the_directory(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with RunDirectory.open(tmp_path / "run", resume=False) as room:
        room.finish("read", key="k", files=["../precious"], seconds=0, notes={})
        room.forget(["read"])
    assert precious.exists()


def test_a_step_with_an_error_is_taken_again(job: Job) -> None:
    """No card fits, which a card beside the candidate or more memory may have mended since."""
    run(job)
    told: list[str] = []
    run(job, resume=True, tell=told.append)
    assert "read" in told
    assert "read: kept from the earlier run" not in told


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_a_failing_machine_says_nothing_about_the_candidate(
    code: int, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"environment": errno.errorcode[code]}
    monkeypatch.setattr(quarantine.Quarantine, "_answer", answering(answer))
    with pytest.raises(RunDirectoryError, match="the machine failed"):
        run(job)
    assert "read" not in RunDirectory(Path(job.out)).state()
    monkeypatch.undo()
    assert "no known one" in run(job, resume=True).verdict.reasons[0]


def answering(told: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Let a child that parses answer so, in the place of what it would have."""
    really = quarantine.Quarantine._answer

    def answer(child: quarantine.Quarantine, until: float) -> dict[str, Any]:
        answered = really(child, until)
        return told if "prefix" in answered else answered

    return answer


OWN = "import torch\ndef make(num_classes):\n    return {network}\n"
FLAT = "torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, num_classes))"


@pytest.fixture
def own(tmp_path: Path) -> Job:
    """A candidate of the operator's own architecture."""
    torch.manual_seed(0)
    save_file({"1.weight": torch.randn(2, 48), "1.bias": torch.zeros(2)}, tmp_path / "m.bin")
    (tmp_path / "nets.py").write_text(OWN.format(network=FLAT))
    (tmp_path / "card.yaml").write_text(
        "architecture: nets.py:make\nnum_classes: 2\n"
        "input: { size: [3, 4, 4], mean: [0, 0, 0], std: [1, 1, 1] }\n"
    )
    job = Job(model=str(tmp_path / "m.bin"), out=str(tmp_path / "run"), device="cpu")
    return replace(job, card=str(tmp_path / "card.yaml"))


def taken(job: Job) -> bool:
    told: list[str] = []
    run(job, resume=True, tell=told.append)
    return "read" in told


def test_the_operators_own_code_is_an_input(own: Job, tmp_path: Path) -> None:
    run(own)
    assert not taken(own)
    (tmp_path / "nets.py").write_text(OWN.format(network=FLAT) + "# mended\n")
    assert taken(own)


@pytest.mark.parametrize("damage", ["a tensor beyond its storage", "an unknown structure"])
def test_protections_are_told_also_where_the_file_was_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "malformed" if damage.startswith("a tensor") else "unsupported"
    monkeypatch.setattr(quarantine.Quarantine, "_answer", answering({kind: damage}))
    torch.save({"w": torch.ones(1)}, tmp_path / "model.pt")
    record = run(Job(model=str(tmp_path / "model.pt"), out=str(tmp_path / "run"), device="cpu"))
    assert "own process" in record.quarantine.protections
    assert damage in " ".join(record.verdict.reasons)


def test_two_that_begin_at_once_do_not_share_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run locks, writes and ends between our look at the directory and our lock."""
    from gatekeeper import rundir

    def late(lock: object, how: int, really: Callable[..., None] = rundir.fcntl.flock) -> None:
        (tmp_path / ".state.json").write_text("{}")
        (tmp_path / "record.json").write_text("theirs")
        really(lock, how)

    monkeypatch.setattr(rundir.fcntl, "flock", late)
    with (
        pytest.raises(rundir.UsageError, match="not empty"),
        RunDirectory.open(tmp_path, resume=False),
    ):
        pass
    assert (tmp_path / "record.json").read_text() == "theirs"


def test_a_mistake_leaves_no_directory_behind_and_the_next_try_fits(
    backdoored: Model, held_out: Images, tmp_path: Path
) -> None:
    model = save_candidate(backdoored, tmp_path / "candidate")
    data = save_images(held_out.select(held_out.labels < 0), tmp_path / "empty.npz")
    policy = str(plain_policy(tmp_path, "ci"))
    job = Job(model=str(model), out=str(tmp_path / "run"), data=str(data), policy=policy)
    with pytest.raises(DataError):
        run(job)
    assert not (tmp_path / "run").exists()
    good = save_images(held_out, tmp_path / "clean.npz")
    assert run(replace(job, data=str(good))).verdict.decision
    # What an earlier run left is not the mistake's to take.
    before = {entry.name for entry in (tmp_path / "run").iterdir()}
    with pytest.raises(DataError):
        run(job, resume=True)
    assert "candidate.json" in {entry.name for entry in (tmp_path / "run").iterdir()} & before


def test_another_order_in_the_same_directory_is_told(job: Job, passed: Path) -> None:
    told: list[str] = []
    run(replace(job, seed=5), resume=True, tell=told.append)
    assert any("differs from the earlier run's" in line for line in told)
