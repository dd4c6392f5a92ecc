"""No failure of anything that the operator depends on keeps a status from being written, or leaves an old claim in it.

`World.check_claims` looks at the status after every single reconcile."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead_operator.api import Reason
from fairlead_operator.kinds import CHILDREN, MODEL_DEPLOYMENT
from tests.unit.operator.fake import FakeCluster
from tests.unit.operator.samples import RUNS, raw
from tests.unit.operator.world import ACTIONS, ERRORS, FAILURES, FATES, HISTORIES, World, act, edit, heal, live, rollout

REASONS = {
    "internal": (Reason.APPLY_FAILED, "Reconciling"),
    "busy": (Reason.APPLY_FAILED, "Reconciling"),
    "conflict": (Reason.APPLY_FAILED, "Reconciling"),
    "forbidden": (Reason.APPLY_REFUSED, "Stalled"),
    "invalid": (Reason.INVALID_SPEC, "Stalled"),
    "schema": (Reason.INVALID_SPEC, "Stalled"),
}


@given(FATES, st.lists(ACTIONS | FAILURES | FAILURES, max_size=25), st.sampled_from(["Rolling", "Canary"]))
@example({}, [("alias", None), ("run", RUNS[2]), ("time", 61)], "Rolling")
@settings(max_examples=HISTORIES, deadline=None)
def test_while_anything_fails_the_status_is_about_the_present_spec(
    fates: dict[str, str], history: list[Any], strategy: str
) -> None:
    async def run() -> None:
        world = World(FakeCluster(fates))
        world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=2, rollout=rollout(strategy)))
        for action, value in history:
            await act(world, action, value)
            await world.step()
        world.cluster.down_for = 0  # else nothing can be written
        for _ in range(3):
            world.cluster.deliver(world.operator.observed)
            await world.step()
        resource = world.cluster.resource("fraud")
        assert world.status.observed_generation == resource["metadata"]["generation"]

    asyncio.run(run())


@given(FATES, st.lists(ACTIONS | FAILURES, max_size=25))
@settings(max_examples=HISTORIES, deadline=None)
def test_when_everything_answers_again_the_history_has_left_nothing(fates: dict[str, str], history: list[Any]) -> None:
    async def run() -> None:
        world = await live(fates, history)
        world.check_registry()
        assert not {found.reason for found in world.status.conditions} & {"ApplyFailed", "InternalError"}
        assert {found.reason for found in world.status.conditions} & {"Serving", "UpToDate"} or fates

    asyncio.run(run())


@pytest.mark.parametrize("error", sorted(ERRORS))
@pytest.mark.parametrize("first", [True, False], ids=["new", "serving"])
async def test_an_apply_that_fails_is_told_and_what_serves_is_not_lost(error: str, first: bool) -> None:
    world = World()
    if not first:
        world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=2))
        await world.settle()
    world.cluster.faults["Deployment"] = ERRORS[error]
    if first:
        world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=2))
    else:
        edit(world, nodeSelector={"zone": "b"})
    world.cluster.deliver(world.operator.observed)
    await world.step()

    status, (reason, progress) = world.status, REASONS[error]
    conditions = {found.type: found for found in status.conditions}
    assert (conditions["UpToDate"].status, conditions["UpToDate"].reason) == ("False", reason)
    assert ERRORS[error][2] in conditions["UpToDate"].message
    assert conditions[progress].reason == reason
    assert conditions["Ready"].status == ("False" if first else "True")

    heal(world)
    world.now += timedelta(seconds=61)
    await world.settle()
    assert world.status.condition("UpToDate").status == "True"  # type: ignore[union-attr]
    assert world.cluster.deployments()[0]["spec"]["template"]["spec"].get("nodeSelector") == (
        None if first else {"zone": "b"}
    )


async def test_a_bug_is_told_and_what_serves_is_not_lost() -> None:
    world = World()
    world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=2))
    await world.settle()
    world.registry.broken = True
    edit(world, model={"runID": RUNS[1]})
    world.cluster.deliver(world.operator.observed)
    await world.step()

    found = {condition.type: (condition.status, condition.reason) for condition in world.status.conditions}
    assert found["UpToDate"] == ("False", "InternalError")
    assert found["Ready"] == ("True", "Serving")
    assert world.status.serving is not None

    heal(world)
    await world.settle()
    assert world.status.serving is not None
    assert world.status.serving.run_id == RUNS[1]


async def test_a_status_that_was_lost_is_read_from_what_serves() -> None:
    world = World()
    world.cluster.put(MODEL_DEPLOYMENT, raw(model={"uri": "models:/fraud@champion"}, replicas=2))
    await world.settle()
    before = world.status
    resource = {key: value for key, value in world.cluster.resource("fraud").items() if key != "status"}
    world.cluster.put(MODEL_DEPLOYMENT, resource)
    world.registry.aliases.clear()
    world.start()
    await world.settle()

    ready, resolved = world.status.condition("Ready"), world.status.condition("ModelResolved")
    assert ready is not None
    assert resolved is not None
    assert (ready.status, resolved.status) == ("True", "False")
    assert world.status.serving is not None
    assert before.serving is not None
    assert world.status.serving.same(before.serving)


GROUPS = {"monitoring.coreos.com", "custom.metrics.k8s.io"}
FIELDS: dict[str, list[Any]] = {
    "image": ["own:1", "broken:1"],
    "resources": [{"limits": {"cpu": "1"}}, {"requests": {"memory": "1Gi"}}],
    "nodeSelector": [{"zone": "a"}, {"zone": "b", "disk": "ssd"}],
    "tolerations": [[{"key": "gpu", "operator": "Exists"}]],
    "affinity": [{"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}],
    "env": [[{"name": "A", "value": "1"}], [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]],
    "imagePullSecrets": [[{"name": "registry"}]],
    "serviceAccountName": ["reader"],
    "cache": [{"redis": {"url": "redis://r"}}, {"persistentVolumeClaim": {"claimName": "c"}}],
    "auth": [{"apiKeysSecretName": "keys"}],
    "tls": [{"secretName": "tls"}],
    "slo": [{"successPercent": "99.5"}],
    "mlflow": [{"caConfigMapName": "ca"}],
    "service": [{"type": "LoadBalancer", "annotations": {"a": "b"}, "labels": {"team": "risk"}}],
    "loader": [{"resources": {"limits": {"memory": "4Gi"}}}],
    "storage": [{"tmpSizeLimit": "2Gi"}],
    "podLabels": [{"team": "risk"}],
    "podAnnotations": [{"a": "b"}],
    "priorityClassName": ["high"],
    "topologySpreadConstraints": [[], [{"topologyKey": "zone"}]],
    "terminationGracePeriodSeconds": [60],
    "suspend": [True],
    "historyLimit": [0],
    "rollout": [rollout("Canary"), rollout("Rolling") | {"replaySamples": 10}],
}
SCALED = {"minReplicas": 1, "maxReplicas": 3, "engine": "HPA"}
CHANGES = st.one_of(
    st.sampled_from([("set", {name: value}) for name, values in FIELDS.items() for value in values]),
    st.sampled_from([("unset", (name,)) for name in FIELDS]),
    st.sampled_from(
        [("set", {"autoscaling": SCALED, "replicas": None}), ("set", {"autoscaling": None, "replicas": 2})]
    ),
    st.sampled_from([("settle", None), ("deliver", 3), ("roll", None), ("pods", None), ("time", 61)]),
    st.sampled_from([("run", RUNS[1]), ("run", RUNS[0]), ("restart", "predictor:1")]),
    FAILURES,
)


@given(st.lists(CHANGES, max_size=20))
@example([("set", {"image": "broken:1"}), ("settle", None)])
@example([("set", {"image": "own:1"}), ("settle", None)])
@settings(max_examples=HISTORIES, deadline=None)
def test_a_field_that_is_removed_leaves_nothing_behind(history: list[Any]) -> None:
    """The children end as if it had never been set, whatever was going on meanwhile."""

    async def run() -> None:
        world = World()
        world.cluster.api_groups |= GROUPS
        world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=2))
        for action, value in history:
            await act(world, action, value)
            await world.step()
        heal(world)
        world.now += timedelta(seconds=61)
        await act(world, "unset", (*FIELDS, "autoscaling"))
        edit(world, replicas=2)
        await world.settle()
        assert children(world) == children(await untouched(world.spec["model"]))

    asyncio.run(run())


async def untouched(source: dict[str, Any]) -> World:
    world = World()
    world.cluster.api_groups |= GROUPS
    world.cluster.put(MODEL_DEPLOYMENT, raw(model=source, replicas=2))
    await world.settle()
    return world


def children(world: World) -> dict[Any, Any]:
    found = {}
    for (kind, _, name), obj in world.cluster.objects.items():
        if kind in CHILDREN:
            metadata = {key: obj["metadata"].get(key) for key in ("labels", "annotations", "ownerReferences")}
            found[kind, name] = (metadata, obj.get("spec"), obj.get("data"))
    return found
