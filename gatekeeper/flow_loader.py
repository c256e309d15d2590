"""Loads a shipped Prefect flow by path, so that a user's own `./flows` cannot take its place."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType

from gatekeeper.resources import bundled

_NAME = "gatekeeper_bundled_flow_"
_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    # A first start makes its database, for which a busy machine needs more than 20 seconds.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # Prefect starts its server with `python -m`, which would import from the working folder.
    "PYTHONSAFEPATH": "1",
}


def load_flow(name: str, *, quiet: bool = False) -> ModuleType:
    """Give the module of `flows/NAME.py`, with Prefect's telemetry switched off before it loads.

    `quiet` keeps what Prefect has to say off the terminal, not out of its own log.
    """
    for variable, value in _SETTINGS.items():
        os.environ.setdefault(variable, value)
    if quiet:
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "ERROR"
    path = bundled("flows") / f"{name}.py"
    spec = importlib.util.spec_from_file_location(_NAME + name, path)
    if spec is None or spec.loader is None:
        message = f"{path} cannot be loaded; install gatekeeper again"
        raise FileNotFoundError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME + name] = module
    spec.loader.exec_module(module)
    return module
