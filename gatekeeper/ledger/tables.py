"""The ledger's tables, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()

# Every audit that was begun; one without `finished_at` was killed, or still runs.
AUDITS = Table(
    "audits",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("registry", Text, nullable=False),
    Column("tool", String(40), nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("finished_at", String(40)),
    Column("exit_code", Integer),
    Column("passed", Integer),
    Column("hardened", Integer),
    Column("rejected", Integer),
    Column("undecided", Integer),
    Column("judged", Integer),
    Index("audits_by_registry", "registry", "number"),
)

# Every verdict, by the key of all that decides it.
JUDGEMENTS = Table(
    "judgements",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("artifact_sha256", String(64), nullable=False, index=True),
    Column("decision", String(20), nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("findings", Integer, nullable=False),
    Column("bytes", BigInteger),
    Column("policy", Text, nullable=False),
    Column("policy_sha256", String(64), nullable=False),
    Column("run", Text, nullable=False),
    Column("judged_at", String(40), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("final", Boolean, nullable=False),
)

# Who judges what at this moment; a claim that nobody renews may be taken over.
CLAIMS = Table(
    "claims",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("owner", String(200), nullable=False, index=True),
    Column("seen_at", Float, nullable=False),
)

# Every version of every registry, as the last audit that looked at it left it.
VERSIONS = Table(
    "versions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("registry", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("artifact_sha256", String(64), nullable=False),
    Column("card_sha256", String(64), nullable=False),
    Column("key", String(64), nullable=False),
    Column("blocked", Text, nullable=False),
    Column("decision", String(20), nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", String(40), nullable=False),
    Column("published", Text, nullable=False),
    Column("gone", Boolean, nullable=False),
    UniqueConstraint("registry", "model", "version"),
    Index("versions_by_model", "model"),
)

# How each version came to be so: one line wherever an audit found it otherwise than before.
CHANGES = Table(
    "changes",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("audit", Integer, ForeignKey("audits.number"), nullable=False),
    Column("version_id", Integer, ForeignKey("versions.id"), nullable=False, index=True),
    Column("at", String(40), nullable=False),
    Column("change", String(20), nullable=False),
    Column("artifact_sha256", String(64), nullable=False),
    Column("key", String(64), nullable=False),
    Column("decision", String(20), nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
)
