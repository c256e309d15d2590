"""Static checks of many files at once: no torch, nothing run, one line each."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from gatekeeper.candidate.duties import FILES_AT_ONCE
from gatekeeper.candidate.inspect import Inspection, Inspector
from gatekeeper.candidate.kinds import UNREADABLE
from gatekeeper.errors import GatekeeperError, RunDirectoryError, with_hint
from gatekeeper.rules import BLOCKING

# Such as an empty `__init__.py`, a picture or a page beside the models.
_NO_MODELS = frozenset({"unknown", "empty", "one-byte", "png", "html"})
_MOST_NAMED = 100  # of the files that were passed over
_AGAIN = "Mend the machine, then inspect it again."
_CLOSED = "Nothing below it was checked: let the gate read it, or inspect as one who may."
_MOST_AT_ONCE = 8  # children, whatever the number of cores
# A file of these that is no model is broken, or something else in disguise.
MODEL_SUFFIXES = frozenset(
    {".pt", ".pth", ".ckpt", ".th", ".bin", ".tar", ".pkl", ".pickle", ".safetensors", ".onnx",
     ".pt2", ".h5", ".keras", ".joblib", ".npy", ".npz", ".zip", ".model", ".t7", ".ptl", ".pte",
     ".jit", ".torchscript", ".weights", ".mar", ".nemo", ".dill", ".cloudpickle", ".skops",
     ".hdf5", ".pb", ".tflite", ".lite", ".msgpack", ".gguf", ".ggml", ".llamafile", ".mlmodel",
     ".ort", ".trt", ".engine", ".caffemodel", ".params", ".pdparams", ".pdmodel", ".pdiparams",
     ".mnn", ".xgb", ".cbm"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """One file: its inspection, or why there is none."""

    path: str
    inspection: Inspection | None
    trouble: str

    @property
    def state(self) -> str:
        """`blocked` outranks `unreadable` outranks `clean`."""
        findings = self.inspection.findings if self.inspection else ()
        if any(finding.severity in BLOCKING for finding in findings):
            return "blocked"
        return "unreadable" if self.trouble else "clean"


@dataclass(frozen=True, kw_only=True)
class InspectedFiles:
    """All that was asked for."""

    files: tuple[Inspected, ...]
    passed_over: int = 0  # files in folders that are no model, by content and by name
    named: tuple[str, ...] = ()  # the first of those

    @property
    def exit_code(self) -> int:
        """0 all read and clean, 1 something blocked, 3 something not readable or nothing there.

        What is no model was looked at, too, and holds no payload: it is named and changes nothing.
        """
        states = {file.state for file in self.files}
        if "blocked" in states:
            return 1
        return 3 if "unreadable" in states or not states else 0


def inspect_all(paths: Iterable[Path], *, accept_weak: bool = False) -> InspectedFiles:
    """Inspect files, and every file below folders; there, what is no model is named and left.

    Each thread has a child of its own, so files are looked at side by side.
    """
    paths = list(paths)
    closed: dict[Path, str] = {}
    asked = [(path, root) for root in paths for path in _files(root, closed)]
    kept: list[Inspected] = []
    left: list[str] = []
    held: set[Path] = set()
    for (path, root), file in zip(asked, _looks([p for p, _ in asked], accept_weak), strict=True):
        if path in closed:
            file = replace(file, trouble=closed[path])
        if path == root or _concerns_models(file):
            kept.append(file)
            held.add(root)
        else:
            left.append(str(path))
    kept += [_without_models(root) for root in dict.fromkeys(paths) if root not in held]
    return InspectedFiles(files=tuple(kept), passed_over=len(left), named=tuple(left[:_MOST_NAMED]))


def _looks(paths: list[Path], accept_weak: bool) -> Iterator[Inspected]:
    """Inspect each file, several at a time; in their order."""
    own = threading.local()
    with ExitStack() as children:

        def look(some: list[Path]) -> list[Inspected]:
            if not hasattr(own, "inspector"):
                own.inspector = children.enter_context(Inspector(accept_weak=accept_weak))
            told = own.inspector.inspect_each(some)
            return [_inspected(path, one) for path, one in zip(some, told, strict=True)]

        most = min(_MOST_AT_ONCE, os.cpu_count() or 1, max(1, len(paths)))
        each = max(1, min(FILES_AT_ONCE, len(paths) // most))
        threads = ThreadPoolExecutor(most)
        try:
            some = [paths[start : start + each] for start in range(0, len(paths), each)]
            yield from chain.from_iterable(threads.map(look, some))
        finally:
            # Nothing is left to wait for but after Ctrl-C, when nobody wants to.
            threads.shutdown(wait=False, cancel_futures=True)


def _without_models(folder: Path) -> Inspected:
    """A folder that was asked for and holds nothing to inspect is not clean."""
    trouble = "nothing was checked: this folder holds no model. Check the path."
    return Inspected(path=str(folder), inspection=None, trouble=trouble)


def _concerns_models(file: Inspected) -> bool:
    """Tell whether a file calls itself a model, holds one, or could not be looked at."""
    if file.inspection is None or Path(file.path).suffix.lower() in MODEL_SUFFIXES:
        return True
    kind = file.inspection.artifact.kind
    # Only where that is all there is to say: a walk that met a bound is none of these.
    plain = kind in _NO_MODELS and file.inspection.unreadable == UNREADABLE[kind][0]
    return file.state != "unreadable" or not plain


def _files(path: Path, closed: dict[Path, str]) -> Iterator[Path]:
    """Give the file itself, or every file below a folder."""
    # Not `is_dir`, which raises where the name is longer than a file system allows.
    if os.path.isdir(path):  # noqa: PTH112
        yield from _below(path, closed)
    else:
        yield path


def _below(folder: Path, closed: dict[Path, str]) -> Iterator[Path]:
    """Give each file, each link, and each folder that cannot be listed, noting why in `closed`."""
    failed: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=failed.append):
        folders.sort()
        # Links to folders are not followed.
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]  # noqa: PTH114, PTH118 - as above
        yield from sorted(Path(place, name) for name in (*files, *links))
    for error in failed:
        path = Path(error.filename)
        closed[path] = f"this folder cannot be listed: {error.strerror}. {_CLOSED}"
        yield path


def _inspected(path: Path, told: Inspection | GatekeeperError) -> Inspected:
    if isinstance(told, GatekeeperError):
        # The machine's fault is no reason to leave the others.
        hint = _AGAIN if isinstance(told, RunDirectoryError) else told.hint
        return Inspected(path=str(path), inspection=None, trouble=with_hint(str(told), hint))
    trouble = with_hint(told.unreadable, told.hint)
    return Inspected(path=str(path), inspection=told, trouble=trouble if told.unreadable else "")
