"""Registries with something in them: one class a kind, each real, all with the same few verbs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

from gatekeeper.registry import Registry, open_registry

Files = dict[str, bytes]


class Store(Protocol):
    """Where versions are put as their makers put them, behind the gate's back."""

    def put(self, model: str, files: Files) -> str:
        """Add a version, and give its name."""
        ...

    def delete(self, model: str, version: str) -> None: ...

    def registry(self) -> Registry: ...


class FolderStore:
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)

    def put(self, model: str, files: Files) -> str:
        above = self.root / model
        version = str(len(list(above.iterdir())) + 1 if above.exists() else 1)
        for name, content in files.items():
            path = above / version / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return version

    def delete(self, model: str, version: str) -> None:
        shutil.rmtree(self.root / model / version)

    def registry(self) -> Registry:
        return open_registry(str(self.root))


class BucketStore:
    """A prefix in whatever fsspec reads; `files` is its file system, `root` the path there."""

    def __init__(self, address: str, files: Any, root: str) -> None:
        self.address, self.files, self.root = address, files, root
        self._count: dict[str, int] = {}

    def put(self, model: str, files: Files) -> str:
        self._count[model] = self._count.get(model, 0) + 1
        version = str(self._count[model])
        for name, content in files.items():
            self.files.pipe_file(f"{self.root}/{model}/{version}/{name}", content)
        return version

    def delete(self, model: str, version: str) -> None:
        self.files.rm(f"{self.root}/{model}/{version}", recursive=True)

    def registry(self) -> Registry:
        return open_registry(self.address)


class MlflowStore:
    """A real server; model names get a prefix, so that tests share one server and no model."""

    def __init__(self, uri: str, scratch: Path) -> None:
        from mlflow import MlflowClient

        self.uri, self.scratch = uri, scratch
        self.client: Any = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def put(self, model: str, files: Files) -> str:
        from mlflow.exceptions import RestException

        try:
            self.client.create_registered_model(model)
        except RestException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        run = self.client.create_run("0")
        folder = self.scratch / run.info.run_id
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.client.log_artifacts(run.info.run_id, str(folder), "model")
        source = f"{run.info.artifact_uri}/model"
        made = self.client.create_model_version(
            model, source, run_id=run.info.run_id, await_creation_for=0
        )
        return str(made.version)

    def delete(self, model: str, version: str) -> None:
        self.client.delete_model_version(model, version)

    def tags(self, model: str, version: str) -> dict[str, str]:
        return dict(self.client.get_model_version(model, version).tags)

    def aliases(self, model: str) -> dict[str, str]:
        return dict(self.client.get_registered_model(model).aliases)

    def registry(self, **settings: Any) -> Registry:
        return open_registry(f"mlflow:{self.uri}", **settings)
