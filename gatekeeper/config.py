"""`gatekeeper.yaml`: where this organisation keeps clean data, cards and policy."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from gatekeeper.errors import ConfigError
from gatekeeper.validation import validated
from gatekeeper.yaml_source import read_yaml

NAME = "gatekeeper.yaml"
VARIABLE = "GATEKEEPER_CONFIG"


class Config(BaseModel):
    """Defaults of the command line; relative paths count from the file's own folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: Path | None = None
    verify_data: Path | None = None
    policy: str | None = None  # a shipped name, or a file
    calibration: Path | None = None  # as `gatekeeper calibrate` writes it
    cards: dict[str, Path] = {}  # pattern of the candidate's file name -> card
    out: Path | None = None


def find_config(start: Path) -> Config:
    """Read the nearest `gatekeeper.yaml`, in `start` or above; `GATEKEEPER_CONFIG` comes first.

    Raises:
        ConfigError: it is malformed, or `GATEKEEPER_CONFIG` names nothing.
    """
    file = config_file(start)
    return read_config(file) if file else Config()


def config_file(start: Path) -> Path | None:
    """Name the file that `find_config` reads; None where there is none.

    Raises:
        ConfigError: `GATEKEEPER_CONFIG` names nothing.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return _nearest(start)
    if not Path(named).exists():
        message = f"{VARIABLE} names {named}, and there is no such file"
        raise ConfigError(message, hint=f"Correct {VARIABLE}, or unset it.")
    return Path(named)


def came_with(candidate: Path, start: Path) -> bool:
    """Tell whether the file that `find_config` reads may be the work of the candidate's maker.

    So it may where it lies in the candidate's own folder or below, as in a repository that was
    cloned to look at the model, and `GATEKEEPER_CONFIG` does not name it.
    """
    nearest = None if os.environ.get(VARIABLE) else _nearest(start)
    if nearest is None:
        return False
    # Both the link's folder and its target's; unlike `resolve`, this takes a loop of links.
    folders = {os.path.realpath(candidate.parent), str(Path(os.path.realpath(candidate)).parent)}
    return any(nearest.parent.is_relative_to(folder) for folder in folders)


def _nearest(start: Path) -> Path | None:
    paths = (folder / NAME for folder in (start.resolve(), *start.resolve().parents))
    return next((path for path in paths if path.is_file()), None)


def read_config(path: Path) -> Config:
    """Read one such file.

    Raises:
        ConfigError: it is malformed, or not there.
    """
    config = validated(read_yaml(path, ConfigError), Config, ConfigError)
    home = path.resolve().parent
    policy = config.policy
    if policy is not None and ("/" in policy or policy.endswith((".yaml", ".yml"))):
        policy = str(home / policy)
    return Config(
        data=_images(home, config.data),
        verify_data=_images(home, config.verify_data),
        policy=policy,
        calibration=home / config.calibration if config.calibration else None,
        cards={pattern: home / card for pattern, card in config.cards.items()},
        out=home / config.out if config.out else None,
    )


def _images(home: Path, source: Path | None) -> Path | None:
    """Make the folder absolute, also that of `torchvision:NAME:FOLDER`."""
    if source is None:
        return None
    if not str(source).startswith("torchvision:"):
        return home / source
    *name, place = str(source).split(":", 2)
    return Path(":".join([*name, str(home / place)]))
