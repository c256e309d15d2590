"""The terms of a rule, made ready: what a scan gets, and the digest of all of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
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
from gatekeeper.foreign_text import visible
from gatekeeper.policy import Policy, read_policy
from gatekeeper.rundir import sha256_file

_NAMED = "torchvision:"


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What every model of one rule is judged with, or the fault that keeps it from it."""

    rule: Rule
    policy: Policy
    sha256: str  # of everything but the candidate and a card that lies beside it
    stamp: str = ""  # of the files it was made from, taken before they were read
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

    def stands(self) -> bool:
        """Tell whether nothing that it was made from was touched since."""
        try:
            return self.stamp == _stamp(self.rule, self.policy, self.cards)
        except (OSError, CardError):
            return False

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
    fault, stamp, images = "", "", {}
    try:
        stamp = _stamp(rule, policy, cards)
        images = {name: images_digest(getattr(rule, name)) for name in ("data", "verify_data")}
    except OSError as error:
        fault = f"cannot read {visible(str(error.filename))}: {error.strerror}. Make it readable."
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
    return Ready(
        rule=rule, policy=policy, sha256=sha256, stamp=stamp, cards=cards, fault=fault
    )  # fmt: skip


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
    return _digest([card.sha256, sha256_file(code) if code and code.is_file() else None])


def images_digest(source: str | None) -> str:
    """Digest the names and bytes of all files at `source`; empty where none is given.

    Raises:
        DataError: there is nothing, or it cannot be read.
    """
    if source is None:
        return ""
    path = _place(source)
    if not path.exists():
        message = f"no images at {path}"
        raise DataError(message, hint="Correct `data` in the rule.")
    digest = hashlib.sha256(os.fsencode(source.removesuffix(str(path))))
    try:
        for file in _image_files(path):
            name = os.fsencode(file.relative_to(path).as_posix())
            digest.update(name + f"\0{sha256_file(file)}\n".encode())
    except OSError as error:
        message = f"cannot read {error.filename or path}: {error.strerror}"
        raise DataError(message, hint="Make it readable.") from None
    return digest.hexdigest()


def stamp_of(paths: Iterable[Path | None]) -> str:
    """Digest what the file system tells of files; a swap and a swap back change it, too."""
    told = []
    for path in paths:
        if path is not None:
            seen = path.stat()
            told.append((str(path), seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
    return _digest(told)


def _stamp(rule: Rule, policy: Policy, cards: dict[str, Path]) -> str:
    """Digest what the file system tells of all that the rule names."""
    given = [Path(policy.path), rule.calibration, rule.card, *cards.values()]
    for card in (rule.card, *cards.values()):
        code = own_file(read_card(card, trusted=True)) if card else None
        given.append(code if code and code.is_file() else None)
    for source in (rule.data, rule.verify_data):
        if source is not None and _place(source).exists():
            given += _image_files(_place(source))
    return stamp_of(given)


def _place(source: str) -> Path:
    return Path(source.split(":", 2)[-1] if source.startswith(_NAMED) else source)


def _image_files(path: Path) -> list[Path]:
    """Every file that reading the images may open: a class folder may be a link."""
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for entry in sorted(path.iterdir()):
        found += sorted(entry.rglob("*")) if entry.is_dir() else [entry]
    return [file for file in found if file.is_file()]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
