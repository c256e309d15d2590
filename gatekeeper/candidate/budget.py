"""How long the quarantine children of one candidate may take."""

from __future__ import annotations

import time

_SECONDS = 5.0
_BYTES_PER_SECOND = 50 << 20


class Budget:
    """The seconds that all children together may take over one candidate.

    Each is given, on top, what a file of its size takes.
    """

    def __init__(self) -> None:
        """Nothing is spent yet."""
        self._left = _SECONDS
        self._begun = self._granted = 0.0

    def begin(self, size: int) -> float:
        """Give the moment by which a child must have answered about `size` bytes."""
        self._begun, self._granted = time.monotonic(), size / _BYTES_PER_SECOND
        return self._begun + self._granted + self._left

    def end(self) -> None:
        """Take off what the child needed beyond what the size grants."""
        spent = time.monotonic() - self._begun
        self._left = max(0.0, self._left - max(0.0, spent - self._granted))
