"""Finds what ships beside the code (policies, templates), in a wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def bundled(name: str) -> Path:
    """Path of a shipped folder such as `policies` or `reports/templates`.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for root in (_PACKAGE / "_bundled", _PACKAGE.parent):
        if (path := root / name).exists():
            return path
    message = f"{name} is missing from this installation of gatekeeper; install it again"
    raise FileNotFoundError(message)
