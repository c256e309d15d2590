"""The quarantine child can do nothing but answer, and its end is never ours."""

from __future__ import annotations

import ctypes
import errno
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forged import HARMLESS, checkpoint

import gatekeeper
from gatekeeper.candidate import budget, child, confinement, quarantine
from gatekeeper.candidate.duties import ENVIRONMENT
from gatekeeper.candidate.extraction import Extraction, extract
from gatekeeper.errors import CandidateError, GatekeeperError, RunDirectoryError

CHILD = Path(quarantine.__file__).with_name("child.py")
# Tries, one after the other, what a parser that fell into strange hands might try.
ESCAPE = """
import fcntl, os, resource, signal, socket, subprocess, sys, threading
from gatekeeper.candidate.confinement import confine
protections = confine(1000)
def tries(what, *words):
    try:
        what(*words)
    except (OSError, RuntimeError, ValueError):
        return "refused"
    return "done"
print(tries(open, "/etc/passwd"), tries(open, sys.argv[1], "w"), tries(os.listdir, "/"),
      tries(os.unlink, sys.argv[2]), tries(socket.create_connection, ("127.0.0.1", 9), 1),
      tries(socket.socket), tries(os.fork), tries(os.execv, "/bin/true", ["true"]),
      tries(threading.Thread(target=print).start), tries(os.kill, os.getppid(), signal.SIGCONT),
      tries(resource.setrlimit, resource.RLIMIT_NOFILE, (8, 8)),
      tries(fcntl.fcntl, 1, fcntl.F_SETOWN, os.getppid()))
print(*protections, sep="|")
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"w": torch.ones(3)}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def parsed(path: Path, kind: str = "torch-zip") -> Extraction:
    with path.open("rb") as stream:
        return extract(stream, kind, path.with_name("weights.safetensors"))


@pytest.mark.parametrize("work", ["look", "torch-zip", "safetensors"])
def test_the_child_imports_no_torch(work: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.shutdown(socket.SHUT_WR)  # no question
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-X", "importtime", str(CHILD), str(theirs.fileno()),
             work, "1000"],
            capture_output=True,
            text=True,
            pass_fds=(theirs.fileno(),),
            check=True,
        )  # fmt: skip
        hello = json.loads(ours.recv(10_000))
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert f"gatekeeper.candidate.{'look' if work == 'look' else 'torchfile'}" in imported
    assert not {"torch", "torchvision", "onnx", "prefect", "pydantic"} & imported
    assert "resource limits" in hello["protections"]


def test_the_protections_in_force_are_named_and_real(tmp_path: Path, weights: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    done = subprocess.run(
        [sys.executable, "-c", ESCAPE, str(tmp_path / "new"), str(precious)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=Path(gatekeeper.__file__).parents[1],
        check=True,
    )
    tried, told = done.stdout.splitlines()
    assert told == "|".join(parsed(weights).protections)
    assert {"own process", "nothing of our environment", "resource limits"} <= set(told.split("|"))
    # Both libraries are installed with the gate: only the kernel may lack them.
    assert ("(Landlock)" in told) == _has_landlock()
    assert ("(seccomp)" in told) == _has_seccomp()
    assert tried.split()[4] == "refused"  # nobody listens there, with or without a network
    if _has_landlock():
        assert tried.split()[:4] == ["refused"] * 4
        assert precious.read_text() == "mine"
    if _has_seccomp():
        assert tried.split() == ["refused"] * 12


def _has_landlock() -> bool:
    """Ask the kernel for the version of its Landlock."""
    create_ruleset, give_version = 444, 1
    return ctypes.CDLL(None).syscall(create_ruleset, None, 0, give_version) > 0


def _has_seccomp() -> bool:
    """Read whether the kernel lets a process filter its own calls."""
    return Path("/proc/sys/kernel/seccomp/actions_avail").exists()


def test_nothing_is_written_beside_the_one_output(weights: Path, tmp_path: Path) -> None:
    parsed(weights)
    (tmp_path / "broken.pt").write_bytes(checkpoint(HARMLESS))
    with pytest.raises(CandidateError, match="no tensors"):
        parsed(tmp_path / "broken.pt")
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {"model.pt", "broken.pt", "weights.safetensors"}


def test_a_memory_bomb_is_a_clear_error(tmp_path: Path) -> None:
    """A memo of two thousand million places, from a pickle of a few bytes."""
    (tmp_path / "model.pt").write_bytes(checkpoint(b"\x80\x02}r\xf0\xff\xff\x7f."))
    with pytest.raises(CandidateError, match="more memory than the quarantine gives"):
        parsed(tmp_path / "model.pt")


def test_more_output_than_allowed_is_a_clear_error(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(1 << 24)}, tmp_path / "model.pt")
    with pytest.raises(CandidateError, match="would take more than"):
        parsed(tmp_path / "model.pt")


def test_a_child_without_time_is_stopped(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_SECONDS", 0.0)
    monkeypatch.setattr(budget, "_BYTES_PER_SECOND", 1 << 40)
    monkeypatch.setattr(quarantine.Quarantine, "_ready", lambda _: False)
    with pytest.raises(CandidateError, match="took too long and was stopped") as stopped:
        parsed(weights)
    assert stopped.value.exit_code == 3
    assert stopped.value.hint


def test_endless_work_ends_by_the_limit_on_processor_time(tmp_path: Path) -> None:
    """A tuple nested in itself sixty times over takes 2^60 steps to hash: the kernel ends it."""
    endless = b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s."
    (tmp_path / "model.pt").write_bytes(checkpoint(endless))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (2, 2));"
        "from pathlib import Path; from gatekeeper.candidate.extraction import extract;"
        "extract(open(sys.argv[1], 'rb'), 'torch-zip', Path(sys.argv[1] + '.out'))"
    )  # a lower limit than the child's own, which it inherits
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.pt")],
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert "QuarantineError: parsing the file ended the quarantine (signal" in last


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\x80\x02.", bytes(100)])
@pytest.mark.parametrize("kind", ["torch-zip", "torch-legacy", "safetensors", "pickle"])
def test_whatever_the_child_meets_the_error_is_our_own(
    content: bytes, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(GatekeeperError) as refused:
        parsed(tmp_path / "model.pt", kind)
    assert refused.value.exit_code == 3
    assert "\n" not in str(refused.value)


def test_a_full_disk_is_the_machines_fault_and_not_the_candidates(tmp_path: Path) -> None:
    torch.save({"w": torch.rand(100_000)}, tmp_path / "model.pt")
    with (tmp_path / "model.pt").open("rb") as stream, pytest.raises(RunDirectoryError) as told:
        extract(stream, "torch-zip", Path("/dev/full"))
    assert told.value.exit_code == 3
    assert "No space left" in str(told.value)
    assert "Ask its maker" not in told.value.hint


def test_a_machine_without_processes_is_told(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(quarantine.subprocess, "Popen", refused)
    with pytest.raises(RunDirectoryError, match="could not be started"):
        parsed(weights)


@pytest.mark.parametrize(
    ("code", "limit", "whose"),
    [
        (errno.ENOSPC, 1 << 40, "environment"),
        (errno.EMFILE, 1 << 40, "environment"),
        (errno.EINVAL, 1 << 40, "unsupported"),
        (errno.EFBIG, 100_000, "environment"),  # inherited from whoever started the gate
        (errno.EFBIG, confinement.most_output(1000), "unsupported"),  # a bomb met our own
    ],
)
def test_whose_fault_it_is(
    code: int, limit: int, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confinement.resource, "getrlimit", lambda _: (limit, limit))
    assert child.fault(OSError(code, "told"), 1000) == whose
