"""Of several replicas never two may write, whatever happens to them, to the API server and to their clocks."""

import asyncio
import copy
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_operator.api import Manifest
from fairlead_operator.controller import Controller
from fairlead_operator.election import GIVE_UP_SECONDS, LEASE_SECONDS, RETRY_SECONDS, Elector, LostError
from fairlead_operator.kinds import POD, Kind
from fairlead_operator.kube import ConflictError, Kube, KubeError
from fairlead_operator.metrics import MetricsServer
from fairlead_operator.program import _elector, _unready
from fairlead_operator.settings import Settings
from tests.examples import examples
from tests.unit.operator.fake import FakeCluster, FakePods, FakeRegistry
from tests.unit.operator.samples import NOW


class Leases:
    """The API server, as far as one Lease goes. `delay` passes before and after each request."""

    def __init__(self) -> None:
        self.time, self.version, self.delay = 0.0, 0, 0.0
        self.lease: Manifest | None = None
        self.down = False

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        self._pass()
        return copy.deepcopy(self.lease)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        return self._write(manifest, self.lease is None)

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        version = manifest["metadata"]["resourceVersion"]
        return self._write(manifest, (self.lease or {"metadata": {}})["metadata"].get("resourceVersion") == version)

    def _write(self, manifest: Manifest, fits: bool) -> Manifest:
        self._pass()
        if not fits:
            raise ConflictError(409, "the object has been modified")
        self.version += 1
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        self.time += self.delay
        return copy.deepcopy(self.lease)

    def _pass(self) -> None:
        self.time += self.delay
        if self.down:
            raise KubeError(0, "connection refused")


def electors(leases: Leases, count: int) -> list[Elector]:
    return [
        Elector(leases, "fairlead", "operator", f"replica-{number}", lambda: leases.time, lambda: NOW)
        for number in range(count)
    ]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("try"), st.integers(0, 2)),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 2, 9, 14, 16])),
        st.tuples(st.just("delay"), st.sampled_from([0.0, 0.0, 3.0, 20.0])),
        st.tuples(st.just("down"), st.booleans()),
        st.tuples(st.just("release"), st.integers(0, 2)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=examples(500))
def test_never_two_may_write(steps: list[tuple[str, Any]]) -> None:
    async def run() -> None:
        leases = Leases()
        replicas = electors(leases, 3)
        for action, value in steps:
            match action:
                case "try":
                    await replicas[value]._try()
                case "release":
                    replicas[value]._renewed = None  # as `leading` ends: writes have stopped before
                    await replicas[value]._release()
                case "pass":
                    leases.time += value
                case _:
                    setattr(leases, action, value)
            assert sum(replica.leads() for replica in replicas) <= 1
        leases.down, leases.delay = False, 0.0
        for _ in range(20):
            leases.time += RETRY_SECONDS
            for replica in replicas:
                await replica._try()
        assert sum(replica.leads() for replica in replicas) == 1, "somebody leads in the end"

    asyncio.run(run())


async def test_a_lease_that_is_released_is_taken_at_once_and_one_that_is_not_when_it_has_run_out() -> None:
    leases = Leases()
    first, second = electors(leases, 2)
    async with first.leading():
        assert first.leads()
        assert not await second._try()
    assert not first.leads()
    assert await second._try()
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 2

    assert not await first._try()  # the second is killed
    leases.time += LEASE_SECONDS - 1
    assert not await first._try()
    leases.time += 1
    assert await first._try()


async def test_a_leader_that_cannot_renew_stops_before_its_lease_has_run_out() -> None:
    leases = Leases()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        leases.time += seconds
        await asyncio.sleep(0)

    (first,) = electors(leases, 1)
    first.sleep = sleep

    async def work() -> None:
        async with first.leading():
            leases.down = True
            await asyncio.Event().wait()

    with pytest.raises(LostError, match="fairlead/operator"):
        await work()
    assert GIVE_UP_SECONDS <= leases.time < LEASE_SECONDS
    assert not first.leads()


