"""What the command line says: a closed or full stream never changes the exit code to REJECT."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

import click

from gatekeeper.errors import RunDirectoryError


def say(text: str) -> None:
    """Write a result to stdout; a reader who left early (`| head -1`) is no failure.

    Raises:
        RunDirectoryError: stdout takes no more for another reason, such as a full disk.
    """
    try:
        click.echo(text)
    except OSError as error:
        discard(sys.stdout)
        if error.errno != errno.EPIPE:
            message = f"cannot write the result to stdout: {error.strerror}"
            raise RunDirectoryError(message, hint="The files of the run are whole.") from None


def complain(line: str, hint: str = "") -> None:
    """Write one line, and the next thing to do, to stderr, where anybody listens."""
    try:
        click.echo(line, err=True)
        if hint:
            click.echo(f"  {hint}", err=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send what is left in a stream nowhere, or Python fails at its exit with a code of its own."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def leave(code: int) -> NoReturn:
    """End the process with `code`, without taking torch apart, which needs a second.

    What has to be put away is put away by then: files are written whole and closed. A Prefect
    server of this process is still to be stopped, so there Python's own way out is taken.
    """
    if "prefect" in sys.modules:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
