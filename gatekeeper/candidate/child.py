"""The quarantine child: gives up its rights, parses one file, writes safetensors.

Run as a script with two inherited descriptors: the candidate to read, the file to write. It
prints one line of JSON. By the time it reads the first foreign byte it can open no file and no
connection, and its memory, time and output are capped.
"""

from __future__ import annotations

import encodings.cp437
import encodings.latin_1  # noqa: F401 - zip names and old pickles need them
import errno
import json
import mmap
import os
import shutil
import sys
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# Imported before the rights go: nothing can be opened afterwards.
from gatekeeper.candidate import (
    confinement,
    modules,
    npz,
    safetensors_file,
    standins,
    state,
    torchfile,
)
from gatekeeper.candidate.archive import ArchiveError
from gatekeeper.candidate.structure import Layer, to_json

# A machine that is too small or broken says nothing about the candidate.
_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}
    | {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
)
_MOST_STRUCTURE = 3 << 20  # bytes
_READERS = {
    "torch-zip": torchfile.read_zip,
    "torch-legacy": torchfile.read_legacy,
    "npz": npz.read_npz,
}


def parse(source: BinaryIO, out: BinaryIO, kind: str, key: str | None) -> dict[str, Any]:
    """Parse `source` and write its tensors to `out`; what goes wrong comes back as words."""
    size = source.seek(0, 2)
    if kind == "safetensors":
        safetensors_file.check(source)
        source.seek(0)
        shutil.copyfileobj(source, out, 1 << 20)
        return {"key": None, "prefix": ""}
    # The map stays open until the process ends: the tensors are views of it.
    mapped = mmap.mmap(source.fileno(), size, access=mmap.ACCESS_READ)
    source.seek(0)
    loaded, big = _READERS[kind](source, mapped)
    loaded = modules.flattened(loaded)
    tensors, found, prefix = state.find_state(loaded, key)
    state.write_safetensors(tensors, out, swap=big, most=4 * size + (1 << 20))
    network = loaded if found is None else loaded.get(found)
    answer: dict[str, Any] = {"key": found, "prefix": prefix}
    if isinstance(network, modules.Flattened):
        answer["structure"] = _told(network.structure)
    return answer


def _told(layers: list[Layer]) -> list[list[Any]]:
    told = to_json(layers)
    if len(json.dumps(told)) > _MOST_STRUCTURE:
        message = f"the network's settings take more than {_MOST_STRUCTURE:,} bytes to tell"
        raise standins.UnsupportedError(message)
    return told


def fault(error: OSError, size: int) -> str:
    """Say whose fault an error is, the machine's or that of a candidate of `size` bytes."""
    if error.errno == errno.EFBIG:
        # Our own limit is measured by the candidate; a lower one was inherited.
        machines = confinement.output_limit() < confinement.most_output(size)
    else:
        machines = error.errno in _MACHINE
    return "environment" if machines else "unsupported"


def main() -> None:
    """Confine this process, then parse."""
    source_fd, out_fd, kind, key, size = sys.argv[1:6]
    protections = confinement.confine(int(size))
    try:
        with os.fdopen(int(source_fd), "rb") as source, os.fdopen(int(out_fd), "wb") as out:
            answer = parse(source, out, kind, key or None)
            out.flush()
    except standins.MalformedError as error:
        answer = {"malformed": str(error)[:500]}
    except (
        standins.UnsupportedError,
        ArchiveError,
        safetensors_file.SafetensorsError,
    ) as error:
        answer = {"unsupported": str(error)[:500]}
    except MemoryError:
        answer = {"unsupported": "it needs more memory than the quarantine gives"}
    except OSError as error:
        answer = {fault(error, int(size)): f"{error.strerror or error}"[:500]}
    except Exception as error:
        answer = {"unsupported": f"it cannot be parsed ({type(error).__name__}: {error})"[:500]}
    print(json.dumps(answer | {"protections": protections}))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
