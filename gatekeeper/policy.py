"""The policy: what an organisation requires of a model before it deploys it."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gatekeeper.errors import PolicyError
from gatekeeper.resources import bundled
from gatekeeper.rules import BETTER_LARGE, METRICS, NOT_DECIDED, RULES
from gatekeeper.validation import validated
from gatekeeper.yaml_source import read_yaml

SCREENS = (
    "neuron-norm",
    "channel-lipschitz",
    "last-layer",
    "maximum-margin",
    "trigger-inversion",
    "untargeted-inversion",
    "pair-inversion",
    # Not part of the calibrated score: on the zoo they told nothing that the others did not.
    "universal-perturbation",
    "hidden-shift",
)
NEEDED = ("trigger-inversion", "maximum-margin")  # without these there is no score
_TRIGGER_LINES = {"recovered_trigger_success", "smallest_trigger_area"}
_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bound(BaseModel):
    """One end of a requirement; fractions, never percent."""

    model_config = _FROZEN
    # Strict: YAML's `yes` is no number, and must not become a bound of 1.
    at_least: float | None = Field(default=None, ge=0, le=1, strict=True)
    at_most: float | None = Field(default=None, ge=0, le=1, strict=True)

    @model_validator(mode="after")
    def _one_end(self) -> Bound:
        if (self.at_least is None) == (self.at_most is None):
            message = "give at_least or at_most, one of them"
            raise ValueError(message)
        return self

    def __str__(self) -> str:
        """Read it aloud."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return f"at most {self.at_most:g}"

    def met_by(self, value: float) -> bool:
        """Tell whether `value` is within the bound."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


class Purify(BaseModel):
    """When to purify, and how."""

    model_config = _FROZEN
    when: Literal["always", "flagged", "never"] = "always"
    method: Literal[
        "auto", "ft-sam", "ft-sam-restore", "awm", "awm-taught", "super-ft", "fst", "unlearn", "ft"
    ] = "auto"


class Verify(BaseModel):
    """What is measured beside the lines of the policy."""

    model_config = _FROZEN
    sequela: bool = Field(default=False, strict=True)


class Waiver(BaseModel):
    """One finding of one artifact that somebody answers for, until a day."""

    model_config = _FROZEN
    rule: str
    artifact: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    reason: str = Field(min_length=3, max_length=2000)
    owner: str = Field(min_length=1, max_length=200)
    expires: date

    @field_validator("rule")
    @classmethod
    def _known(cls, rule: str) -> str:
        return _known_rule(rule)


class Policy(BaseModel):
    """A policy as read; `path` and `sha256` are those of its file."""

    model_config = _FROZEN
    name: str = Field(min_length=1, max_length=100)
    screen: tuple[str, ...] = SCREENS[:-2]  # where a policy names none: those that earned it
    purify: Purify = Purify()
    verify: Verify = Verify()
    accept_hardened: bool = Field(default=True, strict=True)
    accept_weak_quarantine: bool = Field(default=False, strict=True)
    require: dict[str, Bound]
    forbid: tuple[str, ...] = ("code-execution", "non-finite-weights")
    min_samples: int = Field(default=500, ge=1, strict=True)
    min_samples_per_class: int = Field(default=20, ge=1, strict=True)
    waivers: tuple[Waiver, ...] = ()
    path: str
    sha256: str

    @property
    def seeks_triggers(self) -> bool:
        """Whether any line or screen asks for the triggers of all classes."""
        return "trigger-inversion" in self.screen or bool(_TRIGGER_LINES & set(self.require))

    @property
    def gaps(self) -> list[str]:
        """What a network would pass unseen: for whoever writes a policy, in whole sentences."""
        told = []
        scored = set(NEEDED) <= set(self.screen)
        if not scored:
            told.append(f"without {' and '.join(NEEDED)} the screens give no score together.")
        if not scored and not _TRIGGER_LINES & set(self.require):
            lines = " and ".join(sorted(_TRIGGER_LINES))
            told.append(f"no score, and no line on {lines}: a backdoored network would pass.")
        if "clean_accuracy" not in self.require:
            told.append("no line on clean_accuracy: a network that knows nothing would pass.")
        return told

    @field_validator("screen")
    @classmethod
    def _known_screens(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SCREENS:
                message = f"no screen {name!r}; there are {', '.join(SCREENS)}"
                raise ValueError(message)
        return names

    @field_validator("require")
    @classmethod
    def _known_metrics(cls, require: dict[str, Bound]) -> dict[str, Bound]:
        if not require:
            message = "a policy that requires nothing would pass everything"
            raise ValueError(message)
        for name in require:
            if name not in METRICS:
                message = f"no metric {name!r}; there are {', '.join(METRICS)}"
                raise ValueError(message)
        for name, bound in require.items():
            wanted = "at_least" if name in BETTER_LARGE else "at_most"
            if getattr(bound, wanted) is None:
                message = f"{name} wants {wanted}: the other way round, the worst network passes"
                raise ValueError(message)
        return require

    @field_validator("forbid")
    @classmethod
    def _known_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_known_rule(rule) for rule in rules)


def _known_rule(rule: str) -> str:
    if rule not in RULES:
        message = f"no rule {rule!r}; `gatekeeper rules` lists them"
        raise ValueError(message)
    if rule.startswith("check/"):
        message = f"{rule} is a requirement: change its bound under `require` instead"
        raise ValueError(message)
    if rule == NOT_DECIDED:
        message = f"{rule} is no finding: what could not be checked is never passed"
        raise ValueError(message)
    return rule


def shipped() -> list[str]:
    """Name the policies that ship with the gate."""
    return sorted(path.stem for path in bundled("policies").glob("*.yaml"))


def read_policy(name: str) -> Policy:
    """Read a shipped policy by name, or a file.

    Raises:
        PolicyError: as `FILE:LINE: what`, or there is no such policy.
    """
    path = bundled("policies") / f"{name}.yaml" if name in shipped() else Path(name)
    if not os.path.lexists(path):
        kind = "file" if "/" in name or name.endswith((".yaml", ".yml")) else "policy"
        message = f"no {kind} {name!r}"
        raise PolicyError(message, hint=f"Shipped: {', '.join(shipped())}; or give a file.")
    document = read_yaml(path, PolicyError)
    return validated(document, Policy, PolicyError, path=str(path), sha256=document.sha256)
