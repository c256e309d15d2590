"""Whole-module pickles: the tree of stand-ins becomes tensors by name and a plain structure.

Only in the quarantine child. Names are those of `state_dict()`; nothing of the classes is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatekeeper.candidate.standins import MalformedError, Part, TensorView, UnsupportedError
from gatekeeper.candidate.structure import (
    LONGEST_KIND,
    MOST_DEPTH,
    MOST_LAYERS,
    Layer,
    is_plain,
)

_WRAPPERS = ("torch.nn.parallel.data_parallel.DataParallel",)
# What every module keeps, and what is read apart from its settings.
_KEPT = frozenset({"training", "_parameters", "_buffers", "_modules",
                   "_non_persistent_buffers_set"})  # fmt: skip
_MOST_SETTINGS, _LONGEST_NAME, _MOST_ITEMS = 60, 100, 20_000
_DATA = frozenset({str, bytes, int, float, bool, complex, type(None)})


class Flattened(dict[str, TensorView]):
    """The tensors of one network, with the layers they belong to."""

    def __init__(self, root: Part) -> None:
        """Walk the tree from `root`.

        Raises:
            MalformedError: it holds itself, or a parameter is no tensor.
            UnsupportedError: it is too deep or has too many layers.
        """
        super().__init__()
        self.layers: list[Layer] = []
        self._walk(root, "", ())

    @property
    def structure(self) -> list[Layer]:
        """The layers, without what only spreads a network over several devices."""
        if self.layers[0].kind not in _WRAPPERS:
            return self.layers
        inner = [x for x in self.layers if f"{x.path}.".startswith("module.")]
        return [replace(x, path=x.path.removeprefix("module").removeprefix(".")) for x in inner]

    def _walk(self, part: Part, path: str, above: tuple[Part, ...]) -> None:
        if any(part is other for other in above):
            message = f"layer {path[:200]!r} holds itself"
            raise MalformedError(message)
        if len(self.layers) >= MOST_LAYERS or len(above) > MOST_DEPTH:
            message = f"the network has more than {MOST_LAYERS:,} layers or {MOST_DEPTH} levels"
            raise UnsupportedError(message)
        if not part.kind.isprintable() or len(part.kind) > LONGEST_KIND:
            message = f"a layer is of the class {part.kind[:80]!r}"
            raise UnsupportedError(message)
        prefix = f"{path}." if path else ""
        _refuse_shadows(part, path)
        own = _tensors(part, prefix)
        self.update({prefix + name: tensor for name, tensor in own.items()})
        values, data, odd = _settings(part)
        self.layers.append(
            Layer(path=path, kind=part.kind, values=values, tensors=tuple(own), data=data, odd=odd)
        )
        for name, child in _kept(part, "_modules", dict).items():
            if child is None:
                continue
            if not isinstance(child, Part):
                message = f"layer {prefix + _name(name)!r} is a {type(child).__name__}"
                raise MalformedError(message)
            self._walk(child, prefix + _name(name), (*above, part))


def flattened(loaded: Any) -> Any:
    """Put the tensors of every whole network in its place, also beneath the keys of a checkpoint.

    Raises:
        MalformedError, UnsupportedError: as `Flattened`.
    """
    if isinstance(loaded, Part):
        return Flattened(loaded)
    if isinstance(loaded, Mapping) and any(isinstance(v, Part) for v in loaded.values()):
        return {k: Flattened(v) if isinstance(v, Part) else v for k, v in loaded.items()}
    return loaded


def _refuse_shadows(part: Part, path: str) -> None:
    """Refuse two things of one name: torch answers with one, and a state dict has the other.

    Raises:
        MalformedError: a tensor or layer hides behind another, or behind a setting.
    """
    rooms = [_kept(part, room, dict) for room in ("_parameters", "_buffers", "_modules")]
    names = [name for room in (*rooms, part.state) for name in room]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        message = f"{path[:200] or 'the network'} has two things called {str(twice)[:80]!r}"
        raise MalformedError(message)


def _kept(part: Part, name: str, kind: type) -> Any:
    state = getattr(part, "state", None)
    if state is None:
        message = f"a {part.kind} has no state"
        raise MalformedError(message)
    found = state.get(name)
    if found is None:
        return kind()
    if not isinstance(found, kind):
        message = f"{name} of a {part.kind} is a {type(found).__name__}"
        raise MalformedError(message)
    return found


def _name(name: Any) -> str:
    known = type(name) is str and name.isprintable()
    if not known or not 0 < len(name) <= _LONGEST_NAME or "." in name:
        message = f"a layer or tensor is called {str(name)[:80]!r}"
        raise UnsupportedError(message)
    return str(name)


def _tensors(part: Part, prefix: str) -> dict[str, TensorView]:
    """Give what this layer itself would put into a state dict."""
    unsaved = _kept(part, "_non_persistent_buffers_set", set)
    found = {}
    for room, left_out in (("_parameters", set()), ("_buffers", unsaved)):
        for name, tensor in _kept(part, room, dict).items():
            if tensor is None:
                continue
            if not isinstance(tensor, TensorView):
                message = f"{prefix + _name(name)!r} is a {type(tensor).__name__}, not a tensor"
                raise MalformedError(message)
            if name not in left_out:
                found[_name(name)] = tensor
    return found


def _settings(part: Part) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Give the plain settings, and the names of longer data and of all that is no data."""
    values: dict[str, Any] = {}
    data: list[str] = []
    odd: list[str] = []
    for name, value in part.state.items():
        if name in _KEPT:
            continue
        if len(values) + len(data) + len(odd) >= _MOST_SETTINGS:
            odd.append("more settings than can be told")
            break
        if is_plain(value):
            values[_name(name)] = list(value) if isinstance(value, (tuple, list)) else value
        elif isinstance(value, (dict, set)) and not value:
            continue
        else:
            (data if "hook" not in name and _is_data(value) else odd).append(_name(name))
    return values, tuple(data), tuple(odd)


def _is_data(value: Any) -> bool:
    """Tell whether a setting is made of numbers, texts and tensors alone, to a bounded depth."""
    left = [(value, 0)]
    for _ in range(_MOST_ITEMS):
        if not left or len(left) > 2 * _MOST_ITEMS:
            return not left
        item, depth = left.pop()
        if isinstance(item, (dict, list, tuple, set)) and depth < 4 and len(item) < _MOST_ITEMS:
            inner = [*item, *item.values()] if isinstance(item, dict) else item
            left += [(one, depth + 1) for one in inner]
        elif not isinstance(item, TensorView) and type(item) not in _DATA:
            return False
    return False
