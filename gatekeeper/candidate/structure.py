"""How a pickled network is put together: its layers in order, their classes and plain settings.

The quarantine child writes it as JSON; whoever reads that checks it as if an enemy had written it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

MOST_LAYERS = 3000
MOST_DEPTH = 32
_MOST_NAMES = 200  # of settings and tensors of one layer
_LONGEST_NAME, _LONGEST_TEXT, _LONGEST_LIST = 100, 40, 8
LONGEST_KIND = 200
_LARGEST = 1 << 53  # whole numbers that every reader of JSON agrees on


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One module of the tree; the root's path is empty.

    `tensors` names those that it holds itself, `data` the settings that are longer containers of
    plain data, and `odd` what else it keeps: hooks, functions, other objects.
    """

    path: str
    kind: str
    values: dict[str, Any]
    tensors: tuple[str, ...]
    data: tuple[str, ...]
    odd: tuple[str, ...]

    @property
    def parent(self) -> str:
        """Path of the module that holds this one."""
        return self.path.rpartition(".")[0]


class StructureError(Exception):
    """This describes no network."""


def is_plain(value: object) -> bool:
    """Tell whether a setting is a number, a truth, a short text or a short row of such."""
    if isinstance(value, (tuple, list)):
        return len(value) <= _LONGEST_LIST and all(_is_scalar(item) for item in value)
    return _is_scalar(value)


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if type(value) is str:
        return len(value) <= _LONGEST_TEXT and value.isprintable()
    return value is None or type(value) is bool or (type(value) is int and abs(value) < _LARGEST)


def to_json(layers: list[Layer]) -> list[list[Any]]:
    """Write the layers as plain lists, in their order."""
    return [[x.path, x.kind, x.values, list(x.tensors), list(x.data), list(x.odd)] for x in layers]


def read_structure(document: Any) -> list[Layer]:
    """Check and read what `to_json` wrote.

    Raises:
        StructureError: with what is wrong.
    """
    if not isinstance(document, list) or not 0 < len(document) <= MOST_LAYERS:
        message = "the structure is no list of layers"
        raise StructureError(message)
    layers: dict[str, Layer] = {}
    for entry in document:
        layer = _layer(entry)
        first = not layers and not layer.path
        if layer.path in layers or not (first or layer.parent in layers):
            message = f"layer {layer.path!r} stands in no other, or twice"
            raise StructureError(message)
        if layer.path.count(".") >= MOST_DEPTH:
            message = f"layers are nested more than {MOST_DEPTH} deep"
            raise StructureError(message)
        layers[layer.path] = layer
    return list(layers.values())


def _layer(entry: Any) -> Layer:
    fields: list[Any] = entry if isinstance(entry, list) and len(entry) == 6 else [None] * 6
    path, kind, values, *lists = fields
    named = _is_name(path, MOST_DEPTH * (_LONGEST_NAME + 1)) and _is_name(kind, LONGEST_KIND)
    if not named or not isinstance(values, dict) or not all(isinstance(x, list) for x in lists):
        message = "a layer has no path, class and settings"
        raise StructureError(message)
    names = [*values, *lists[0], *lists[1], *lists[2]]
    plain = all(is_plain(value) for value in values.values())
    if len(names) > _MOST_NAMES or not all(_is_name(n, _LONGEST_NAME) for n in names) or not plain:
        message = f"layer {path!r} has settings that are not plain"
        raise StructureError(message)
    tensors, data, odd = lists
    return Layer(
        path=path, kind=kind, values=values, tensors=tuple(tensors), data=tuple(data),
        odd=tuple(odd),
    )  # fmt: skip


def _is_name(name: Any, longest: int) -> bool:
    return type(name) is str and len(name) <= longest and name.isprintable()
