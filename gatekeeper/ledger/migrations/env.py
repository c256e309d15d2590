"""Alembic's entrance: brings the ledger that it was handed to the newest tables."""

from __future__ import annotations

from alembic import context

from gatekeeper.ledger.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
