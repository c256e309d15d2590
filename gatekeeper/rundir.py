"""One run's files: written whole or not at all, with digests, so that a killed run can go on."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gatekeeper.errors import RunDirectoryError, UsageError
from gatekeeper.records import jsonable

_STATE = ".state.json"
_LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class StepState:
    """A finished step: `key` digests its inputs, `files` what it wrote."""

    key: str
    files: dict[str, str]
    seconds: float
    notes: dict[str, list[str]] = field(default_factory=dict)


class RunDirectory:
    """A directory that one run owns; open it with `RunDirectory.open`."""

    def __init__(self, path: Path) -> None:
        """Refer to `path`, without touching it."""
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, resume: bool) -> Iterator[RunDirectory]:
        """Create or take over `path`, lock it, and sweep what a killed run left half-written.

        Raises:
            UsageError: it is no directory, or not empty and `resume` is False.
            RunDirectoryError: it cannot be written, or another run holds it.
        """
        room = cls(path)
        with disk_told(path):
            if path.exists() and not path.is_dir():
                message = f"{path} is no folder"
                raise UsageError(message, hint="Choose another --out.")
            path.mkdir(parents=True, exist_ok=True)
            _check_content(path, resume=resume)
            lock = (path / _LOCK).open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                message = f"another run is using {path}"
                raise RunDirectoryError(
                    message, hint="Wait for it, or choose another --out."
                ) from None
            with disk_told(path):
                # Another run may have come, and gone, since the first look.
                _check_content(path, resume=resume)
                for partial in path.glob(".*.partial"):
                    partial.unlink()
                if not (path / _STATE).exists():
                    room.write_json(_STATE, {})
            yield room

    def file(self, name: str) -> Path:
        """Path of a file of the run."""
        return self.path / name

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a temporary path that becomes `name` when the block ends well.

        Raises:
            RunDirectoryError: the disk is full or the directory is read-only.
        """
        partial = self.path / f".{name}.partial"
        with disk_told(self.path):
            try:
                yield partial
                with partial.open("rb+") as written:
                    os.fsync(written.fileno())
                partial.replace(self.path / name)
            finally:
                partial.unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write `name` whole or not at all."""
        with self.writing(name) as partial:
            partial.write_text(text, encoding="utf-8")

    def write_json(self, name: str, content: Any) -> None:
        """Write `name` as sorted, indented JSON; what is not finite becomes null."""
        plain = jsonable(content)
        text = json.dumps(plain, indent=2, sort_keys=True, allow_nan=False)
        self.write_text(name, text + "\n")

    def read_json(self, name: str) -> Any:
        """Read back what `write_json` wrote."""
        return json.loads(self.file(name).read_text(encoding="utf-8"))

    def state(self) -> dict[str, StepState]:
        """Every finished step by name.

        Raises:
            RunDirectoryError: the state was damaged from outside.
        """
        try:
            return {name: StepState(**entry) for name, entry in self.read_json(_STATE).items()}
        except (ValueError, TypeError, AttributeError):
            message = f"{self.path / _STATE} is damaged"
            raise RunDirectoryError(message, hint="Start again in another --out.") from None

    def is_done(self, step: str, key: str) -> bool:
        """Tell whether `step` finished with these very inputs, no error, and unharmed files.

        An error may have been the machine's (memory, time), so it is never kept.
        """
        entry = self.state().get(step)
        if entry is None or entry.key != key or entry.notes.get("errors"):
            return False
        return all(
            self.file(name).is_file() and sha256_file(self.file(name)) == digest
            for name, digest in entry.files.items()
        )

    def forget(self, steps: Iterable[str]) -> None:
        """Remove what `steps` wrote, then that they are done: what a kill leaves is redone.

        Raises:
            RunDirectoryError: a file cannot be removed, or the state was damaged from outside.
        """
        state = self.state()
        gone = [state.pop(step) for step in steps if step in state]
        if gone:
            self.remove(name for entry in gone for name in entry.files)
            self.write_json(_STATE, {name: asdict(entry) for name, entry in state.items()})

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of the run, where they are there.

        Raises:
            RunDirectoryError: the directory is read-only.
        """
        with disk_told(self.path):
            for name in names:
                # Only the last part: a state damaged from outside names no other folder's files.
                self.file(Path(name).name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove every file of the run, and the directory, which others may hold files in.

        Raises:
            RunDirectoryError: the directory is read-only.
        """
        self.remove([entry.name for entry in self.path.iterdir() if entry.is_file()])
        with suppress(OSError):
            self.path.rmdir()

    def finish(
        self,
        step: str,
        *,
        key: str,
        files: list[str],
        seconds: float,
        notes: dict[str, list[str]],
    ) -> None:
        """Note that `step` is done; called last, so that a torn step is run again."""
        digests = {name: sha256_file(self.file(name)) for name in files}
        entry = StepState(key=key, files=digests, seconds=seconds, notes=notes)
        state = {name: asdict(known) for name, known in self.state().items()}
        self.write_json(_STATE, {**state, step: asdict(entry)})


def sha256_file(path: Path) -> str:
    """Digest a file without holding it in memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_content(path: Path, *, resume: bool) -> None:
    strangers = [entry.name for entry in path.iterdir() if entry.name != _LOCK]
    if strangers and not resume:
        message = f"{path} is not empty"
        known = (path / _STATE).exists()
        hint = "Add --resume, or choose another --out." if known else "Choose another --out."
        raise UsageError(message, hint=hint)
    if strangers and not (path / _STATE).exists():
        message = f"{path} holds files, but no run of gatekeeper"
        raise UsageError(message, hint="Choose another --out; nothing was touched.")


@contextmanager
def disk_told(path: Path) -> Iterator[None]:
    """Turn what the disk refuses for `path` into one line.

    Raises:
        RunDirectoryError: with what the system said.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            message = f"no space left for {path}"
        else:
            message = f"cannot write in {path}: {error.strerror or error}"
        raise RunDirectoryError(message) from error
