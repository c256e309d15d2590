"""Loads the shipped Prefect flow by path, so that a user's own `./flows` cannot take its place."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

from gatekeeper.resources import bundled

_NAME = "gatekeeper_bundled_flow_gate"
_QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
}


def load_gate() -> Callable[..., Any]:
    """Give `flows/gate.py`'s `scan`, with Prefect's telemetry switched off before it loads."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    path = bundled("flows") / "gate.py"
    spec = importlib.util.spec_from_file_location(_NAME, path)
    if spec is None or spec.loader is None:
        message = f"{path} cannot be loaded; install gatekeeper again"
        raise FileNotFoundError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)
    scan: Callable[..., Any] = module.scan
    return scan
