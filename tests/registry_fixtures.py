"""Each kind of registry, real, on this machine alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from servers import MlflowServer
from stores import BucketStore, FolderStore, MlflowStore, Store

KINDS = [
    "folder",
    "memory",
    pytest.param("s3", marks=pytest.mark.server),
    pytest.param("mlflow", marks=pytest.mark.server),
]


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Address of a real S3 server, with one bucket named `models`."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        import boto3

        boto3.client("s3").create_bucket(Bucket="models")
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    pytest.importorskip("mlflow")
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A registry of each kind in turn, with nothing in it that this test knows."""
    if request.param == "folder":
        return FolderStore(tmp_path / "registry")
    if request.param == "mlflow":
        return request.getfixturevalue("mlflow_store")
    if request.param == "s3":
        request.getfixturevalue("s3_address")
    return bucket({"s3": "s3://models", "memory": "memory://"}[request.param])


@pytest.fixture
def mlflow_store(mlflow_server: MlflowServer, tmp_path: Path) -> MlflowStore:
    return MlflowStore(mlflow_server.uri, tmp_path / "to-log")


@pytest.fixture
def model() -> str:
    """A model's name that no other test uses."""
    return f"net-{uuid4().hex[:8]}"


def bucket(place: str) -> BucketStore:
    fsspec: Any = pytest.importorskip("fsspec")
    address = f"{place}/registry-{uuid4().hex}"
    files, root = fsspec.core.url_to_fs(address, use_listings_cache=False, skip_instance_cache=True)
    return BucketStore(address, files, root)
