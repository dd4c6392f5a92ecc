"""One PostgreSQL and one S3, and an MLflow that has moved to them from SQLite and a directory."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import ROOT, Manifest
from tests.integration.storage import scientist, servers
from tests.integration.storage.release import (
    ADMIN,
    Running,
    Secrets,
    basic,
    clean,
    mlflow_of,
    program,
    release,
    secrets,
    stored_outside,
)  # fmt: skip
from tests.integration.storage.servers import S3, Postgresql
from tools.localcluster.certificates import Authority

TOOL = ROOT / "tools/mlflow/copy_database.py"
PROXIED = {"MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false"}
"""Without it MLflow's client asks the server for signed addresses in the object store, which it may not reach."""


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return servers.authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def postgresql(tls: Authority) -> Iterator[Postgresql]:
    with servers.postgresql(tls) as running:
        yield running


@pytest.fixture(scope="module")
def s3(tls: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with servers.s3(tls, tmp_path_factory.mktemp("s3")) as running:
        yield running


@dataclass(frozen=True)
class Moved:
    """What MLflow told before and after, where it is now, and what is left of the old one."""

    before: dict[str, Any]
    after: dict[str, Any]
    server: Running
    printed: str
    volume: Path
    manifests: list[Manifest]


def job() -> Manifest:
    """The pod of the Job that moves it."""
    made: Manifest = next(yaml.safe_load_all((ROOT / "manifests/mlflow-migration.yaml").read_text()))
    pod: Manifest = made["spec"]["template"]["spec"]
    return pod


def run(container: Manifest, files: Secrets, root: Path, **instead: str) -> str:
    """Runs one container of the Job on the volume below root, `instead` being variables of ours; what it prints."""
    made = program(job(), container, files | {"mlflow-migration": {TOOL.name: TOOL.read_text()}}, root)
    environment = made.environment | instead
    done = subprocess.run(made.command, env=environment, cwd=made.home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def moved(postgresql: Postgresql, s3: S3, tls: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    given, root = secrets(tls, s3), tmp_path_factory.mktemp("old")
    old = release(
        "default",
        mlflow__image__tag="v3.17.2-full",
        mlflow__auth={"enabled": True, "adminSecret": "mlflow-admin"},
        mlflow__credentialsSecret="fairlead-mlflow-user",
        operator__webhook={"enabled": True, "secret": {"name": "webhook"}},
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (basic(*ADMIN) | PROXIED).items():
            patch.setenv(name, value)
        with mlflow_of(old, given, root) as server:
            command = [sys.executable, scientist.__file__, server.url]
            left = subprocess.run(command, env=clean() | basic(*ADMIN), capture_output=True, timeout=120)
            assert left.returncode == 0, left.stderr.decode()[-3000:]
            before = scientist.told(server.url)
        postgresql.create("moved")
        (artifacts,), (database,) = job()["initContainers"], job()["containers"]
        with ThreadPoolExecutor() as both:  # one after the other in the Job, but they share nothing
            uploaded = both.submit(run, artifacts, given, root, MLFLOW_S3_ENDPOINT_URL=s3.endpoint)
            where = {"PGHOST": "localhost", "PGPORT": str(postgresql.port), "PGDATABASE": "moved"}
            printed = both.submit(run, database, given, root, **where).result()
            uploaded.result()
        manifests = stored_outside(postgresql, s3, "moved")
        with mlflow_of(manifests, given, tmp_path_factory.mktemp("new")) as server:
            yield Moved(before, scientist.told(server.url), server, printed, root, manifests)
