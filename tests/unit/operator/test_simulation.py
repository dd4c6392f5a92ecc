"""Whatever happens to a fake cluster, the operator keeps its promises at every step and comes to rest."""

import asyncio
import copy
from datetime import timedelta
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fairlead_operator.api import STABLE, TRACK_LABEL, Status
from fairlead_operator.kinds import DEPLOYMENT, MODEL_DEPLOYMENT, SERVICE
from tests.examples import examples
from tests.unit.operator.fake import UNKNOWN, WORSE, FakeCluster
from tests.unit.operator.samples import RUNS, raw
from tests.unit.operator.servers import CORRUPT, CRASHING, GOOD, SLOW
from tests.unit.operator.world import (
    ACTIONS,
    FATES,
    HISTORIES,
    KEY,
    SHOCKS,
    World,
    act,
    annotate,
    approve,
    edit,
    live,
    rollout,
)


@given(FATES, st.lists(ACTIONS | SHOCKS, max_size=25), st.sampled_from(["Rolling", "HotSwap"]))
@example({}, [("settle", None), ("replicas", 1), ("deliver", 1), ("replicas", 2)], "Rolling")
@example({}, [("policy", "Manual"), ("settle", None), ("alias", None)], "Rolling")
@example({}, [("policy", "Manual"), ("settle", None), ("alias", None), ("strategy", "Canary")], "Rolling")
@settings(max_examples=HISTORIES, deadline=None)
def test_any_history_comes_to_rest_and_then_nothing_is_sent(
    fates: dict[str, str], history: list[Any], strategy: str
) -> None:
    async def run() -> None:
        world = await live(fates, history, strategy)
        world.check_pods()
        told, loads = len(world.registry.told), world.cluster.loads
        before = (world.cluster.reads, world.cluster.writes)
        world.operator.queue.add(KEY)
        await world.step()
        await world.speak()
        await world.step()
        assert (world.cluster.reads, world.cluster.writes) == before
        world.start()
        await world.step()
        world.operator.queue.add(KEY)
        await world.step()
        assert world.cluster.writes == before[1], "a new process finds everything in place"
        assert len(world.registry.told) == told, "a new operator has nothing to tell"
        world.check_pods()
        if world.status.candidate is None:  # with nothing to go back to, what fails is tried again and again
            assert world.cluster.loads == loads

    asyncio.run(run())


@given(FATES, st.lists(ACTIONS, max_size=25))
@example({}, [("quick", True), ("settle", None)])
@settings(max_examples=HISTORIES, deadline=None)
def test_after_any_history_the_registry_and_people_know_what_became_of_the_models(
    fates: dict[str, str], history: list[Any]
) -> None:
    # What was told of a status that could not be written is put right from memory: a crash must not come on top.
    assume(not {"api down", "restart"} <= {action for action, _ in history})

    async def run() -> None:
        world = await live(fates, history)
        world.check_registry()
        world.check_told()

    asyncio.run(run())


@given(FATES, st.lists(ACTIONS, max_size=25))
@settings(max_examples=HISTORIES, deadline=None)
def test_a_good_model_always_serves_in_the_end(fates: dict[str, str], history: list[Any]) -> None:
    async def run() -> None:
        world = await live(fates | {RUNS[3]: GOOD}, history)
        annotate(world, {})
        # Other pods than ever before: a good model may have missed its deadline in the history.
        edit(world, model={"runID": RUNS[3]}, env=[{"name": "A", "value": "fresh"}])
        await world.settle()
        status = world.status
        assert {found.type: found.status for found in status.conditions} == {
            "Ready": "True",
            "ModelResolved": "True",
            "UpToDate": "True",
        }
        assert status.serving is not None
        assert status.serving.run_id == RUNS[3]
        assert status.rejected == ()
        live_children = {kind for kind, _, _ in world.cluster.objects} - {"Pod", "ModelDeployment"}
        swaps = world.spec["rollout"]["strategy"] == "HotSwap"
        assert ("ConfigMap" in live_children) is swaps
        assert ("PodDisruptionBudget" in live_children) is (world.spec["replicas"] > 1)
        assert live_children - {"ConfigMap", "PodDisruptionBudget"} == {"Deployment", "Service", "NetworkPolicy"}
        deployment = world.cluster.deployments()[0]
        assert deployment["spec"]["revisionHistoryLimit"] == 2, "a hand edit was not put back"

    asyncio.run(run())


