"""A real MLflow server for the demo, spoken to over REST, as anybody's build would."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import Request

from gatekeeper.errors import UsageError
from gatekeeper.loopback import HOST, asked, free_port, posting, serving

_API = "/api/2.0/mlflow/"
_SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@dataclass(frozen=True)
class MlflowServer:
    """Registers files as models, and reads back what stands beside them."""

    address: str

    def register(self, model: str, files: dict[str, bytes]) -> str:
        """Log the files in a run and make them a version of `model`; gives its number."""
        started = {"experiment_id": "0", "run_name": model, "start_time": int(time.time() * 1000)}
        run = self._post("runs/create", started)["run"]["info"]
        place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for name, content in files.items():
            path = f"/api/2.0/mlflow-artifacts/artifacts/{quote(f'{place}/model/{name}')}"
            asked(Request(f"{self.address}{path}", content, method="PUT"))
        if model not in self._models():
            self._post("registered-models/create", {"name": model})
        version = {"name": model, "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
        return str(self._post("model-versions/create", version)["model_version"]["version"])

    def tags(self, model: str, version: str) -> dict[str, str]:
        """Give the tags of a version."""
        found = self._get("model-versions/get", name=model, version=version)["model_version"]
        return {tag["key"]: tag["value"] for tag in found.get("tags", [])}

    def aliases(self, model: str) -> dict[str, str]:
        """Give the version that every alias of a model leads to."""
        found = self._get("registered-models/get", name=model)["registered_model"]
        return {alias["alias"]: str(alias["version"]) for alias in found.get("aliases", [])}

    def _models(self) -> set[str]:
        found = self._get("registered-models/search").get("registered_models", [])
        return {model["name"] for model in found}

    def _get(self, what: str, **named: str) -> Any:
        return asked(Request(f"{self.address}{_API}{what}?{urlencode(named)}"))

    def _post(self, what: str, content: dict[str, Any]) -> Any:
        return asked(posting(f"{self.address}{_API}{what}", content))


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Run `mlflow server` on SQLite in `folder`, which a person may start again later.

    Raises:
        UsageError: MLflow is not installed.
    """
    if importlib.util.find_spec("mlflow") is None:
        message = "MLflow is not installed"
        raise UsageError(message, hint="Install it with: pip install 'gatekeeper-models[mlflow]'")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    address = f"http://{HOST}:{port}"
    words = [
        sys.executable, "-P", "-m", "mlflow", "server", "--host", HOST, "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder.resolve()}/mlflow.db",
        "--artifacts-destination", str(folder.resolve() / "artifacts"),
    ]  # fmt: skip
    log = folder / "server.log"
    with serving(words, alive=f"{address}/health", log=log, env=_SILENT):
        yield MlflowServer(address)
