"""Opens a ledger's database, and brings its tables up to date."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from gatekeeper.errors import LedgerError, UsageError

_HEAD = "0001"
_LOCK = 0x6761_7465  # of PostgreSQL's advisory locks: one worker at a time changes tables
_WAIT = 60  # seconds that a writer waits for another one of SQLite


def connect(url: str) -> Engine:
    """Open the database at `url` (SQLAlchemy's form) and migrate it where it is older.

    Raises:
        UsageError: no such database, or its driver is not installed.
        LedgerError: it does not answer, or a newer Gatekeeper wrote it.
    """
    try:
        engine = _engine(make_url(url))
    except ModuleNotFoundError as error:
        message = f"the ledger needs {error.name}"
        raise UsageError(message, hint="pip install 'gatekeeper-models[postgres]'") from None
    except (ArgumentError, NoSuchModuleError):
        message = "the ledger's address is no URL of SQLite or PostgreSQL"
        hint = "Such as sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME."
        raise UsageError(message, hint=hint) from None
    try:
        _migrate(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise failed(error) from None
    except LedgerError:
        engine.dispose()
        raise
    return engine


def failed(error: Exception) -> LedgerError:
    """Say on one line, without the statement, what the database answered."""
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()
    return LedgerError(f"the ledger does not answer: {reason[0] if reason else type(error)}")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        # A connection that was cut is noticed before it is used.
        return create_engine(url, pool_pre_ping=True)
    if url.database and url.database != ":memory:":
        parent = Path(url.database).parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot make {parent}: {error.strerror}"
            hint = "Choose another --out or --ledger, or make it writable."
            raise LedgerError(message, hint=hint) from None
    engine = create_engine(url, connect_args={"timeout": _WAIT})

    @event.listens_for(engine, "connect")
    def _connected(raw: Any, _: Any) -> None:
        # Transactions are SQLAlchemy's to begin, not the driver's.
        raw.isolation_level = None
        raw.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # A reader that turns into a writer midway would not wait for the other writer.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        if _revision(connection) == _HEAD:
            return
    from alembic import command
    from alembic.config import Config

    with _alone(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = _revision(connection)
        if found is not None and found > _HEAD:
            message = f"the ledger was written by a newer Gatekeeper (tables {found})"
            raise LedgerError(message, hint="Update Gatekeeper, or name another ledger.")
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Keep two processes from making the tables of one SQLite file at once."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if not file or file == ":memory:":
        yield
        return
    with Path(f"{file}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
