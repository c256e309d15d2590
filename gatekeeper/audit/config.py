"""`audit.yaml`: which models are judged with which card, images and policy, and who is told."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gatekeeper.errors import ConfigError
from gatekeeper.job import METHODS
from gatekeeper.validation import validated
from gatekeeper.yaml_source import read_yaml

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_HINT = "Correct the line named above in the audit's configuration."


class Terms(BaseModel):
    """What a model is judged with; relative paths count from the file's own folder."""

    model_config = _FROZEN
    card: Path | None = None
    data: str | None = None
    verify_data: str | None = None
    policy: str | None = None
    calibration: Path | None = None
    method: Literal[METHODS] | None = None  # type: ignore[valid-type]
    device: str | None = Field(default=None, pattern=r"^(auto|cpu|cuda(:\d{1,4})?)$")
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1, strict=True)


class Rule(Terms):
    """Terms for every model whose name fits; `file` picks one of several files of a version."""

    models: str = Field(min_length=1, max_length=1000)  # a pattern: digits-*
    file: str | None = Field(default=None, min_length=1, max_length=1000)


class Webhook(BaseModel):
    """Who is told of every audit, in a signed JSON body."""

    model_config = _FROZEN
    url: str = Field(max_length=2000)
    secret_env: str = Field(min_length=1, max_length=200)  # variable that holds the secret

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s@]+", url):
            message = "an address without user and password is wanted, such as https://HOST/PATH"
            raise ValueError(message)
        return url


class MLflowWishes(BaseModel):
    """What is written into an MLflow registry beside the tags."""

    model_config = _FROZEN
    approve_alias: str | None = Field(default=None, min_length=1, max_length=200)
    log_hardened: bool = Field(default=False, strict=True)


class AuditConfig(Terms):
    """An audit's configuration as read; what a rule leaves out is as it stands at the top."""

    rules: tuple[Rule, ...] = ()
    ledger: str | None = None  # a database; ledger.sqlite beside the page where left out
    workers: int = Field(default=1, ge=1, le=256, strict=True)
    threads: int | None = Field(default=None, ge=1, le=1024, strict=True)  # of each worker
    minutes: float = Field(default=240.0, gt=0, le=10_080)  # that one version may take
    retry_days: float = Field(default=7.0, ge=0, le=3650)  # until an undecided one is tried again
    publish: bool = Field(default=True, strict=True)
    mlflow: MLflowWishes = MLflowWishes()
    webhook: Webhook | None = None

    @field_validator("ledger")
    @classmethod
    def _url(cls, ledger: str | None) -> str | None:
        if ledger is not None and "://" not in ledger:
            message = "a URL is wanted, such as sqlite:///FILE or postgresql+psycopg://HOST/NAME"
            raise ValueError(message)
        return ledger

    @field_validator("rules")
    @classmethod
    def _has_rules(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if not rules:
            message = "rules is empty: no model would be judged"
            raise ValueError(message)
        return rules

    def rule_for(self, model: str) -> Rule | None:
        """Give the first rule that fits `model`, filled with what stands at the top."""
        if not self.rules:
            return self._filled(Rule(models="*"))
        fits = (rule for rule in self.rules if fnmatchcase(model, rule.models))
        found = next(fits, None)
        return self._filled(found) if found else None

    def filled(self) -> list[Rule]:
        """Give every rule, with what stands at the top."""
        return [self._filled(rule) for rule in self.rules or (Rule(models="*"),)]

    def _filled(self, rule: Rule) -> Rule:
        left_out = {
            name: getattr(self, name) for name in Terms.model_fields if getattr(rule, name) is None
        }
        # Verification images of the top belong to the images of the top.
        if rule.data is not None:
            left_out.pop("verify_data", None)
        return rule.model_copy(update=left_out)


def read_audit_config(path: Path) -> AuditConfig:
    """Read `audit.yaml`; paths in it become absolute.

    Raises:
        ConfigError: as `FILE:LINE: what`.
    """
    try:
        config = validated(read_yaml(path, ConfigError), AuditConfig, ConfigError)
    except ConfigError as error:
        raise ConfigError(str(error), hint=_HINT) from None
    home = path.resolve().parent
    rules = tuple(rule.model_copy(update=_placed(rule, home)) for rule in config.rules)
    ledger = config.ledger
    if ledger is not None and ledger.startswith("sqlite:///") and ledger != "sqlite:///:memory:":
        ledger = f"sqlite:///{home / ledger.removeprefix('sqlite:///')}"
    return config.model_copy(update={**_placed(config, home), "rules": rules, "ledger": ledger})


def secret_of(webhook: Webhook) -> str:
    """Give the secret that signs what the webhook gets.

    Raises:
        ConfigError: the variable that should hold it is empty.
    """
    secret = os.environ.get(webhook.secret_env, "")
    if not secret:
        message = f"the webhook's secret is not in the environment: {webhook.secret_env} is empty"
        raise ConfigError(message, hint=f"Set {webhook.secret_env}, or remove `webhook`.")
    return secret


def _placed(terms: Terms, home: Path) -> dict[str, object]:
    """Make the paths of `terms` absolute."""
    placed: dict[str, object] = {}
    for name in ("card", "calibration"):
        if (path := getattr(terms, name)) is not None:
            placed[name] = home / path
    for name in ("data", "verify_data"):
        if (source := getattr(terms, name)) is not None:
            placed[name] = _images(home, source)
    if terms.policy is not None and _is_file(terms.policy):
        placed["policy"] = str(home / terms.policy)
    return placed


def _is_file(policy: str) -> bool:
    return "/" in policy or policy.endswith((".yaml", ".yml"))


def _images(home: Path, source: str) -> str:
    """Make the folder absolute, also that of `torchvision:NAME:FOLDER`."""
    if not source.startswith("torchvision:"):
        return str(home / source)
    *name, place = source.split(":", 2)
    return ":".join([*name, str(home / place)])
