"""Turns what pydantic has to say about a YAML document into one line with file and lines."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gatekeeper.errors import GatekeeperError
from gatekeeper.yaml_source import Document

Shape = TypeVar("Shape", bound=BaseModel)
_MOST = 5  # problems that one line tells


def validated(
    document: Document, shape: type[Shape], error: type[GatekeeperError], **more: object
) -> Shape:
    """Validate `document` as `shape`, with `more` fields that the file does not carry.

    Raises:
        GatekeeperError: of the type `error`, naming file, lines and keys, and what is wrong.
    """
    clash = set(more) & set(document.data)
    if clash:
        key = sorted(clash)[0]
        message = f"{document.path}:{document.line_of((key,))}: unknown key {key!r}"
        raise error(message)
    try:
        return shape.model_validate({**document.data, **more})
    except ValidationError as problems:
        raise error(_told(document, problems.errors(include_url=False))) from None


def _told(document: Document, problems: list[ErrorDetails]) -> str:
    """Name the first problem by file and line, and the ones below it by their lines."""
    unknown = [one for one in problems if one["type"] == "extra_forbidden"]
    # A misspelt key explains the one that is missing.
    others = [one for one in problems if one["type"] not in ("extra_forbidden", "missing")]
    listed = [*unknown, *others] if unknown else problems
    first, *more = sorted(_line_and_problem(document, one) for one in listed)
    told = [f"{document.path}:{first[0]}: {first[1]}"]
    told += [f"line {line}: {what}" for line, what in more[: _MOST - 1]]
    if len(more) >= _MOST:
        told.append(f"and {len(more) - _MOST + 1} more")
    return "; ".join(told)


def _line_and_problem(document: Document, problem: ErrorDetails) -> tuple[int, str]:
    where = tuple(problem["loc"])
    key = ".".join(map(str, where)) or "document"
    told = problem["msg"].removeprefix("Value error, ")
    what = "unknown key" if problem["type"] == "extra_forbidden" else told
    return document.line_of(where), f"{key}: {what}"
