"""`functools.partial` in a pickle: how torchvision's transformers keep their kind of norm.

It is let through around one of torch's norms with plain numbers, which nobody calls. Around
anything else, or called, it is what it is: a way to call whatever it was given.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gatekeeper.candidate.numpy_calls import NOTHING, OddCallError

PARTIAL = "functools.partial"
_KINDS = frozenset(
    {f"torch.nn.modules.normalization.{name}" for name in ("LayerNorm", "GroupNorm", "RMSNorm")}
    | {f"torch.nn.modules.batchnorm.BatchNorm{axes}d" for axes in (1, 2, 3)}
)
_MOST_SETTINGS = 8


@dataclass(eq=False)
class Settings:
    """A dict, and whether it holds a few plain numbers by name and nothing else."""

    plain: bool = True
    count: int = 0
    owners: list[Partial] = field(default_factory=list)  # partials that it was given to

    def put(self, items: list[object]) -> bool:
        """Note keys and values, one after the other; tell whether that harms no partial."""
        self.count += len(items) // 2
        named = all(isinstance(key, str) for key in items[::2])
        numbers = all(type(value) in (int, float, bool) for value in items[1::2])
        self.plain &= named and numbers and self.count <= _MOST_SETTINGS
        return self.plain or not self.owners


@dataclass(frozen=True, eq=False)
class Partial:
    """What was made, by which name, around which kind of norm."""

    maker: object
    kind: object


def bound(maker: object, words: object) -> Partial:
    """Give what `functools.partial` makes of a norm alone.

    Raises:
        OddCallError: it is around anything else, or around arguments.
    """
    if isinstance(words, tuple) and len(words) == 1:
        kind = words[0]
        if getattr(kind, "name", "") in _KINDS:
            return Partial(maker, kind)
    raise OddCallError


def check_state(partial: Partial, state: object) -> None:
    """Check what BUILD gives to it: the same norm, no arguments, plain settings, nothing else.

    Raises:
        OddCallError: there is more.
    """
    if not isinstance(state, tuple) or len(state) != 4:
        raise OddCallError
    kind, words, settings, rest = state
    same = getattr(kind, "name", "") == getattr(partial.kind, "name", None)
    honest = same and rest is NOTHING and words == ()
    if not (honest and isinstance(settings, Settings) and settings.plain):
        raise OddCallError
    # It goes on holding the very dict, which may still be written into.
    settings.owners.append(partial)