@given(FATES, st.lists(ACTIONS, max_size=25), st.integers(1, 4))
@settings(max_examples=HISTORIES, deadline=None)
def test_with_manual_updates_an_alias_brings_what_is_approved_and_nothing_else(
    fates: dict[str, str], history: list[Any], version: int
) -> None:
    async def run() -> None:
        world = await live(fates | {RUNS[version - 1]: GOOD}, history)
        # Other pods than ever before, so that nothing is still rejected.
        fresh = [{"name": "A", "value": "fresh"}]
        edit(world, model={"uri": "models:/fraud@champion", "updatePolicy": "Manual"}, env=fresh)
        world.registry.aliases["champion"] = version
        approve(world, None)
        await world.operator.poll()
        await world.settle()
        before, condition = world.status, world.status.condition("UpToDate")
        assert condition is not None
        assert before.serving is not None, "the first model needs no approval"
        wanted = RUNS[version - 1]
        if before.serving.run_id != wanted or before.serving.model_version != str(version):
            assert (condition.status, condition.reason) == ("False", "UpdateAvailable"), condition
            assert f"fairlead.dev/approve={version}" in condition.message
            assert {found.type for found in before.conditions} == {"Ready", "ModelResolved", "UpToDate"}
        approve(world, str(version))
        await world.settle()
        condition = world.status.condition("UpToDate")
        assert condition is not None
        assert (condition.status, condition.reason) == ("True", "UpToDate")
        assert world.status.serving is not None
        assert world.status.serving.run_id == wanted

    asyncio.run(run())


def test_a_foreign_annotation_and_an_autoscalers_replicas_are_left_alone() -> None:
    async def run() -> None:
        world = World()
        world.cluster.put(MODEL_DEPLOYMENT, raw())
        await world.settle()
        deployment = copy.deepcopy(world.cluster.deployments()[0])
        deployment["spec"]["replicas"] = 3
        deployment["metadata"]["annotations"] = {"example.com/mine": "yes"}
        world.cluster.put(DEPLOYMENT, deployment)
        await world.settle()
        live = world.cluster.deployments()[0]
        assert live["spec"]["replicas"] == 3
        assert live["metadata"]["annotations"].items() >= {("example.com/mine", "yes")}
        assert world.status.ready_replicas == 3

    asyncio.run(run())


def test_another_default_image_restarts_no_pod_until_the_next_roll_out() -> None:
    async def run() -> None:
        world = World()
        world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=2))
        await world.settle()
        before = {pod["metadata"]["uid"] for pod in world.cluster.pods("fraud")}

        world.image = "predictor:2"
        world.start()
        await world.settle()
        assert {pod["metadata"]["uid"] for pod in world.cluster.pods("fraud")} == before

        edit(world, model={"runID": RUNS[1]})
        await world.settle()
        assert {pod["spec"]["containers"][0]["image"] for pod in world.cluster.pods("fraud")} == {"predictor:2"}

    asyncio.run(run())


def test_an_object_of_somebody_else_is_not_taken_over() -> None:
    async def run() -> None:
        world = World()
        foreign = {"kind": "Service", "metadata": {"name": "fraud", "namespace": "ml"}, "spec": {"ports": []}}
        world.cluster.put(SERVICE, foreign)
        world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=1))
        await world.settle()
        condition = world.status.condition("UpToDate")
        assert condition is not None
        assert (condition.status, condition.reason) == ("False", "NameConflict")
        assert world.cluster.objects[("Service", "ml", "fraud")]["spec"] == {"ports": []}

        world.cluster.remove(SERVICE, "ml", "fraud")
        world.now += timedelta(seconds=61)
        await world.settle()
        condition = world.status.condition("UpToDate")
        assert condition is not None
        assert condition.status == "True"

    asyncio.run(run())


def test_a_rejected_run_is_tried_again_when_the_alias_comes_back_and_not_before() -> None:
    async def run() -> None:
        world = World(FakeCluster({RUNS[1]: CORRUPT}))
        world.cluster.put(MODEL_DEPLOYMENT, raw(model={"uri": "models:/fraud@champion"}, replicas=2))
        await world.settle()
        for version in (2, 1, 2):
            world.registry.aliases["champion"] = version
            await world.operator.poll()
            await world.settle()
        edit(world, replicas=3)
        await world.settle()
        verdicts = [entry.verdict for entry in world.status.history]
        assert verdicts == ["Rejected: ModelCorrupt", "Rejected: ModelCorrupt"]
        assert world.status.serving is not None
        assert world.status.serving.run_id == RUNS[0]

    asyncio.run(run())


HOSTILE = st.lists(
    ACTIONS.filter(lambda action: action[0] not in ("strategy", "annotate") and action != ("delete", "Deployment")),
    max_size=25,
)


@given(FATES, HOSTILE)
@settings(max_examples=HISTORIES, deadline=None)
def test_what_is_worse_or_cannot_be_judged_never_takes_a_good_models_place(fates: dict[str, str], history: Any) -> None:
    async def run() -> None:
        world = World(FakeCluster(fates | {RUNS[0]: GOOD}))
        resource = raw(replicas=2, rollout=rollout("Canary"))
        world.cluster.put(MODEL_DEPLOYMENT, resource)
        await world.settle()
        for action, value in history:
            await act(world, action, value)
            await world.step()
            world.check_capacity()
            serving = world.status.serving
            assert serving is not None
            assert world.cluster.fates.get(serving.run_id, GOOD) not in (WORSE, UNKNOWN)

    asyncio.run(run())


