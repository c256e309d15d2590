"""A real PostgreSQL server on loopback, for the tests marked `server`."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    kept = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return kept[-1].parent if kept else None


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server of this test run, without a database."""
    pytest.importorskip("psycopg", reason="needs psycopg (the extra `postgres`)")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("needs PostgreSQL's server, which is not installed")
    place = tmp_path_factory.mktemp("postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # PostgreSQL refuses to run as root.
    user = {"user": "nobody"} if os.getuid() == 0 else {}
    if user:
        nobody = pwd.getpwnam("nobody")
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
        for parent in (place, *place.parents):
            if parent.owner() == "root" and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o055)
    data = place / "data"
    common = {"check": True, "capture_output": True, "cwd": place, **user}
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "gate", "-A", "trust", "--no-sync"], **common
    )
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [binaries / "pg_ctl", "-D", data, "-w", "-l", place / "log"]
    subprocess.run([*control, "-o", options, "start"], **common)
    yield f"postgresql+psycopg://gate@127.0.0.1:{port}"
    subprocess.run([*control[:-2], "-m", "immediate", "stop"], **common)


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """URL of an empty database."""
    name = f"ledger_{uuid.uuid4().hex[:12]}"
    engine = create_engine(f"{postgres_server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{postgres_server}/{name}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
