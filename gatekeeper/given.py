"""What a caller gives on the command line as a path: an empty one means nothing, least of all `.`.

Whether it can be read is told by what reads it: click would refuse all files over one of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

_EMPTY = "it is empty: is a variable of your shell unset?"


class GivenPath(click.Path):
    """A path, as a `Path`."""

    def __init__(self) -> None:
        """Ask nothing of what stands there."""
        super().__init__(readable=False, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # fmt: skip
        """Refuse the empty one, which `Path` takes for the current folder."""
        if not os.fspath(value):
            self.fail(_EMPTY, param, ctx)
        return super().convert(value, param, ctx)


class GivenPlace(click.types.StringParamType):
    """A path, or another name of a place, such as `mlflow:URI`; as a text."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # fmt: skip
        """Refuse the empty one."""
        if value == "":
            self.fail(_EMPTY, param, ctx)
        return super().convert(value, param, ctx)
