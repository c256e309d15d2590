"""MLflow as a registry; the only file that imports it, and only when such a registry is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from gatekeeper.errors import RegistryError, UsageError
from gatekeeper.foreign_text import visible
from gatekeeper.registry import approval, artifacts, hardened
from gatekeeper.registry.contents import contents
from gatekeeper.registry.interface import Outcome, Version
from gatekeeper.registry.landing import landing
from gatekeeper.registry.mlflow_faults import told
from gatekeeper.registry.names import is_plain, shown
from gatekeeper.registry.redaction import in_one_line, redacted
from gatekeeper.registry.sources import checked_uri, local_folder

_ODD = "its name cannot be a folder's: register it under another"
_READY = "READY"
# Nothing here reports usage, whatever the operator's shell says.
_SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
# A dead server is told within half a minute: two tries of 15 seconds; audits try again themselves.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# Immutable, and with new versions last, so that what is published meanwhile shifts no page.
_ORDER = ["creation_timestamp ASC", "name ASC", "version_number ASC"]


class MlflowRegistry:
    """Registered models of an MLflow server, or of the database behind one.

    Args of the constructor, after the URI:
        approve_alias: an alias, such as `approved`, that leads to what may be deployed: the newest
            version that passed, or the hardened version logged for one (see `approval`).
        log_hardened: log the hardened ONNX of an accepted HARDENED as a new version of its model.
        page: versions asked for at once.
    """

    def __init__(
        self,
        uri: str,
        *,
        approve_alias: str | None = None,
        log_hardened: bool = False,
        page: int = 1000,
    ) -> None:
        """Import MLflow with its reports of usage switched off; nothing is asked of the server.

        Raises:
            UsageError: MLflow is not installed, or has no registry at such a URI.
        """
        self._uri = checked_uri(uri)
        self.address = f"mlflow:{visible(redacted(uri))}"
        self._alias, self._log, self._page = approve_alias, log_hardened, page
        os.environ.update(_SILENT)
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        try:
            import mlflow.tracking  # noqa: F401
        except ImportError:
            raise UsageError(
                "MLflow is not installed",
                hint="Install it with: pip install 'gatekeeper-models[mlflow]'",
            ) from None

    def versions(self) -> Iterator[Version]:
        """Every version, oldest first; needs memory for the names of all and one page of the rest.

        MLflow counts its pages by position: a version that is deleted while they are read may move
        another one to a page that was read already, so that only the next audit sees it.

        Raises:
            RegistryError: the server does not answer, or its pages go round in a circle.
        """
        met: set[tuple[str, str]] = set()
        tokens: set[str] = set()
        token = None
        while True:
            with told(self.address):
                page = self._client.search_model_versions(
                    filter_string="", max_results=self._page, order_by=_ORDER, page_token=token
                )
                new = [each for each in page if (each.name, each.version) not in met]
                versions = [_version(each) for each in new]
            yield from versions
            met.update((each.name, each.version) for each in new)
            token = page.token
            if not token:
                return
            if token in tokens or not new:
                message = f"{self.address} goes round in a circle after {len(met):,} versions"
                raise RegistryError(message, hint="Its paging is broken: update the server.")
            tokens.add(token)

    def fetch(self, version: Version, into: Path) -> Path:
        """Download every artifact of the version as bytes; nothing of it is loaded.

        A version whose artifacts lie in a folder of this machine gives that folder.

        Raises:
            RegistryError: it was deleted, lies where it must not be fetched from, or the server or
                the disk does not serve.
        """
        if version.fault:
            raise RegistryError(f"{version.address}: {version.fault}")
        with told(version.address, into):
            source = self._source(version)
            if folder := local_folder(source, self._uri):
                contents(str(folder), str(folder))
                return folder
            repository = self._artifacts(source)
            files = artifacts.listed(repository)
            if not files:
                return self._single(source, into)
            with landing(into, artifacts.size(files)) as place:
                repository.download_artifacts("", str(place))
                artifacts.check(place, files)
                return place

    def publish(self, version: Version, outcome: Outcome) -> None:
        """Write tags, and where asked log the hardened artifact and move the alias.

        What is no longer approved loses the alias first; what is approved gets it last. Publishing
        the same outcome again changes nothing.

        Raises:
            RegistryError: it was deleted, or the server did not take it.
        """
        name, number = version.model, version.version
        with told(version.address):
            client = self._client
            found = client.get_model_version(name, number)
            if self._alias and outcome.decision != "pass":
                approval.withdraw(client, self._alias, name, number)
            to_deploy = number if outcome.decision == "pass" else ""
            wanted = approval.tags(outcome)
            if self._log and (file := hardened.due(found.tags, outcome)):
                to_deploy = hardened.logged(client, name, number, file, outcome.report)
                wanted[approval.HARDENED_VERSION] = to_deploy
            for key, value in wanted.items():
                if found.tags.get(key) != value:
                    client.set_model_version_tag(name, number, key, value)
            if self._alias and to_deploy:
                approval.grant(client, self._alias, name, to_deploy)

    @cached_property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)

    def _source(self, version: Version) -> str:
        """Say where the artifacts lie, with what only the server can resolve resolved."""
        source = str(self._client.get_model_version_download_uri(version.model, version.version))
        if source.startswith("models:/m-"):
            model, _, below = source.removeprefix("models:/").partition("/")
            source = f"{self._client.get_logged_model(model).artifact_location}/{below}"
        elif source.startswith("runs:/"):
            run, _, below = source.removeprefix("runs:/").partition("/")
            source = f"{self._client.get_run(run).info.artifact_uri}/{below}"
        return source.rstrip("/")

    def _artifacts(self, source: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(source, tracking_uri=self._uri, registry_uri=self._uri)

    def _single(self, source: str, into: Path) -> Path:
        """Download a version that is one file, and not a folder of them."""
        above, _, name = source.rpartition("/")
        repository = self._artifacts(above)
        files = artifacts.listed_alone(repository, name)
        with landing(into, artifacts.size(files)) as place:
            repository.download_artifacts(name, str(place))
            artifacts.check(place, files)
            return place


def _version(found: Any) -> Version:
    name, number = str(found.name), str(found.version)
    fault = ""
    if not (is_plain(name) and is_plain(number)):
        fault = _ODD
    elif found.status != _READY:
        said = f": {found.status_message}" if found.status_message else ""
        fault = in_one_line(f"its registration did not end well ({found.status}){said}")
    return Version(
        model=shown(name),
        version=shown(number),
        address=f"models:/{shown(name)}/{shown(number)}",
        fingerprint=_fingerprint(found),
        fault=fault,
    )


def _fingerprint(found: Any) -> str:
    """Digest what MLflow never changes about a version; it tells no digest of the bytes.

    So this cannot see files that were overwritten in the artifact store underneath.
    """
    if not found.source:
        return ""
    facts = (found.source, found.run_id, getattr(found, "model_id", None), found.creation_timestamp)
    return f"sha256:{hashlib.sha256(repr(facts).encode()).hexdigest()}"
