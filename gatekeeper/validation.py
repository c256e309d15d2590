"""Turns what pydantic has to say about a YAML document into one line with file and line."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gatekeeper.errors import GatekeeperError
from gatekeeper.yaml_source import Document

Shape = TypeVar("Shape", bound=BaseModel)


def validated(
    document: Document, shape: type[Shape], error: type[GatekeeperError], **more: object
) -> Shape:
    """Validate `document` as `shape`, with `more` fields that the file does not carry.

    Raises:
        GatekeeperError: of the type `error`, naming file, line, key and what is wrong with it.
    """
    clash = set(more) & set(document.data)
    if clash:
        key = sorted(clash)[0]
        message = f"{document.path}:{document.line_of((key,))}: unknown key {key!r}"
        raise error(message)
    try:
        return shape.model_validate({**document.data, **more})
    except ValidationError as problems:
        # A misspelt key explains the one that is missing.
        order = sorted(
            problems.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden"
        )
        first = order[0]
        where = tuple(first["loc"])
        key = ".".join(map(str, where)) or "document"
        told = first["msg"].removeprefix("Value error, ")
        what = "unknown key" if first["type"] == "extra_forbidden" else told
        message = f"{document.path}:{document.line_of(where)}: {key}: {what}"
        raise error(message) from None
