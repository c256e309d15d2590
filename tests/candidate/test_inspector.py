"""One child looks at many files; what it says is checked, and its end is nobody else's."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from candidates import gatekeeper
from forged import checkpoint

from gatekeeper.candidate import sources
from gatekeeper.candidate.budget import Budget
from gatekeeper.candidate.extraction import extract
from gatekeeper.candidate.inspect import Inspection, Inspector
from gatekeeper.candidate.quarantine import Quarantine, lacking
from gatekeeper.candidate.refusals import QuarantineError
from gatekeeper.errors import CandidateError

LEAST = ("own process", "no inherited descriptors", "resource limits")
NO_FILES, NO_NETWORK = "no file can be opened (Landlock)", "no network (namespace)"
NO_CALLS = "no system call beyond its work (seccomp)"
RUNS = b"cos\nsystem\n(S'true'\ntR."
# Starts a command on a kernel that knows neither Landlock, nor seccomp, nor namespaces.
OLD_KERNEL = """
import errno, os, sys, pyseccomp
calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
for name in ("landlock_create_ruleset", "landlock_restrict_self", "seccomp", "unshare"):
    calls.add_rule(pyseccomp.ERRNO(errno.ENOSYS), name)
calls.add_rule(pyseccomp.ERRNO(errno.EINVAL), "prctl", pyseccomp.Arg(0, pyseccomp.EQ, 22))
calls.load()
os.execv(sys.executable, [sys.executable, "-m", "gatekeeper", *sys.argv[1:]])
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.save({"w": torch.ones(3)}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def on_an_old_kernel(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", OLD_KERNEL, *map(str, words)],
        capture_output=True, text=True, cwd=cwd, check=False,
    )  # fmt: skip


def test_below_the_least_nothing_is_sent_unless_that_is_accepted(
    model: Path, tmp_path: Path
) -> None:
    done = on_an_old_kernel("inspect", model, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "the quarantine is too weak here: it lacks no file can be opened" in done.stdout
    assert "accept_weak_quarantine" in done.stdout
    accepted = on_an_old_kernel("inspect", "--accept-weak-quarantine", model, cwd=tmp_path)
    assert accepted.returncode == 0
    assert accepted.stdout.startswith("clean")


def test_a_scan_on_such_a_kernel_is_undecided_and_says_what_was_in_force(
    model: Path, tmp_path: Path
) -> None:
    policy = "name: weak\nrequire: {clean_accuracy: {at_least: 0.5}}\n"
    for name, more in (("no", ""), ("yes", "accept_weak_quarantine: true\n")):
        (tmp_path / f"{name}.yaml").write_text(policy + more)
        done = on_an_old_kernel(
            "scan", model, "--policy", f"{name}.yaml", "--out", name, "--quiet", cwd=tmp_path
        )
        assert done.returncode == 3, done.stderr
        record = json.loads((tmp_path / name / "record.json").read_text())
        assert "resource limits" in record["quarantine"]["protections"]
        reasons = " ".join(record["verdict"]["reasons"])
        assert ("too weak here" in reasons) == (name == "no")
        assert (tmp_path / name / "weights.safetensors").exists() == (name == "yes")


@pytest.mark.parametrize(
    ("have", "lacks"),
    [
        (("own process",), "no inherited descriptors"),
        (LEAST, "no file can be opened (Landlock)"),
        ((*LEAST, NO_NETWORK), "no file can be opened (Landlock)"),
        ((*LEAST, NO_FILES), NO_NETWORK),  # it knows no UDP, and TCP only lately
        ((*LEAST, NO_FILES, "no new privileges"), NO_NETWORK),
    ],
)
def test_what_is_lacking_is_named(have: tuple[str, ...], lacks: str) -> None:
    assert lacks in lacking(have)
    assert not lacking((*LEAST, *have, NO_CALLS))
    assert not lacking((*LEAST, *have, NO_FILES, NO_NETWORK))


def test_a_child_that_looks_has_room_for_one_file_at_a_time(model: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.onnx"
    large.write_bytes(b"\x08\x08\x12\x01a")
    os.truncate(large, 3 << 30)
    with Quarantine("look") as child:
        for path in (model, large, model):
            with path.open("rb") as stream:
                child.send({}, stream)
            limit = resource.prlimit(child._process.pid, resource.RLIMIT_AS)[0]
            assert 2 * path.stat().st_size < limit < 2 * path.stat().st_size + (3 << 29)
            told = child.answer()
            assert told["kind"] == ("onnx" if path == large else "torch-zip")
            assert "memory" not in told["unreadable"]


def test_the_children_of_one_candidate_share_their_time(model: Path, tmp_path: Path) -> None:
    """What the look took, the parser no longer has."""
    with Inspector() as inspector, model.open("rb") as stream:
        os.kill(inspector.start()._process.pid, signal.SIGSTOP)  # answers no more
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gatekeeper.candidate.budget._SECONDS", 1.0)
            budget = Budget()
        seen = inspector.inspect_stream(stream, Path("model.pt"), budget=budget)
        assert "too long" in seen.unreadable
    # A parser that must have answered by now; whether one is that fast is chance.
    assert budget.begin(0) <= time.monotonic()
    with model.open("rb") as stream:
        extract(stream, "torch-zip", tmp_path / "out", budget=Budget())


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"kind": "torch-zip"},
        {"kind": 3, "findings": []},
        {"kind": "torch-zip", "findings": [{"rule_id": "code-execution"}]},
        {"kind": "torch-zip", "findings": [
            {"rule_id": "no-such-rule", "severity": "high", "message": "", "member": "",
             "offset": None}
        ]},
        {"kind": "torch-zip", "findings": [], "surprise": 1},
        {"kind": "torch-zip", "findings": [], "unreadable": "x" * 10_000},
        {"kind": "torch-zip", "findings": [], "members": "many"},
        {"kind": "torch-zip", "findings": [], "members": -5},
        {"kind": "\ud800", "findings": []},
        {"kind": "torch-zip", "findings": [
            {"rule_id": ["code-execution"], "severity": "high", "message": "", "member": "",
             "offset": None}
        ]},
    ],
)  # fmt: skip
def test_a_damaged_answer_is_no_clean_file(
    answer: dict[str, Any], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Quarantine.answer
    monkeypatch.setattr(Quarantine, "answer", lambda child: really(child) and answer)
    with Inspector() as inspector:
        seen = inspector.inspect(model)
    assert "answer is damaged" in seen.unreadable


def test_a_child_that_ended_is_replaced_and_its_file_is_unread(model: Path) -> None:
    with Inspector() as inspector:
        child = inspector.start()
        os.kill(child._process.pid, signal.SIGKILL)
        child._process.wait()
        assert inspector.inspect(model).unreadable == ""
        assert inspector.start() is not child
        os.kill(inspector.start()._process.pid, signal.SIGSTOP)  # answers no more
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gatekeeper.candidate.budget._SECONDS", 0.2)
            assert "took too long and was stopped" in inspector.inspect(model).unreadable
        assert inspector.inspect(model).unreadable == ""


def test_what_was_found_outlives_a_look_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack is told though what follows it keeps the child busy beyond its time."""
    (tmp_path / "slow.pkl").write_bytes(RUNS + b"\x80\x02" + b"N0" * 450_000 + b"N.")
    monkeypatch.setattr(sources, "sha256", lambda _: "0" * 64)
    with Inspector() as inspector:
        inspector.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gatekeeper.candidate.budget._SECONDS", 0.3)
            patch.setattr("gatekeeper.candidate.budget._BYTES_PER_SECOND", 1 << 60)
            stopped = inspector.inspect(tmp_path / "slow.pkl")
        whole = inspector.inspect(tmp_path / "slow.pkl")
    assert "took too long and was stopped" in stopped.unreadable
    assert [one.message for one in stopped.findings] == ["the pickle imports os.system"]
    assert stopped.findings == whole.findings


def test_files_shown_together_are_told_apart(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the child does not survive, one that is hostile, one too large, one not there."""
    (tmp_path / "slow.pkl").write_bytes(b"\x80\x02" + b"N0" * 450_000 + b"N.")
    (tmp_path / "runs.pt").write_bytes(checkpoint(RUNS))
    torch.save({"w": torch.ones(1 << 19)}, tmp_path / "large.pt")
    names = ["model.pt", "slow.pkl", "absent.pt", "runs.pt", "large.pt", "model.pt"]
    slow_size = (tmp_path / "slow.pkl").stat().st_size
    monkeypatch.setattr(
        Budget, "begin", lambda _, size: time.monotonic() + (0 if size == slow_size else 60)
    )
    with Inspector() as inspector:
        first = inspector.start()
        told = inspector.inspect_each([tmp_path / name for name in names])
        assert inspector.start() is not first
    clean, slow, absent, runs, large, again = told
    assert isinstance(absent, CandidateError)
    assert [one for one in told if isinstance(one, Exception)] == [absent]
    for one in (clean, large, again):
        assert isinstance(one, Inspection)
        assert (one.unreadable, one.findings) == ("", ())
        assert one.artifact.sha256 == sha256(Path(one.artifact.path).read_bytes()).hexdigest()
    assert isinstance(slow, Inspection)
    assert "took too long and was stopped" in slow.unreadable
    assert isinstance(runs, Inspection)
    assert [one.message for one in runs.findings] == ["the pickle imports os.system"]


@pytest.mark.parametrize("told", [[3], [{}], [{"rule_id": "no-such-rule"}], ["found"] * 9])
def test_what_no_honest_child_tells_early_is_not_believed(told: list[Any], model: Path) -> None:
    with Inspector() as inspector:
        child = inspector.start()
        lines = [json.dumps({"found": one}).encode() + b"\n" for one in told]
        child._left = b"".join([*lines, b"[]\n"])  # and an answer that is none
        seen = inspector.inspect(model)
    assert (seen.findings, seen.artifact.kind) == ((), "unreadable")
    assert "answer is damaged" in seen.unreadable


def test_many_files_are_told_one_by_one(tmp_path: Path) -> None:
    for number in range(40):
        content = checkpoint(RUNS) if number % 10 == 3 else checkpoint(b"\x80\x02}.")
        (tmp_path / f"{number:02}.pt").write_bytes(content)
    (tmp_path / "notes.txt").write_text("nothing")
    done = gatekeeper("inspect", ".", cwd=tmp_path)
    assert done.returncode == 1
    states = [line.split()[:2] for line in done.stdout.splitlines() if ".pt" in line]
    assert states == [
        ["blocked" if number % 10 == 3 else "clean", f"{number:02}.pt"] for number in range(40)
    ]
    assert "40 inspected: 4 blocked, 0 unreadable, 36 clean" in done.stdout
    assert "1 other file is no model, and was passed over" in done.stdout


def test_a_file_that_changes_meanwhile_is_not_clean(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(descriptor: int) -> str:
        model.write_bytes(checkpoint(b"\x80\x02K\x01."))
        return "0" * 64

    monkeypatch.setattr(sources, "sha256", late)
    with Inspector() as inspector, pytest.raises(CandidateError, match="changed while"):
        inspector.inspect(model)


def test_a_child_tells_nothing_of_a_file_it_was_not_sent(model: Path) -> None:
    with Quarantine("look") as child, model.open("rb") as stream:
        assert child.ask({}, stream)["kind"] == "torch-zip"
        with pytest.raises(QuarantineError, match="cannot be parsed"):
            child.ask({"surprise": 1}, stream)
        assert child.ask({}, stream)["kind"] == "torch-zip"
