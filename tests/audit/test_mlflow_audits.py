"""Audits of a real MLflow server: tags, an alias, an outage, and a deleted version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from candidates import gatekeeper
from registries import LFS, configure, hostile, judgements, rows, told
from servers import MlflowServer
from stores import MlflowStore

pytestmark = [pytest.mark.server, pytest.mark.slow]
OUT = "gatekeeper-audit"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    pytest.importorskip("mlflow", reason="needs MLflow (the extra `mlflow`)")
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()


def audit(server: MlflowServer, folder: Path, *words: str) -> tuple[int, str]:
    done = gatekeeper("audit", f"mlflow:{server.uri}", "--config", "audit.yaml", *words, cwd=folder)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_an_mlflow_registry_is_audited_tagged_and_survives_an_outage(
    server: MlflowServer, tmp_path: Path
) -> None:
    store = MlflowStore(server.uri, tmp_path / "to-log")
    store.put("evil", {"model.pkl": hostile()})
    store.put("evil", {"model.pkl": hostile()})  # the same bytes under another version
    store.put("pointer", {"model.pt": LFS})
    configure(tmp_path, "mlflow: {approve_alias: approved}")

    code, said = audit(server, tmp_path)
    assert code == 1, said
    assert told(tmp_path)["judged"] == 2
    tags = store.tags("evil", "2")
    assert tags["gatekeeper.verdict"] == "reject"
    assert tags["gatekeeper.artifact_sha256"].endswith(rows(tmp_path)["evil/2"]["sha256"])
    assert tags["gatekeeper.report_uri"].startswith("file://")
    assert store.tags("pointer", "1")["gatekeeper.verdict"] == "undecided"
    assert store.aliases("evil") == {}

    server.stop()
    code, said = audit(server, tmp_path)
    assert code == 3, said
    assert "the list of versions broke off" in said
    assert [row["change"] for row in rows(tmp_path).values()] == []  # nothing is called gone

    server.start()
    store.delete("pointer", "1")
    code, said = audit(server, tmp_path)
    assert code == 1, said
    assert told(tmp_path)["judged"] == 0
    assert {name: row["change"] for name, row in rows(tmp_path).items()} == {
        "evil/1": "same",
        "evil/2": "same",
        "pointer/1": "gone",
    }
    assert len(judgements(tmp_path)) == 2
    assert "127.0.0.1" in told(tmp_path)["registry"]
