"""What each fuzz target does with some bytes; a finding is an exception that leaves it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from gatekeeper.candidate import safetensors_file, state, torchfile
from gatekeeper.candidate.look import look
from gatekeeper.candidate.pickles import suspicions, walk
from gatekeeper.candidate.seen import Seen
from gatekeeper.card import read_card
from gatekeeper.errors import GatekeeperError
from gatekeeper.policy import read_policy


class _Recorder(pickle.Unpickler):
    """Python's own unpickler in C, in which every name is a stand-in that does nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, encoding="latin-1")
        self.names: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        self.names.append(f"{module}.{name}")
        return torchfile.Inert

    def persistent_load(self, _: Any) -> str:
        return "loaded"


def pickles(data: bytes) -> None:
    """Every name that the unpickler would import is among those that the walk saw."""
    walked = walk(io.BytesIO(data))
    list(suspicions(walked))
    if walked.broken == "too large":
        message = "the walk filled the memory"
        raise AssertionError(message)
    recorder = _Recorder(io.BytesIO(data))
    with suppress(Exception):  # it may fail; what it imported before that counts
        recorder.load()
    seen = {found.name for found in walked.globals}
    unseen = [name for name in recorder.names if name not in seen]
    # Names that cannot be followed, such as <computed name>, are findings of their own.
    if unseen and not walked.too_long and not any(name.startswith("<") for name in seen):
        message = f"the unpickler imports {unseen[0]!r}, unseen by the walk"
        raise AssertionError(message)


def archives(data: bytes) -> None:
    """A zip archive is looked at, and read."""
    look(io.BytesIO(data), Seen())
    _read(torchfile.read_zip, data)


def legacy(data: bytes) -> None:
    """A legacy file is looked at, and read."""
    look(io.BytesIO(data), Seen())
    _read(torchfile.read_legacy, data)


def headers(data: bytes) -> None:
    """A safetensors header that passes is one that the library takes as well."""
    from safetensors import deserialize

    try:
        passed = safetensors_file.check(io.BytesIO(data))
    except safetensors_file.SafetensorsError:
        return
    if len(deserialize(data)) != len(passed):
        message = "the library finds other tensors"
        raise AssertionError(message)


def documents(data: bytes) -> None:
    """A card or a policy is read, or refused by an error of our own."""
    path = Path("/dev/shm/gatekeeper-fuzz.yaml")
    path.write_bytes(data)
    for read in (lambda: read_card(path, trusted=False), lambda: read_policy(str(path))):
        with suppress(GatekeeperError):
            read()


def _read(reader: Callable[..., tuple[Any, bool]], data: bytes) -> None:
    """What the quarantine child would do; what it writes passes our own check."""
    out = io.BytesIO()
    try:
        loaded, swap = reader(io.BytesIO(data), data)
        tensors, _, _ = state.find_state(loaded, None)
        state.write_safetensors(tensors, out, swap=swap, most=4 * len(data) + (1 << 20))
    except Exception:
        return  # the child answers each with a line
    safetensors_file.check(out)


TARGETS = {
    "pickles": pickles, "archives": archives, "legacy": legacy, "headers": headers,
    "documents": documents,
}  # fmt: skip
