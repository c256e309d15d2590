"""Registries: where an organisation keeps its models, behind one interface.

    registry = open_registry("mlflow:http://127.0.0.1:5000", approve_alias="approved")
    for version in registry.versions():
        folder = registry.fetch(version, into)
        ...
        registry.publish(version, outcome)

A new kind of registry is one file with a class that keeps the promises of `interface.Registry`, a
line in `open_registry`, and a line in the table of `tests/registry/test_registry_promises.py`.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gatekeeper.errors import UsageError
from gatekeeper.foreign_text import visible
from gatekeeper.registry.folder import FolderRegistry
from gatekeeper.registry.interface import Outcome, Registry, Version
from gatekeeper.registry.redaction import redacted

__all__ = ["Outcome", "Registry", "Version", "open_registry"]

_HINT = "Give a folder, mlflow:URI, or s3://BUCKET/PREFIX."
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def open_registry(
    address: str, *, approve_alias: str | None = None, log_hardened: bool = False
) -> Registry:
    """Open the registry at `address`; its libraries are imported now, and nothing is asked of it.

    `address` is a folder, `mlflow:URI` (`mlflow:http://127.0.0.1:5000`, `mlflow:sqlite:///x.db`),
    or a URL that fsspec knows (`s3://BUCKET/PREFIX`). `approve_alias` and `log_hardened` are
    MLflow's: see `gatekeeper.registry.mlflow`.

    Raises:
        UsageError: there is no such folder or scheme, or what reads it is not installed.
    """
    if address.startswith("mlflow:"):
        from gatekeeper.registry.mlflow import MlflowRegistry

        uri = address.removeprefix("mlflow:")
        return MlflowRegistry(uri, approve_alias=approve_alias, log_hardened=log_hardened)
    if approve_alias is not None or log_hardened:
        message = f"{visible(redacted(address))} has no aliases and takes no hardened versions"
        raise UsageError(message, hint="Only MLflow does: leave these settings out.")
    if not address:
        raise UsageError("an empty address names no registry", hint=_HINT)
    if not _SCHEME.match(address):
        return FolderRegistry(Path(address))
    if address.lower().startswith("file://"):
        return FolderRegistry(_local(address))
    from gatekeeper.registry.bucket import BucketRegistry

    return BucketRegistry(address)


def _local(address: str) -> Path:
    parts = urlsplit(address)
    if parts.netloc not in {"", "localhost"}:
        message = f"{visible(redacted(address))} names another machine"
        raise UsageError(message, hint="Write file:///FOLDER, or just the folder.")
    return Path(unquote(parts.path))
