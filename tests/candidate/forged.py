"""Files that no honest maker would write, built byte by byte; all they would run is `true`."""

from __future__ import annotations

import atexit
import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from gatekeeper.candidate.inspect import Inspection, Inspector

PAYLOAD = b"cos\nsystem\n(S'true'\ntR."
HARMLESS = pickle.dumps({"epoch": 3, "losses": [0.5, 0.25]}, protocol=2)


_INSPECTOR = Inspector()
atexit.register(_INSPECTOR.__exit__, None, None, None)


def inspect(path: Path) -> Inspection:
    """Inspect one file by a child that all tests share."""
    return _INSPECTOR.inspect(path)


def text(value: str) -> bytes:
    """Push a string (SHORT_BINUNICODE or BINUNICODE)."""
    raw = value.encode()
    short = len(raw) < 256
    return (b"\x8c" + bytes([len(raw)]) if short else b"X" + struct.pack("<I", len(raw))) + raw


def stack_global(module: str, name: str) -> bytes:
    """Import by names from the stack (STACK_GLOBAL)."""
    return text(module) + text(name) + b"\x93"


def zipped(
    members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED, prefix: str = "archive/"
) -> bytes:
    """Write an honest zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(prefix + name), content, compression)
    return out.getvalue()


def checkpoint(pickled: bytes, **others: bytes) -> bytes:
    """Write a zip such as torch writes it, around any pickle."""
    return zipped({"data.pkl": pickled, "version": b"3\n", **others})


def central(archive: bytes, number: int = 0) -> int:
    """Find the entry of member `number` in the central directory."""
    place = -1
    for _ in range(number + 1):
        place = archive.index(b"PK\x01\x02", place + 1)
    return place


def overwritten(content: bytes, place: int, patch: bytes) -> bytes:
    """Put `patch` in the place of as many bytes."""
    return content[:place] + patch + content[place + len(patch) :]


def inspected(content: bytes, folder: Path, name: str = "model.pt") -> Inspection:
    """Inspect these bytes as a real file."""
    path = folder / name
    path.write_bytes(content)
    return inspect(path)


def blocked(inspection: Inspection) -> set[str]:
    """Name the rules whose findings reject."""
    return {f.rule_id for f in inspection.findings if f.severity in ("critical", "high")}
