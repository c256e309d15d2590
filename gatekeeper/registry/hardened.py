"""The hardened ONNX of a version, logged in MLflow as a new version of the same model."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from gatekeeper.registry.approval import HARDENED_SHA256, SOURCE_VERSION
from gatekeeper.registry.interface import Outcome

_EXPERIMENT = "gatekeeper"
_FOLDER = "hardened"


def is_due(known: dict[str, str], outcome: Outcome) -> bool:
    """Tell whether a version's hardened artifact belongs in the registry.

    What was logged here once is audited like any other version, but not hardened again.
    """
    if outcome.decision != "hardened" or not outcome.accepted or outcome.hardened is None:
        return False
    ours = known.get(HARDENED_SHA256) == outcome.artifact_sha256.removeprefix("sha256:")
    return not (SOURCE_VERSION in known and ours)


def logged(client: Any, name: str, number: str, outcome: Outcome) -> str:
    """Log the hardened artifact, unless it was before, and give its version number."""
    assert outcome.hardened is not None
    with outcome.hardened.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return _known(client, name, number, digest) or _log(client, name, number, outcome, digest)


def _known(client: Any, name: str, number: str, digest: str) -> str:
    # Names may hold quotes, which MLflow's filters cannot escape; a digest holds none.
    found = client.search_model_versions(f"tags.`{HARDENED_SHA256}` = '{digest}'")
    numbers = [
        int(each.version)
        for each in found
        if each.name == name and each.tags.get(SOURCE_VERSION) == number
    ]
    return str(max(numbers)) if numbers else ""


def _log(client: Any, name: str, number: str, outcome: Outcome, digest: str) -> str:
    """Create a run with the file, and a version from it; the tags come with the version.

    So a killed process leaves at most a run that no version refers to.
    """
    run = client.create_run(_experiment(client), run_name=f"{name}-{number}-hardened")
    run_id = run.info.run_id
    try:
        client.log_artifact(run_id, str(outcome.hardened), _FOLDER)
        version = client.create_model_version(
            name,
            source=f"{run.info.artifact_uri}/{_FOLDER}",
            run_id=run_id,
            tags={SOURCE_VERSION: number, HARDENED_SHA256: digest},
            description=f"Version {number}, hardened by Gatekeeper; report: {outcome.report}",
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
