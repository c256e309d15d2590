"""Where the artifacts of an MLflow version may be fetched from: who registers it says where."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from gatekeeper.errors import RegistryError, UsageError
from gatekeeper.foreign_text import visible
from gatekeeper.registry.redaction import in_one_line, redacted

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# Their clients sign with keys that never leave the machine.
_STORES = frozenset({"s3", "gs", "wasb", "wasbs", "abfs", "abfss", "hdfs", "r2", "b2", "oss"})
_HINT = "Register it with a source in the server's own artifact store."
_NO_FILE = re.compile(r"sqlite(\+\w+)?://(/?|/:memory:)(\?.*)?")


def checked_uri(uri: str) -> str:
    """Give a tracking URI back that MLflow would not take for a new, empty registry.

    Raises:
        UsageError: it is neither a server's nor a database's, or its SQLite file is not there.
    """
    scheme = uri.partition("://")[0].lower()
    dialect = scheme.partition("+")[0]
    if "://" not in uri or dialect not in {"http", "https", *_DATABASES}:
        message = f"mlflow:{visible(redacted(uri))} is no MLflow server or database"
        hint = "Write mlflow:http://HOST:PORT, or mlflow:sqlite:///FILE."
        raise UsageError(message, hint=hint)
    if dialect == "sqlite":
        file = re.sub(r"^[^/]*:///|\?.*$", "", uri)
        if _NO_FILE.fullmatch(uri) or not Path(file).is_file():
            message = f"there is no database {visible(file)}"
            hint = "Name the file that `mlflow server --backend-store-uri` uses."
            raise UsageError(message, hint=hint)
    return uri


def local_folder(source: str, tracking: str) -> Path | None:
    """Give the folder of this machine that `source` names; None where it is to be downloaded.

    A name and password meant for the tracking server go to no other host, and a path is followed
    only where the server runs on this machine.

    Raises:
        RegistryError: nothing may be fetched from there, or the folder is gone.
    """
    parts, server = urlsplit(source), urlsplit(tracking)
    if parts.scheme in {"", "file"}:
        return _folder(parts, server, source)
    if parts.scheme in {"http", "https", "mlflow-artifacts"}:
        own = _host(parts) == _host(server) or (
            parts.scheme == "mlflow-artifacts" and not parts.netloc
        )
        if not (own and server.scheme in {"http", "https"}):
            message = f"its artifacts lie on another server: {in_one_line(source)}"
            raise RegistryError(message, hint=_HINT)
    elif parts.scheme not in _STORES:
        message = f"its artifacts lie where nothing is fetched from: {in_one_line(source)}"
        raise RegistryError(message, hint=_HINT)
    return None


def _folder(parts: SplitResult, server: SplitResult, source: str) -> Path:
    folder = Path(unquote(parts.path) if parts.scheme else source)
    if not folder.is_absolute() or not _is_here(server):
        message = f"its artifacts lie at a path of the server: {in_one_line(source)}"
        raise RegistryError(message, hint="Start the server with --serve-artifacts.")
    if not folder.is_dir():
        raise RegistryError(f"its artifacts were deleted: {in_one_line(folder)}")
    return folder


def _is_here(server: SplitResult) -> bool:
    """Tell whether the server runs on this machine: its database's file, or loopback."""
    if server.scheme not in {"http", "https"}:
        return True
    host = server.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(parts: SplitResult) -> tuple[str | None, int | None]:
    """Give host and port, without user and password."""
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.hostname, parts.port or usual
