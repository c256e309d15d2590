"""Turns what the command line and `gatekeeper.yaml` say into one job."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gatekeeper.config import Config, came_with, find_config
from gatekeeper.errors import UsageError
from gatekeeper.job import METHODS, Job
from gatekeeper.policy import read_policy
from gatekeeper.rundir import sha256_file


def plan(model: Path, **given: Any) -> Job:
    """Fill what was not given from the organisation's configuration.

    Raises:
        UsageError: an option is impossible.
        CandidateError: there is no such candidate.
    """
    if not os.path.lexists(model):
        message = f"no file {model}"
        raise UsageError(message, hint="Check the path of the candidate.")
    if os.path.isdir(model):  # noqa: PTH112 - raises for no name, however long
        message = f"{model} is a folder"
        raise UsageError(message, hint="Name the file; `gatekeeper inspect` takes folders.")
    config = find_config(Path.cwd())
    defaults = {
        "data": config.data,
        "verify_data": config.verify_data,
        "card": _card(config, model),
        "calibration": config.calibration,
        "policy": config.policy or "default",
    }
    if "data" in given:
        # The configured verification images belong to the configured data.
        defaults["verify_data"] = None
    chosen = {**defaults, **given}
    if (method := chosen.get("method")) and method not in METHODS:
        message = f"no purification method {method!r}"
        raise UsageError(message, hint=f"Use one of: {', '.join(METHODS)}.")
    read_policy(str(chosen["policy"]))
    trusted = "card" in given or not came_with(model, Path.cwd())
    out = chosen.pop("out", None) or _default_out(config, model)
    texts = {name: _text(value) for name, value in chosen.items()}
    return Job(model=str(model), out=str(out), card_trusted=trusted, **texts)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _card(config: Config, model: Path) -> Path | None:
    matches = (card for pattern, card in config.cards.items() if fnmatch(model.name, pattern))
    return next(matches, None)


def _default_out(config: Config, model: Path) -> Path:
    root = config.out or Path("gatekeeper-runs")
    try:
        digest = sha256_file(model)[:8] if model.is_file() else "unread"
    except OSError:
        digest = "unread"  # the scan says why
    name = re.sub(r"[^A-Za-z0-9._-]", "_", model.stem)[:80].lstrip(".-") or "model"
    return root / f"{name}-{digest}"
