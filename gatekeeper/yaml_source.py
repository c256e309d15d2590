"""Reads YAML that people write, with the line of every value, and nothing that could surprise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gatekeeper.errors import GatekeeperError

_MOST_BYTES = 1_000_000
_MOST_DEPTH = 20
Where = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A mapping as it was written; `lines` by the path of keys that leads to a value."""

    data: dict[str, Any]
    lines: dict[Where, int]
    sha256: str
    path: Path

    def line_of(self, where: Where) -> int:
        """Line of a value, or of the nearest thing around it that stands in the file."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


def read_yaml(path: Path, error: type[GatekeeperError]) -> Document:
    """Read one mapping; tags, aliases, duplicate keys and large files are refused.

    Raises:
        GatekeeperError: of the type `error`, as `FILE:LINE: what`.
    """
    content = _content(path, error)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as reason:
        line = content.count(b"\n", 0, reason.start) + 1
        message = f"{path}:{line}: not UTF-8 text"
        raise error(message) from None
    try:
        _refuse_tricks(text)
        node = yaml.compose(text, yaml.SafeLoader)
        lines = dict(_lines(node, ())) if node is not None else {}
        data = yaml.safe_load(text)
    except _TrickError as reason:
        message = f"{path}:{reason.line}: {reason}"
        raise error(message) from None
    except (yaml.YAMLError, ValueError, RecursionError) as reason:
        line, problem = _problem(reason, text)
        message = f"{path}:{line}: not well-formed YAML: {problem}"
        raise error(message) from None
    if not isinstance(data, dict):
        message = f"{path}:1: a mapping of keys to values is wanted"
        raise error(message)
    return Document(data=data, lines=lines, sha256=hashlib.sha256(content).hexdigest(), path=path)


def _content(path: Path, error: type[GatekeeperError]) -> bytes:
    try:
        # A pipe without a writer would hold the gate for ever.
        if path.exists() and not path.is_file():
            message = f"cannot read {path}: not a regular file"
            raise error(message)
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as reason:
        message = f"cannot read {path}: {getattr(reason, 'strerror', None) or reason}"
        raise error(message) from None
    if len(content) > _MOST_BYTES:
        message = f"{path}:1: larger than {_MOST_BYTES} bytes"
        raise error(message)
    return content


def _problem(reason: Exception, text: str) -> tuple[int, str]:
    """Line and wording of what the parser had against `text`."""
    if isinstance(reason, yaml.reader.ReaderError):
        line = text.count("\n", 0, reason.position) + 1
        return line, f"the character U+{ord(text[reason.position]):04X} is not allowed"
    mark = getattr(reason, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    return line, getattr(reason, "problem", None) or type(reason).__name__


class _TrickError(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _refuse_tricks(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            message = "anchors and aliases are not allowed"
            raise _TrickError(message, line)
        if tag := getattr(event, "tag", None):
            message = f"the tag {tag!r} is not allowed"
            raise _TrickError(message, line)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MOST_DEPTH:
            message = f"nested deeper than {_MOST_DEPTH}"
            raise _TrickError(message, line)


def _lines(node: yaml.Node, where: Where) -> Iterator[tuple[Where, int]]:
    yield where, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                message = f"the key {name!r} stands twice"
                raise _TrickError(message, key.start_mark.line + 1)
            seen.add(name)
            yield from ((place, line) for place, line in _lines(value, (*where, name)))
            yield (*where, name), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _lines(item, (*where, position))
