"""The operator's side of MLflow against a real server, filled by REST calls."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx
import pytest
import pytest_asyncio

from fairlead_operator.api import Manifest, Status, read_status
from fairlead_operator.controller import Controller
from fairlead_operator.kinds import MODEL_DEPLOYMENT, Kind
from fairlead_operator.mlflow import MLflow
from fairlead_operator.settings import Settings
from tests.controlplane.cluster import Registry
from tests.unit.operator.fake import FakeCluster, Nothing
from tests.unit.operator.samples import raw


@pytest.fixture(scope="session")
def registry(mlflow_server: str) -> Registry:
    return Registry(mlflow_server)


@pytest.fixture
def name() -> str:
    """Of a registered model that no other test has."""
    return f"m-{secrets.token_hex(4)}"


@pytest_asyncio.fixture
async def mlflow(mlflow_server: str) -> AsyncIterator[MLflow]:
    adapter = MLflow(mlflow_server)
    yield adapter
    await adapter.close()


@pytest.fixture
def calls(mlflow: MLflow) -> Counter[str]:
    """How often the operator asked MLflow what, by path."""
    counted: Counter[str] = Counter()

    async def count(request: httpx.Request) -> None:
        counted[request.url.path.removeprefix("/api/2.0/mlflow/")] += 1

    mlflow._client.event_hooks["request"].append(count)
    return counted


@dataclass
class ToldCluster(FakeCluster):
    """A fake cluster whose statuses can be awaited."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        stored = await super().apply_status(kind, manifest)
        self.changed.set()
        return stored

    async def until(self, name: str, holds: Callable[[Status], bool], seconds: float) -> None:
        """Waits until the resource's status is so."""
        async with asyncio.timeout(seconds):
            while not holds(read_status(self.resource(name).get("status"))):
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def operator(mlflow_server: str, mlflow: MLflow) -> Callable[..., Controller]:
    """A controller with resources on a fake cluster; settings as given."""

    def make(*resources: dict[str, object], **changes: object) -> Controller:
        settings = Settings(predictor_image="predictor:1", mlflow_tracking_uri=mlflow_server, **changes)
        cluster = ToldCluster()
        for resource in resources:
            cluster.put(MODEL_DEPLOYMENT, resource)
        controller = Controller(settings, cluster, mlflow, None, Nothing())
        cluster.deliver(controller.observed)
        return controller

    return make


def followers(count: int, name: str, alias: str = "champion") -> list[dict[str, object]]:
    """Resources that follow one alias."""
    return [raw(f"r{index}", model={"uri": f"models:/{name}@{alias}"}) for index in range(count)]
