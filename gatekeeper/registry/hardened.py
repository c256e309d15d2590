"""The hardened ONNX of a version, logged in MLflow as a new version of the same model."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from gatekeeper.registry.approval import HARDENED_SHA256, SOURCE_VERSION
from gatekeeper.registry.interface import Outcome

_EXPERIMENT = "gatekeeper"
_FOLDER = "hardened"


def due(known: dict[str, str], outcome: Outcome) -> Path | None:
    """Give the artifact that belongs in the registry; None where none does.

    What was logged here once is audited like any other version, but not hardened again.
    """
    if outcome.decision != "hardened" or not outcome.accepted:
        return None
    ours = known.get(HARDENED_SHA256) == outcome.artifact_sha256.removeprefix("sha256:")
    return None if SOURCE_VERSION in known and ours else outcome.hardened


def logged(client: Any, name: str, number: str, file: Path, report: str) -> str:
    """Log a hardened artifact, unless it was before; give the number of the version it is."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    known = _known(client, name, number, digest)
    return known or _log(client, name, number, file, {"report": report, "digest": digest})


def _known(client: Any, name: str, number: str, digest: str) -> str:
    # Names may hold quotes, which MLflow's filters cannot escape; a digest holds none.
    found = client.search_model_versions(f"tags.`{HARDENED_SHA256}` = '{digest}'")
    numbers = [
        int(each.version)
        for each in found
        if each.name == name and each.tags.get(SOURCE_VERSION) == number
    ]
    return str(max(numbers)) if numbers else ""


def _log(client: Any, name: str, number: str, file: Path, told: dict[str, str]) -> str:
    """Create a run with the file, and a version from it; the tags come with the version.

    So a killed process leaves at most a run that no version refers to.
    """
    run = client.create_run(_experiment(client), run_name=f"{name}-{number}-hardened")
    run_id = run.info.run_id
    try:
        client.log_artifact(run_id, str(file), _FOLDER)
        version = client.create_model_version(
            name,
            source=f"{run.info.artifact_uri}/{_FOLDER}",
            run_id=run_id,
            tags={SOURCE_VERSION: number, HARDENED_SHA256: told["digest"]},
            description=f"Version {number}, hardened by Gatekeeper; report: {told['report']}",
            await_creation_for=0,
        )
    except BaseException:
        with suppress(Exception):
            client.delete_run(run_id)
        raise
    client.set_terminated(run_id)
    return str(version.version)


def _experiment(client: Any) -> str:
    """Give the experiment that holds the runs, made where there is none."""
    found = client.get_experiment_by_name(_EXPERIMENT)
    if found is None:
        with suppress(Exception):  # another worker may be first; what remains wrong shows below
            return str(client.create_experiment(_EXPERIMENT))
        found = client.get_experiment_by_name(_EXPERIMENT)
    return str(found.experiment_id)
