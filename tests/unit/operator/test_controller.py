"""Which resource the controller looks at next."""

from typing import Any

import pytest

from fairlead_operator import controller as module
from fairlead_operator.controller import Controller
from fairlead_operator.kinds import MODEL_DEPLOYMENT
from fairlead_operator.kube import KubeError, RefusedError
from fairlead_operator.settings import Settings
from tests.unit.operator.fake import FakeCluster, FakeRegistry, Nothing
from tests.unit.operator.samples import RUNS, raw

SETTINGS = Settings(predictor_image="predictor:1", mlflow_tracking_uri="http://mlflow:5000")


def versioned(obj: dict[str, Any], version: int, observed: int | None = None) -> dict[str, Any]:
    status = {} if observed is None else {"status": {"observedGeneration": observed}}
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}, **status}


@pytest.mark.parametrize(
    "asked", [versioned(raw("asked"), 3), versioned(raw("asked", generation=2), 3, observed=1)], ids=["new", "edited"]
)
async def test_what_somebody_asks_for_comes_before_what_follows_from_it(asked: dict[str, Any]) -> None:
    controller = Controller(SETTINGS, FakeCluster(), FakeRegistry(RUNS), None, Nothing())
    for version, name in enumerate(("one", "two"), 1):
        controller.observed(MODEL_DEPLOYMENT, "MODIFIED", versioned(raw(name), version, observed=1))
    controller.observed(MODEL_DEPLOYMENT, "ADDED", asked)
    assert [(await controller.queue.get()).name for _ in range(3)] == ["asked", "one", "two"]


class Beginning(FakeCluster):
    """An API server that answers its first requests with errors."""

    def __init__(self, *errors: KubeError) -> None:
        super().__init__()
        self.errors = list(errors)

    async def groups(self) -> frozenset[str]:
        if self.errors:
            raise self.errors.pop(0)
        return await super().groups()


async def test_an_operator_waits_for_an_api_server_that_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIST_AGAIN_SECONDS", 0.0)
    busy = Beginning(KubeError(429, "storage is (re)initializing"), KubeError(503, "starting"))
    controller = Controller(SETTINGS, busy, FakeRegistry(RUNS), None, Nothing())
    async with controller.running():
        assert controller.started


async def test_an_operator_that_may_not_list_ends() -> None:
    controller = Controller(SETTINGS, Beginning(RefusedError(403, "forbidden")), FakeRegistry(RUNS), None, Nothing())
    with pytest.raises(RefusedError):
        async with controller.running():
            pass
