"""The terms of a rule, made ready: what a scan gets, and the digest of all of it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from gatekeeper import __version__
from gatekeeper.audit.config import Rule
from gatekeeper.calibration import read_calibration
from gatekeeper.card import Card, own_file, read_card
from gatekeeper.errors import CardError, DataError
from gatekeeper.policy import Policy, read_policy
from gatekeeper.rundir import sha256_file

_NAMED = "torchvision:"


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What every model of one rule is judged with, or the fault that keeps it from it."""

    rule: Rule
    policy: Policy
    sha256: str  # of everything but the candidate and a card that lies beside it
    cards: dict[str, Path] = field(default_factory=dict)  # by pattern of the file's name
    fault: str = ""

    def card_for(self, file: str) -> Path | None:
        """Give the operator's card for a weights file of this name."""
        named = (card for pattern, card in self.cards.items() if fnmatch(file, pattern))
        return self.rule.card or next(named, None)

    def card_sha256(self, file: str, beside: str) -> str:
        """Digest of the card that a weights file gets: the operator's now, else the one beside."""
        given = self.card_for(PurePosixPath(file).name)
        return card_digest(given, trusted=True) if given else beside

    def key(self, artifact: str, card: str) -> str:
        """Digest all that decides the verdict; `card` of the card that is used, or empty."""
        return _digest({"artifact": artifact, "card": card, "terms": self.sha256})


def make_ready(rule: Rule, cards: dict[str, Path]) -> Ready:
    """Read what the rule names; missing images are a fault of the rule, and end no audit.

    Raises:
        UsageError: policy, card or calibration cannot be read.
    """
    policy = read_policy(rule.policy or "default")
    calibration = read_calibration(str(rule.calibration) if rule.calibration else None)
    for card in (rule.card, *cards.values()):
        if card is not None:
            read_card(card, trusted=True)
    fault, images = "", {}
    try:
        images = {name: images_digest(getattr(rule, name)) for name in ("data", "verify_data")}
    except DataError as error:
        fault = f"{error}. {error.hint or 'Correct `data` in the rule.'}"
    today = datetime.now(UTC).date()
    in_force = [waiver.model_dump_json() for waiver in policy.waivers if waiver.expires >= today]
    sha256 = _digest(
        {
            "tool": __version__,
            "policy": policy.sha256,
            "waivers": in_force,
            "calibration": calibration.sha256,
            "images": images,
            "method": rule.method,
            "device": rule.device,
            "seed": rule.seed,
        }
    )
    return Ready(rule=rule, policy=policy, sha256=sha256, cards=cards, fault=fault)


def card_digest(path: Path | None, *, trusted: bool) -> str:
    """Digest a card and the operator's code that it names; empty where there is none.

    Raises:
        CardError: a card that was given is malformed.
    """
    if path is None:
        return ""
    try:
        card: Card = read_card(path, trusted=trusted)
    except CardError:
        if trusted:
            raise
        return sha256_file(path)  # the scan says what is wrong with it
    code = own_file(card)
    return f"{card.sha256}{sha256_file(code) if code and code.is_file() else ''}"


def images_digest(source: str | None) -> str:
    """Digest the names and bytes of all files at `source`; empty where none is given.

    Raises:
        DataError: there is nothing, or it cannot be read.
    """
    if source is None:
        return ""
    path = Path(source.split(":", 2)[-1] if source.startswith(_NAMED) else source)
    if not path.exists():
        message = f"no images at {path}"
        raise DataError(message, hint="Correct `data` in the rule.")
    digest = hashlib.sha256()
    try:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                name = os.fsencode(file.relative_to(path).as_posix())
                digest.update(name + f"\0{sha256_file(file)}\n".encode())
    except OSError as error:
        message = f"cannot read {error.filename or path}: {error.strerror}"
        raise DataError(message, hint="Make it readable.") from None
    return digest.hexdigest()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
