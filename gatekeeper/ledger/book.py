"""The ledger: every audit, every verdict, every version, and how each came to be so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from functools import cached_property
from sys import intern
from threading import Event, Lock, Thread
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, RowMapping, Select, desc, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

from gatekeeper.ledger.claims import RENEW, claim, is_free, owner, release, renew
from gatekeeper.ledger.entries import Finished, Judgement, Past, Seen
from gatekeeper.ledger.opening import connect, failed
from gatekeeper.ledger.tables import AUDITS, CHANGES, CLAIMS, JUDGEMENTS, VERSIONS

Answer = TypeVar("Answer")
_TRIES = 5
_AT_ONCE = 1000  # rows of a long answer that are held at a time
_PAUSE = 1.0  # seconds before the first new try; doubled each time


class Ledger:
    """A ledger in SQLite or PostgreSQL; every method is one transaction, taken again if cut."""

    def __init__(self, url: str) -> None:
        """Open the ledger at `url`.

        Raises:
            UsageError: no such database.
            LedgerError: it does not answer.
        """
        self._engine: Engine = connect(url)
        self._over = Event()
        self._lock = Lock()
        self._held: set[str] = set()  # keys that a thread of this process judges now

    @cached_property
    def owner(self) -> str:
        """This process, as claims name it."""
        Thread(target=self._renew, daemon=True).start()
        return owner()

    def close(self) -> None:
        """Let go of the database, and of what was claimed and not settled."""
        self._over.set()
        if "owner" in self.__dict__:
            self._do(lambda c: c.execute(CLAIMS.delete().where(CLAIMS.c.owner == self.owner)))
        self._engine.dispose()

    def begin(self, registry: str, *, tool: str, at: str) -> int:
        """Write down that an audit began; gives its number."""
        row = {"registry": registry, "tool": tool, "started_at": at}

        def work(connection: Connection) -> int:
            key = connection.execute(insert(AUDITS).values(row)).inserted_primary_key
            return int(key[0]) if key else 0

        return self._do(work)

    def finish(self, number: int, **ended: Any) -> None:
        """Write down how the audit ended: `finished_at`, `exit_code`, and the counts."""
        self._do(lambda c: c.execute(update(AUDITS).where(AUDITS.c.number == number).values(ended)))

    def trend(self, registry: str, newest: int) -> list[Finished]:
        """Give the `newest` audits of `registry` that came to their end, oldest first."""
        asked = select(*[AUDITS.c[field.name] for field in fields(Finished)])
        asked = asked.where(AUDITS.c.registry == registry, AUDITS.c.finished_at.is_not(None))
        found = self._all(asked.order_by(desc(AUDITS.c.number)).limit(newest))
        return [Finished(**row) for row in reversed(found)]

    def seen(self, registry: str) -> dict[tuple[str, str], Seen]:
        """Give every version of `registry` as the last audits left it, by model and version."""
        names = [field.name for field in fields(Seen)]
        asked = select(*[VERSIONS.c[name] for name in names])
        asked = asked.where(VERSIONS.c.registry == registry).execution_options(yield_per=_AT_ONCE)

        def work(connection: Connection) -> dict[tuple[str, str], Seen]:
            rows = connection.execute(asked).mappings()
            return {(row["model"], row["version"]): Seen(**_shared(row)) for row in rows}

        return self._do(work)

    def keep(
        self, registry: str, number: int, at: str, found: Iterable[tuple[Seen, str | None]]
    ) -> None:
        """Write down versions as they are now; with the change, where that belongs in history."""
        rows = list(found)

        def work(connection: Connection) -> None:
            for seen, change in rows:
                place = _placed(connection, registry, seen)
                if change is None:
                    continue
                told = {name: getattr(seen, name) for name in _TOLD}
                line = {"audit": number, "version_id": place, "at": at, "change": change}
                connection.execute(insert(CHANGES).values({**line, **told}))

        self._do(work)

    def judgements(self, registry: str) -> dict[str, Judgement]:
        """Give every verdict on bytes that `registry` was seen to hold, by its key."""
        held = select(VERSIONS.c.artifact_sha256).where(VERSIONS.c.registry == registry)
        asked = select(JUDGEMENTS).where(JUDGEMENTS.c.artifact_sha256.in_(held))
        asked = asked.execution_options(yield_per=_AT_ONCE)

        def work(connection: Connection) -> dict[str, Judgement]:
            rows = connection.execute(asked).mappings()
            return {row["key"]: Judgement(**_shared(row)) for row in rows}

        return self._do(work)

    def judgement(self, key: str) -> Judgement | None:
        """Give the verdict under `key`, where there is one."""
        rows = self._all(select(JUDGEMENTS).where(JUDGEMENTS.c.key == key))
        return Judgement(**rows[0]) if rows else None

    def claim(self, key: str) -> str | None:
        """Take `key` to judge it; None where that worked, else who is judging it now."""
        with self._lock:
            if key in self._held:
                return "this audit"
            holder = self._do(lambda connection: claim(connection, key, self.owner))
            if holder is None:
                self._held.add(key)
            return holder

    def is_free(self, key: str) -> bool:
        """Tell whether nobody that lives judges `key` now."""
        return self._do(lambda connection: is_free(connection, key))

    def release(self, key: str) -> None:
        """Let go of `key` without a verdict."""
        try:
            self._do(lambda connection: release(connection, key, self.owner))
        finally:
            self._held.discard(key)

    def settle(self, judgement: Judgement) -> None:
        """Write a verdict down; its key is still to be released."""
        row = asdict(judgement)

        def work(connection: Connection) -> None:
            known = JUDGEMENTS.c.key == judgement.key
            if not connection.execute(update(JUDGEMENTS).where(known).values(row)).rowcount:
                connection.execute(insert(JUDGEMENTS).values(row))

        self._do(work)

    def history(self, model: str) -> list[Past]:
        """Give every change of every version of `model`, oldest first."""
        line, place = CHANGES.c, VERSIONS.c
        asked = (
            select(
                place.registry, place.model, place.version, line.audit, line.at, line.change,
                line.artifact_sha256, line.decision, line.accepted, line.reason,
                JUDGEMENTS.c.policy, JUDGEMENTS.c.findings, JUDGEMENTS.c.run,
            )
            .join(VERSIONS, place.id == line.version_id)
            .join(JUDGEMENTS, JUDGEMENTS.c.key == line.key, isouter=True)
            .where(place.model == model)
            .order_by(line.id)
        )  # fmt: skip
        rows = self._all(asked)
        blank = {"policy": "", "run": ""}
        return [Past(**{**row, **{k: row[k] or v for k, v in blank.items()}}) for row in rows]

    def models(self) -> list[str]:
        """Name every model of every registry."""
        return [str(row["model"]) for row in self._all(select(VERSIONS.c.model).distinct())]

    def _all(self, asked: Select[Any]) -> Sequence[dict[str, Any]]:
        return self._do(lambda c: [dict(row) for row in c.execute(asked).mappings()])

    def _do(self, work: Callable[[Connection], Answer]) -> Answer:
        """Do `work` in one transaction; again, where the connection was cut before its end.

        Raises:
            LedgerError: the database refuses, or stays away.
        """
        for tried in range(_TRIES):
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except IntegrityError as error:
                # Two workers wrote the same line: the second try finds it.
                if tried + 1 == _TRIES:
                    raise failed(error) from None
            except DBAPIError as error:
                if tried + 1 == _TRIES or not _cut(error):
                    raise failed(error) from None
                time.sleep(_PAUSE * 2**tried)
            except SQLAlchemyError as error:
                raise failed(error) from None
        raise AssertionError  # the last try returns or raises

    def _renew(self) -> None:
        while not self._over.wait(RENEW):
            try:
                with self._engine.begin() as connection:
                    renew(connection, self.owner, list(self._held))
            except SQLAlchemyError:
                continue  # the next sign of life may come through


_TOLD = ("artifact_sha256", "key", "decision", "accepted", "reason")


def _shared(row: RowMapping) -> dict[str, Any]:
    """Keep one copy of what stands in many lines, such as a reason or a day."""
    return {name: intern(value) if type(value) is str else value for name, value in row.items()}


def _placed(connection: Connection, registry: str, seen: Seen) -> int:
    """Write a version as it is now, and give its id."""
    names = {"registry": registry, "model": seen.model, "version": seen.version}
    row = {field.name: getattr(seen, field.name) for field in fields(Seen)}
    here = [VERSIONS.c[name] == value for name, value in names.items()]
    known = connection.execute(select(VERSIONS.c.id).where(*here)).scalar()
    if known is not None:
        connection.execute(update(VERSIONS).where(VERSIONS.c.id == known).values(row))
        return int(known)
    key = connection.execute(insert(VERSIONS).values({**names, **row})).inserted_primary_key
    return int(key[0]) if key else 0


def _cut(error: DBAPIError) -> bool:
    """Tell whether the connection, or another writer, was at fault, and not the statement."""
    if error.connection_invalidated or "locked" in str(error.orig):
        return True
    # A server that is starting again refuses connections for a while.
    return isinstance(error, OperationalError) and "sqlite3" not in type(error.orig).__module__
