"""Progress on stderr: a moving line on a terminal, plain lines in a log, nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gatekeeper.foreign_text import visible
from gatekeeper.terminal import discard


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Give a function that tells one line of progress."""
    if quiet:
        yield lambda _line: None
        return
    from rich.console import Console
    from rich.markup import escape

    class Patient(Console):
        """Goes on without listeners, where rich would end the process with our REJECT."""

        def on_broken_pipe(self) -> None:
            self.quiet = True
            discard(sys.stderr)

    console = Patient(stderr=True, highlight=False, soft_wrap=True)
    if not sys.stderr.isatty():
        # Names inside a candidate may hold escape sequences.
        yield lambda line: console.print(visible(line), markup=False)
        return
    with console.status("starting") as status:

        def tell(line: str) -> None:
            console.print(f"[dim]·[/dim] {escape(visible(line))}")
            status.update(escape(visible(line)))

        yield tell
