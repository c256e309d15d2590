"""Progress on stderr: a moving line on a terminal, plain lines in a log, nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Give a function that tells one line of progress."""
    if quiet:
        yield lambda _line: None
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not sys.stderr.isatty():
        yield lambda line: console.print(_printable(line), markup=False)
        return
    with console.status("starting") as status:

        def tell(line: str) -> None:
            console.print(f"[dim]·[/dim] {escape(_printable(line))}")
            status.update(escape(_printable(line)))

        yield tell


def _printable(line: str) -> str:
    """Names inside a candidate may hold escape sequences."""
    return "".join(sign if sign.isprintable() else "�" for sign in line)
