"""Reads YAML that people write, with the line of every value, and nothing that could surprise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gatekeeper.errors import GatekeeperError

# A stranger's card is read by a parser that takes about three seconds for so much.
_MOST_BYTES = 500_000
_MOST_VALUES = 50_000
_LONGEST = 10_000  # signs: a number of as many, on base 60, is worked out at once
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
        node = _Careful(text).get_single_node()
        lines = dict(_lines(node, ())) if node is not None else {}
        data = yaml.constructor.SafeConstructor().construct_document(node) if node else None
    except _TrickError as reason:
        message = f"{path}:{reason.line}: {reason}"
        raise error(message) from None
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as reason:
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


class _Careful(yaml.SafeLoader):
    """Reads once, and refuses what could surprise or take long before it is taken any further."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.values = self.depth = 0

    def get_event(self) -> yaml.Event:
        event: yaml.Event = super().get_event()  # type: ignore[no-untyped-call]
        if trick := self._trick(event):
            raise _TrickError(trick, event.start_mark.line + 1 if event.start_mark else 1)
        return event

    def _trick(self, event: yaml.Event) -> str:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            return "anchors and aliases are not allowed"
        if tag := getattr(event, "tag", None):
            return f"the tag {tag!r} is not allowed"
        if isinstance(event, yaml.CollectionStartEvent):
            self.depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            self.depth -= 1
        elif isinstance(event, yaml.ScalarEvent):
            self.values += 1
            if len(event.value) > _LONGEST:
                return f"a value is longer than {_LONGEST} signs"
        if self.depth > _MOST_DEPTH:
            return f"nested deeper than {_MOST_DEPTH}"
        return f"more than {_MOST_VALUES} values" if self.values > _MOST_VALUES else ""


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
