"""Static checks of many files at once: no torch, nothing run, one line each."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.candidate.inspect import Inspection, Inspector
from gatekeeper.candidate.kinds import UNREADABLE
from gatekeeper.errors import CandidateError
from gatekeeper.rules import BLOCKING

# Such as an empty `__init__.py`, a picture or a page beside the models.
_NO_MODELS = frozenset({"unknown", "empty", "one-byte", "png", "html"})
_MOST_AT_ONCE = 8  # children, whatever the number of cores
# A file of these that is no model is broken, or something else in disguise.
MODEL_SUFFIXES = frozenset(
    {".pt", ".pth", ".ckpt", ".th", ".bin", ".tar", ".pkl", ".pickle", ".safetensors", ".onnx",
     ".pt2", ".h5", ".keras", ".joblib", ".npy", ".npz", ".zip", ".model", ".t7"}
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

    @property
    def exit_code(self) -> int:
        """0 all read and clean, 1 something blocked, 3 something not readable or nothing there."""
        states = {file.state for file in self.files}
        if "blocked" in states:
            return 1
        return 3 if "unreadable" in states or not states else 0


def inspect_all(paths: Iterable[Path], *, accept_weak: bool = False) -> InspectedFiles:
    """Inspect files, and every file below folders; there, what is no model is only counted.

    Each thread has a child of its own, so files are looked at side by side.

    Raises:
        RunDirectoryError: the machine has no room for another process.
    """
    asked = list(_files(paths))
    own = threading.local()
    kept, passed_over = [], 0
    with ExitStack() as children:

        def look(path: Path) -> Inspected:
            if not hasattr(own, "inspector"):
                own.inspector = children.enter_context(Inspector(accept_weak=accept_weak))
            return _inspected(path, own.inspector)

        most = min(_MOST_AT_ONCE, os.cpu_count() or 1, max(1, len(asked)))
        with ThreadPoolExecutor(most) as threads:
            done = threads.map(look, [path for path, _ in asked])
            for (_, named), file in zip(asked, done, strict=True):
                if named or _concerns_models(file):
                    kept.append(file)
                else:
                    passed_over += 1
    return InspectedFiles(files=tuple(kept), passed_over=passed_over)


def _concerns_models(file: Inspected) -> bool:
    """Tell whether a file calls itself a model, holds one, or could not be looked at."""
    if file.inspection is None or Path(file.path).suffix.lower() in MODEL_SUFFIXES:
        return True
    kind = file.inspection.artifact.kind
    # Only where that is all there is to say: a walk that met a bound is none of these.
    plain = kind in _NO_MODELS and file.inspection.unreadable == UNREADABLE[kind][0]
    return file.state != "unreadable" or not plain


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Every file, and whether it was named by itself."""
    for path in paths:
        # Not `is_dir`, which raises where the name is longer than a file system allows.
        if os.path.isdir(path):  # noqa: PTH112
            yield from ((file, False) for file in _below(path))
        else:
            yield path, True


def _below(folder: Path) -> Iterator[Path]:
    """Give each file, each link, and each folder that cannot be listed: all are told of."""
    closed: list[str] = []
    for place, folders, files in os.walk(
        folder, onerror=lambda error: closed.append(error.filename)
    ):
        folders.sort()
        # Links to folders are not followed.
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]  # noqa: PTH114, PTH118 - as above
        yield from sorted(Path(place, name) for name in (*files, *links))
    yield from map(Path, closed)


def _inspected(path: Path, inspector: Inspector) -> Inspected:
    try:
        inspection = inspector.inspect(path)
    except CandidateError as error:
        return Inspected(path=str(path), inspection=None, trouble=f"{error}. {error.hint}")
    trouble = f"{inspection.unreadable.rstrip('.')}. {inspection.hint}".strip()
    return Inspected(
        path=str(path), inspection=inspection, trouble=trouble if inspection.unreadable else ""
    )
