"""Why a pod does not start, from the newest Warning Event about it."""

from datetime import timedelta
from typing import Any

import pytest

from fairlead_operator.kinds import MODEL_DEPLOYMENT
from fairlead_operator.kube import RefusedError
from fairlead_operator.observe import Observed, PodView
from fairlead_operator.pod_events import RECENT, PodEvents, newest
from tests.unit.operator.fake import FakeCluster
from tests.unit.operator.samples import NOW, RUNS, raw
from tests.unit.operator.world import World

MISSING = 'MountVolume.SetUp failed for volume "tls" : secret "tls" not found'


def event(reason: str = "FailedMount", message: str = MISSING, age: float = 1, **more: Any) -> dict[str, Any]:
    at = (NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "Warning", "reason": reason, "message": message, "lastTimestamp": at, **more}


def test_the_newest_counts_and_what_has_passed_does_not() -> None:
    assert newest([event(age=30), event("Failed", "later", age=3)], NOW) == "Failed: later"
    assert newest([event(age=RECENT.total_seconds() + 1)], NOW) == ""
    assert newest([], NOW) == ""
    series = {"lastTimestamp": None, "series": {"lastObservedTime": "2026-11-23T11:59:59.123456Z"}}
    assert newest([event() | series], NOW) == f"FailedMount: {MISSING}"
    by_time = {"lastTimestamp": None, "eventTime": "2026-11-23T11:59:59.123456Z"}
    assert newest([event() | by_time], NOW) == f"FailedMount: {MISSING}"
    assert newest([event() | {"lastTimestamp": None}], NOW) == ""


async def test_events_that_may_not_be_read_cost_the_reason_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Forbidden:
        async def warnings(self, namespace: str, pod: str) -> list[Any]:
            raise RefusedError(403, "events is forbidden")

    now = NOW
    events = PodEvents(Forbidden(), lambda: now)
    seen = Observed(pods=(PodView("p", RUNS[0], "r", False, None, "", created=NOW - timedelta(minutes=1)),))
    for _ in range(3):
        assert await events.explain("ml", seen) == seen
        now += timedelta(minutes=1)
    assert caplog.text.count("cannot be read") == 1


async def test_a_missing_secret_is_named_on_the_resource() -> None:
    """Events are read only of pods that have been silent for a while, and seldom."""
    world = World(FakeCluster())
    world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=1, tls={"secretName": "tls"}))
    world.cluster.warned["fraud"] = [event()]
    world.cluster.deliver(world.operator.observed)
    await world.step()
    world.cluster.roll()  # the pod is there, and the kubelet cannot start it
    world.cluster.deliver(world.operator.observed)
    await world.step()
    before = world.cluster.reads
    for seconds in (19, 1, 10, 10):
        world.now += timedelta(seconds=seconds)
        await world.step()
    condition = world.status.condition("UpToDate")
    assert condition is not None
    assert f"0 of 1 pods answer; FailedMount: {MISSING}" in condition.message
    assert world.cluster.reads - before == 1
