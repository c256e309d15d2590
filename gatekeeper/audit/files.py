"""The files of an audit: written whole or not at all, whoever reads them at the moment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gatekeeper.audit.page import draw
from gatekeeper.audit.summary import Audit
from gatekeeper.audit.summary_file import write_audit
from gatekeeper.rundir import disk_told


def write_page(folder: Path, audit: Audit) -> None:
    """Write `audit.json` and `index.html` into `folder`.

    Raises:
        RunDirectoryError: the disk is full or the folder cannot be written.
    """
    _write(folder / "audit.json", write_audit(audit))
    _write(folder / "index.html", draw(audit))


def _write(path: Path, text: str) -> None:
    with disk_told(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two audits may end at once, and the last one's page stays.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        partial = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as written:
                written.write(text)
                written.flush()
                os.fsync(written.fileno())
            partial.chmod(0o644)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
