"""What an audit was asked for, in plain values that travel to a worker as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from gatekeeper.config import config_file
from gatekeeper.errors import UsageError
from gatekeeper.foreign_text import visible
from gatekeeper.registry.redaction import has_password, redacted

_FILE = re.compile(r"((?:mlflow:)?sqlite(?:\+\w+)?:///)([^?]+)(.*)", re.DOTALL)
_HINT = (
    "Leave it to the environment: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
    "PGPASSWORD, or ~/.pgpass."
)


@dataclass(frozen=True, kw_only=True)
class AuditOrder:
    """What was asked for."""

    registry: str
    out: str
    config: str | None = None
    ledger: str | None = None
    workers: int | None = None
    rehash: bool = False  # trust no fingerprint: fetch and digest every version anew
    again: bool = False  # try undecided ones again before their time
    course: str = ""  # tells audits apart in a worker that outlives them, and opens anew for each
    organisation: str | None = None  # its gatekeeper.yaml: "" is none, None is not looked for yet


def placed(order: AuditOrder) -> AuditOrder:
    """Make all that `order` names absolute, for workers and runs that begin in another folder.

    Raises:
        ConfigError: `GATEKEEPER_CONFIG` names nothing.
    """
    registry, organisation = order.registry, order.organisation
    if organisation is None:
        found = config_file(Path.cwd())
        organisation = str(found.resolve()) if found else ""
    return replace(
        order,
        registry=str(Path(registry).resolve()) if Path(registry).is_dir() else _database(registry),
        out=str(Path(order.out).resolve()),
        config=str(Path(order.config).resolve()) if order.config else None,
        ledger=_database(order.ledger) if order.ledger else None,
        organisation=organisation,
    )


def refuse_passwords(order: AuditOrder) -> None:
    """Keep passwords out of what an engine stores and shows.

    Raises:
        UsageError: the address of the registry or of the ledger holds one.
    """
    for address in (order.registry, order.ledger or ""):
        if has_password(address):
            message = f"Prefect would store and show the password in {visible(redacted(address))}"
            raise UsageError(message, hint=_HINT)


def _database(address: str) -> str:
    """Make the file of an SQLite database absolute; any other address stays as it is."""
    parts = _FILE.fullmatch(address)
    if parts is None or parts[2] == ":memory:" or parts[2].startswith("file:"):
        return address
    return f"{parts[1]}{Path(parts[2]).absolute()}{parts[3]}"