def test_a_canary_takes_its_steps_and_leaves_nothing_behind() -> None:
    async def run() -> None:
        world = World()
        world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=4, rollout=rollout("Canary")))
        await world.settle()
        edit(world, model={"runID": RUNS[1]})
        weights = []
        original = world.check_canary

        def note(status: Status) -> None:
            original(status)
            if status.candidate and status.candidate.step_at:
                weights.append((status.candidate.step, status.candidate.weight_percent))

        world.check_canary = note  # type: ignore[method-assign]
        await world.settle()
        assert list(dict.fromkeys(weights)) == [(0, 0), (1, 20), (2, 50)]
        assert world.status.serving is not None
        assert world.status.serving.run_id == RUNS[1]
        assert [found["metadata"]["name"] for found in world.cluster.deployments()] == ["fraud"]
        assert ("Service", "ml", "fraud-canary") not in world.cluster.objects
        assert {pod["metadata"]["labels"][TRACK_LABEL] for pod in world.cluster.pods("fraud")} == {STABLE}

    asyncio.run(run())


def test_a_worse_canary_is_taken_back_with_its_values() -> None:
    async def run() -> None:
        world = World(FakeCluster({RUNS[1]: WORSE}))
        world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=2, rollout=rollout("Canary")))
        await world.settle()
        edit(world, model={"runID": RUNS[1]})
        await world.settle()
        status = world.status
        assert status.serving is not None
        assert status.serving.run_id == RUNS[0]
        assert status.rejected[0].reason == "AnalysisFailed"
        assert "success 50 % (serving: 100 %), must be at least 99 %" in status.rejected[0].message
        assert [found["metadata"]["name"] for found in world.cluster.deployments()] == ["fraud"]

    asyncio.run(run())


async def swapping(fates: dict[str, str], replicas: int = 4) -> World:
    """Pods that swap models, and the first one serves."""
    world = World(FakeCluster(fates | {RUNS[0]: GOOD}))
    world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=replicas, rollout=rollout("HotSwap")))
    await world.settle()
    return world


def lives(world: World) -> set[str]:
    return {pod["metadata"]["uid"] for pod in world.cluster.pods("fraud")}


def served(world: World) -> list[str]:
    return [server.serving.run_id for server in world.cluster.servers.values()]


def test_a_hot_swap_keeps_every_pod_and_asks_each_once() -> None:
    async def run() -> None:
        world = await swapping({})
        before = lives(world)
        edit(world, model={"runID": RUNS[1]})
        await world.settle()
        assert world.status.serving is not None
        assert (world.status.serving.run_id, served(world)) == (RUNS[1], [RUNS[1]] * 4)
        assert (lives(world), world.cluster.loads) == (before, 4)
        began = world.now
        edit(world, model={"runID": RUNS[0]})
        await world.settle()
        assert (served(world), lives(world), world.now) == ([RUNS[0]] * 4, before, began), "they still had it"
        world.check_pods()

    asyncio.run(run())


def test_a_model_that_no_pod_can_load_costs_one_attempt() -> None:
    async def run() -> None:
        world = await swapping({RUNS[1]: CORRUPT})
        before = lives(world)
        edit(world, model={"runID": RUNS[1]})
        await world.settle()
        (rejected,) = world.status.rejected
        assert (rejected.run_id, rejected.reason) == (RUNS[1], "ModelCorrupt")
        assert world.status.last_failure is not None
        assert (world.status.last_failure.run_id, world.status.last_failure.message) == (RUNS[1], "truncated")
        assert (served(world), lives(world), world.cluster.loads) == ([RUNS[0]] * 4, before, 1)

    asyncio.run(run())


CALM = {"run", "alias", "move alias", "mlflow", "api down", "speak", "deliver", "roll", "pods", "time", "settle"}
MODELS_ALONE = st.lists(
    st.one_of(
        ACTIONS.filter(lambda action: action[0] in CALM),
        st.tuples(st.just("restart"), st.just("predictor:1")),
        st.tuples(st.just("silence"), st.integers(0, 4)),
    ),
    max_size=25,
)


@given(FATES, MODELS_ALONE, st.integers(1, 5))
@settings(max_examples=examples(60), deadline=None)
def test_where_only_models_change_no_pod_does(fates: dict[str, str], history: list[Any], replicas: int) -> None:
    async def run() -> None:
        world = await swapping(fates | {RUNS[3]: GOOD}, replicas)
        before = lives(world)
        for action, value in [*history, ("run", RUNS[3])]:
            await act(world, action, value)
            await world.step()
            assert lives(world) == before
            recorded = world.cluster.objects["ConfigMap", "ml", "fraud"]["data"]["FAIRLEAD_RUN_ID"]
            assert world.cluster.fates.get(recorded, GOOD) not in (CORRUPT, SLOW, CRASHING), "it was never proven"
        world.cluster.down_for, world.registry.down = 0, False
        for server in world.cluster.servers.values():
            server.answers = True
        await world.settle()
        world.check_pods()
        assert served(world) == [RUNS[3]] * replicas

    asyncio.run(run())
