"""What each fuzz target does with some bytes; a finding is an exception that leaves it."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import deserialize

from gatekeeper.candidate import modules as networks
from gatekeeper.candidate import npz, safetensors_file, state, structure, torchfile
from gatekeeper.candidate.allowed import is_allowed, is_module_name
from gatekeeper.candidate.graph import outline
from gatekeeper.candidate.graph.hostile import HostileError
from gatekeeper.candidate.graph.record import read_graph
from gatekeeper.candidate.kinds import kind_of
from gatekeeper.candidate.look import look
from gatekeeper.candidate.partials import PARTIAL
from gatekeeper.candidate.pickles import suspicions, walk
from gatekeeper.candidate.seen import Seen
from gatekeeper.candidate.standins import Inert, MalformedError, UnsupportedError
from gatekeeper.card import read_card
from gatekeeper.errors import CandidateError, GatekeeperError
from gatekeeper.policy import read_policy

_LEGACY_PICKLES = 5


class DifferenceError(BaseException):
    """Another reader sees what the look does not; no `suppress` of ours hides it."""


class _Recorder(pickle.Unpickler):
    """Python's own unpickler in C, in which every name is a stand-in that does nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, encoding="latin-1")
        self.names: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        self.names.append(f"{module}.{name}")
        return Inert

    def persistent_load(self, _: Any) -> str:
        return "loaded"


def pickles(data: bytes) -> None:
    """Every name that the unpickler would import is among those that the walk saw."""
    walked = walk(io.BytesIO(data))
    list(suspicions(walked))
    if walked.broken.endswith("there is memory"):
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
    """A zip archive is looked at, and read; a clean one imports nothing that is not allowed."""
    if _is_clean(data):
        with suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    _imports_the_allowed(io.BytesIO(archive.read(name)), 1)
    _read(torchfile.read_zip, data)


def legacy(data: bytes) -> None:
    """A legacy file is looked at, and read; a clean one imports nothing that is not allowed."""
    if _is_clean(data) and kind_of(io.BytesIO(data)) == "torch-legacy":
        _imports_the_allowed(io.BytesIO(data), _LEGACY_PICKLES)
    _read(torchfile.read_legacy, data)


def arrays(data: bytes) -> None:
    """An .npz is looked at, and read; a clean one holds the numbers that numpy reads."""
    clean, tensors = _is_clean(data), _read(npz.read_npz, data)
    if not clean or tensors is None or len(data) > 1 << 16:
        return
    with suppress(Exception), np.load(io.BytesIO(data), allow_pickle=False) as archive:
        theirs = {name: archive[name] for name in archive.files}
        if any(_little(theirs[name]) != tensor for name, tensor in tensors.items()):
            raise DifferenceError


def graphs(data: bytes) -> None:
    """An ONNX model is looked at, and read or refused by an error of ours."""
    look(io.BytesIO(data), Seen())
    out = io.BytesIO()
    try:
        held, graph, why = outline.read(memoryview(data))
        state.write_safetensors(held, out, swap=False, most=4 * len(data) + (1 << 20))
    except (HostileError, MalformedError, UnsupportedError):
        return
    safetensors_file.check(out)
    if (graph is None) != bool(why):
        message = "a graph and a reason why there is none"
        raise AssertionError(message)
    if graph is not None:
        with suppress(CandidateError):
            read_graph(json.loads(json.dumps(graph)))


def modules(data: bytes) -> None:
    """A network pickled whole: what the child tells of its layers passes our own check."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in (("data.pkl", data), ("data/0", bytes(16)), ("version", b"3\n")):
            archive.writestr(f"m/{name}", content)
    whole = packed.getvalue()
    if _is_clean(whole):
        _imports_the_allowed(io.BytesIO(data), 1)
    try:
        loaded = networks.flattened(torchfile.read_zip(io.BytesIO(whole), whole)[0])
        tensors, found, _ = state.find_state(loaded, None)
        network = loaded if found is None else loaded.get(found)
    except Exception:
        return  # the child answers each with a line
    if isinstance(network, networks.Flattened):
        told = json.loads(json.dumps(structure.to_json(network.structure)))
        layers = structure.read_structure(told)
        if {name.rpartition(".")[2] for name in tensors} - {n for x in layers for n in x.tensors}:
            message = "a tensor that no layer holds"
            raise AssertionError(message)


def headers(data: bytes) -> None:
    """A safetensors header that passes is one that the library takes as well."""
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


def _is_clean(data: bytes) -> bool:
    """Look, and tell whether nothing speaks against the file."""
    seen = Seen()
    look(io.BytesIO(data), seen)
    return not (seen.findings or seen.unreadable)


def _imports_the_allowed(stream: BinaryIO, count: int) -> None:
    """Ask the real unpickler what it would import from a file that is clean."""
    for _ in range(count):
        recorder = _Recorder(stream)
        try:
            recorder.load()
        except Exception:
            count = 0  # it ends here; what it imported before that counts
        for name in recorder.names:
            if not (is_allowed(name) or is_module_name(name) or name == PARTIAL):
                raise DifferenceError(name)
        if not count:
            return


def _little(array: Any) -> bytes:
    return bytes(array.astype(array.dtype.newbyteorder("<")).tobytes())


def _read(reader: Callable[..., tuple[Any, bool]], data: bytes) -> dict[str, bytes] | None:
    """What the quarantine child would do; what it writes passes our own check."""
    out = io.BytesIO()
    try:
        loaded, swap = reader(io.BytesIO(data), data)
        tensors, _, _ = state.find_state(loaded, None)
        state.write_safetensors(tensors, out, swap=swap, most=4 * len(data) + (1 << 20))
    except Exception:
        return None  # the child answers each with a line
    safetensors_file.check(out)
    return {name: bytes(one["data"]) for name, one in deserialize(out.getvalue())}


TARGETS = {
    "pickles": pickles, "archives": archives, "legacy": legacy, "headers": headers,
    "documents": documents, "arrays": arrays, "graphs": graphs, "modules": modules,
}  # fmt: skip