async def test_another_holder_ends_a_leader_at_once() -> None:
    leases = Leases()
    (first,) = electors(leases, 1)
    first.sleep = lambda _: asyncio.sleep(0)

    async def work() -> None:
        async with first.leading():
            assert leases.lease is not None
            leases.lease["spec"]["holderIdentity"] = "another"
            leases.lease["metadata"]["resourceVersion"] = "17"
            await asyncio.Event().wait()

    with pytest.raises(LostError):
        await work()
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == "another", "it is not released"


async def test_a_cancelled_body_is_no_lost_lease() -> None:
    (first,) = electors(Leases(), 1)

    async def work() -> None:
        async with first.leading():
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_does_not_lead_writes_nothing() -> None:
    """Not even what was under way while the process was held up."""
    sent: list[str] = []

    class Api:
        async def param_serialize(self, method: str, path: str, **_: Any) -> tuple[str, ...]:
            sent.append(method)
            raise KubeError(0, "sent")

    kube = Kube(Api())
    leads = False
    kube.may_write = lambda: leads
    manifest = {"metadata": {"namespace": "ml", "name": "fraud", "uid": "u", "resourceVersion": "1"}, "spec": {}}
    for write in (
        lambda: kube.apply(POD, manifest),
        lambda: kube.apply_status(POD, manifest),
        lambda: kube.create(POD, manifest),
        lambda: kube.delete(POD, "ml", "fraud", "u"),
        lambda: kube.admit("ml", "fraud", NOW),
        lambda: kube.overwrite(POD, manifest),
        lambda: kube.hand_over(POD, manifest),
    ):
        with pytest.raises(KubeError, match="does not lead"):
            await write()
    assert sent == []
    with pytest.raises(KubeError, match="sent"):
        await kube.get(POD, "ml", "fraud")
    leads = True
    with pytest.raises(KubeError, match="sent"):
        await kube.apply(POD, manifest)
    assert sent == ["GET", "PATCH"]


@pytest.fixture
def parts() -> tuple[Controller, Elector]:
    chosen = Settings(
        predictor_image="p", mlflow_tracking_uri="http://m", lease_name="operator", lease_namespace="home"
    )
    cluster = FakeCluster()
    controller = Controller(chosen, cluster, FakeRegistry(()), None, FakePods(cluster))
    elector = _elector(chosen, Kube(None))
    assert elector is not None
    return controller, elector


def test_a_replica_is_ready_when_it_waits_or_works_and_not_before(parts: tuple[Controller, Elector]) -> None:
    controller, elector = parts
    assert _unready(controller, elector) == "the Lease has not been read yet"
    elector.seen = True
    assert _unready(controller, elector) is None
    assert controller.health() is None, "who waits does not have to work"
    elector._renewed = elector.clock()
    assert _unready(controller, elector) == "resources are being listed"
    controller.started = True
    assert _unready(controller, elector) is None
    assert _unready(controller, None) is None


@pytest.fixture
def pages() -> Iterator[tuple[int, dict[str, str | None]]]:
    said: dict[str, str | None] = {"health": None, "ready": "resources are being listed"}
    server = MetricsServer(0, lambda: said["health"], lambda: said["ready"], "127.0.0.1")
    yield server.port, said
    server.close()


def test_the_page_of_readiness(pages: tuple[int, dict[str, str | None]], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    port, said = pages

    def ask(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    assert ask("/healthz") == (200, "ok\n")
    assert ask("/readyz") == (503, "resources are being listed\n")
    said["ready"] = None
    assert ask("/readyz") == (200, "ok\n")


def test_a_lease_is_what_kubernetes_takes() -> None:
    import kubernetes_validate

    leases = Leases()
    (first,) = electors(leases, 1)
    for version in ("1.32", "1.37"):
        kubernetes_validate.validate(json.loads(json.dumps(first._wanted(None, "me"))), version, strict=True)
