"""The quarantine child: gives up its rights, then looks at files or parses one.

Run as a script with an inherited socket, over which it gets descriptors and tells what it saw, a
line of JSON each. By the time it is sent the first foreign byte it can open no file and no
connection, start nothing, and its memory, time and output are capped.
"""

from __future__ import annotations

import encodings.ascii
import encodings.cp437
import encodings.latin_1
import encodings.raw_unicode_escape
import encodings.unicode_escape  # noqa: F401 - names and old pickles need them
import errno
import json
import mmap
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from gatekeeper.candidate import confinement
from gatekeeper.candidate.duties import FILES_AT_ONCE, LOOK, MOST_AT_ONCE, RUN

Answer = dict[str, Any]
# A machine that is too small or broken says nothing about the candidate.
_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}
    | {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
)
_QUESTION = 65_536  # bytes
_MOST_STRUCTURE = 3 << 20  # bytes


def looker(channel: socket.socket) -> Callable[..., Answer]:
    """Import what a look at any file needs; nothing can be opened afterwards.

    The first findings are told at once: the rest of the file may be made to end this process.
    """
    from picklescan import scanner  # noqa: F401 - `look` asks it later

    from gatekeeper.candidate.look import look
    from gatekeeper.candidate.seen import Seen
    from gatekeeper.records import Finding, to_dict

    def answer(source: BinaryIO) -> Answer:
        def tell(finding: Finding) -> None:
            if len(seen.findings) <= MOST_AT_ONCE:
                channel.sendall(json.dumps({"found": to_dict(finding)}).encode() + b"\n")

        seen = Seen(tell)
        ended = told(lambda: {"kind": look(source, seen)}, 0)
        kind = ended.get("kind", "unreadable")
        if "kind" not in ended:
            # A finding outranks an error, also the machine's own.
            if not seen.findings:
                return ended
            seen.unreadable, seen.hint = f"the look broke off: {next(iter(ended.values()))}", ""
        return {
            "kind": kind, "findings": [to_dict(one) for one in seen.findings],
            "unreadable": seen.unreadable, "hint": seen.hint, "members": seen.members,
        }  # fmt: skip

    return answer


def parser(kind: str) -> Callable[..., Answer]:
    """Import what parsing a file of this kind needs; nothing can be opened afterwards."""
    from gatekeeper.candidate import (
        modules,
        npz,
        safetensors_file,
        standins,
        state,
        structure,
        torchfile,
    )

    if kind == "onnx":
        from gatekeeper.candidate.graph import outline

    def answer(source: BinaryIO, out: BinaryIO, key: str | None) -> Answer:
        size = source.seek(0, 2)
        if kind == "safetensors":
            safetensors_file.check(source)
            source.seek(0)
            shutil.copyfileobj(source, out, 1 << 20)
            return {"key": None, "prefix": ""}
        # The map stays open until the process ends: the tensors are views of it.
        mapped = mmap.mmap(source.fileno(), size, access=mmap.ACCESS_READ)
        source.seek(0)
        if kind == "onnx":
            held, graph, why = outline.read(memoryview(mapped))
            state.write_safetensors(held, out, swap=False, most=4 * size + (1 << 20))
            return {"graph": graph, "no_graph": why[:500]}
        readers = {
            "torch-zip": torchfile.read_zip,
            "torch-legacy": torchfile.read_legacy,
            "npz": npz.read_npz,
        }
        loaded, big = readers[kind](source, mapped)
        loaded = modules.flattened(loaded)
        tensors, found, prefix = state.find_state(loaded, key)
        state.write_safetensors(tensors, out, swap=big, most=4 * size + (1 << 20))
        network = loaded if found is None else loaded.get(found)
        told: Answer = {"key": found, "prefix": prefix}
        if isinstance(network, modules.Flattened):
            told["structure"] = structure.to_json(network.structure)
            if len(json.dumps(told["structure"])) > _MOST_STRUCTURE:
                message = f"its settings take more than {_MOST_STRUCTURE:,} bytes to tell"
                raise standins.UnsupportedError(message)
        return told

    return answer


def runner() -> Callable[..., Answer]:
    """Import what lets an ONNX graph answer, and leave behind the threads that it started."""
    from gatekeeper.candidate.graph import session

    session.stay_alone()
    return session.run


def fault(error: OSError, size: int) -> str:
    """Say whose fault an error is, the machine's or that of a candidate of `size` bytes."""
    if error.errno == errno.EFBIG:
        # Our own limit is measured by the candidate; a lower one was inherited.
        machines = confinement.output_limit() < confinement.most_output(size)
    else:
        machines = error.errno in _MACHINE
    return "environment" if machines else "unsupported"


def told(work: Callable[[], Answer], size: int) -> Answer:
    """Do the work; what goes wrong comes back as words."""
    try:
        return work()
    except MemoryError:
        return {"unsupported": "it needs more memory than the quarantine gives"}
    except OSError as error:
        return {fault(error, size): f"{error.strerror or error}"[:500]}
    except Exception as error:
        # Matched by name, as each kind of file has its own errors, which not every child imports.
        name, words = type(error).__name__, f"{error}"[:500]
        if name == "HostileError":
            return {"hostile": words, "rule": getattr(error, "rule", "")}
        if name == "MalformedError":
            return {"malformed": words}
        if name in ("UnsupportedError", "ArchiveError", "SafetensorsError", "UnreadTypeError"):
            return {"unsupported": words}
        return {"unsupported": f"it cannot be parsed ({name}: {words})"}


def serve(channel: socket.socket, work: Callable[..., Answer], size: int, *, each: bool) -> None:
    """Answer one question after another until there are no more.

    Args:
        channel: where they come from.
        work: what answers.
        size: bytes of the candidate.
        each: of several files, tell of each by itself; else all belong to one question.
    """
    while True:
        question, descriptors, _, _ = socket.recv_fds(channel, _QUESTION, FILES_AT_ONCE)
        if not question:
            return
        given = json.loads(question)
        modes = ["rb"] * len(descriptors) if each else ["rb", "wb", "rb"]
        files = [os.fdopen(one, mode) for one, mode in zip(descriptors, modes, strict=False)]
        for some in [[file] for file in files] if each else [files]:
            answer = told(lambda: work(*some, **given), size)  # noqa: B023 - called at once
            for file in some:
                try:
                    file.close()
                except OSError as error:  # what was written last found no room
                    answer = {fault(error, size): f"{error.strerror or error}"}
            channel.sendall(json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Confine this process, say how, then serve."""
    descriptor, kind, size = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    channel = socket.socket(fileno=descriptor)
    work = looker(channel) if kind == LOOK else runner() if kind == RUN else parser(kind)
    room = confinement.address_space()
    protections = confinement.confine(size, lasting=kind == LOOK)
    hello: Answer = {"protections": protections}
    if kind == LOOK:
        hello["address_space"] = room
    channel.sendall(json.dumps(hello).encode() + b"\n")
    serve(channel, work, size, each=kind == LOOK)
    # onnxruntime would wait for a thread that was left behind.
    os._exit(0)


if __name__ == "__main__":
    main()
