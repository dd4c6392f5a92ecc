"""Whatever happens to a fake cluster, the operator keeps its promises at every step and comes to rest."""

import asyncio
import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fairlead_operator.api import (
    ABORT_ANNOTATION,
    ADMITTED,
    APPROVE_ANNOTATION,
    PROMOTE_ANNOTATION,
    REVISION_LABEL,
    STABLE,
    TRACK_LABEL,
    Status,
    read_status,
)
from fairlead_operator.controller import Controller
from fairlead_operator.kinds import CHILDREN, DEPLOYMENT, MODEL_DEPLOYMENT, POD, SERVICE
from fairlead_operator.kube import KubeError
from fairlead_operator.settings import Settings
from fairlead_operator.store import Key
from fairlead_operator.verdicts import place
from tests.examples import examples
from tests.unit.operator.fake import UNKNOWN, WORSE, FakeAnalyst, FakeCluster, FakePods, FakeRegistry
from tests.unit.operator.samples import NOW, RUNS, raw
from tests.unit.operator.servers import CORRUPT, CRASHING, FLAKY, GOOD, SLOW

KEY = Key("ml", "fraud")
SETTINGS = Settings(predictor_image="predictor:1", mlflow_tracking_uri="http://mlflow:5000")
DEADLINE = 60
HISTORIES = examples(60)
"""Random histories per property."""
QUIET = timedelta(seconds=DEADLINE + 10)
"""If nothing has happened for so long, nothing will."""


@dataclass
class World:
    """The cluster, MLflow, an operator that only learns what watches tell it, and a clock."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    registry: FakeRegistry = field(default_factory=lambda: FakeRegistry(RUNS, {"champion": 1}))
    now: datetime = NOW
    wake_at: datetime | None = None
    floor: int = 0
    """Pods that must answer at any time: no more than were ever wanted since all answered."""
    image: str = "predictor:1"
    annotations: dict[str, str] = field(default_factory=dict)
    """What people said."""
    before: Status = field(default_factory=Status)
    operator: Controller | None = None

    def __post_init__(self) -> None:
        self.cluster.clock = lambda: self.now
        self.start()

    def start(self) -> None:
        """A new operator process, perhaps of a new version: what the old one had in memory is gone."""
        new = SETTINGS.model_copy(update={"predictor_image": self.image})
        operator = Controller(
            new,
            self.cluster,
            self.registry,
            None,
            FakePods(self.cluster),
            lambda: self.now,
            lambda: (self.now - NOW).total_seconds(),
        )
        analyst = FakeAnalyst(self.cluster, operator.queue.add, lambda: self.now)
        operator.reconciler = replace(operator.reconciler, analyst=analyst)
        if self.operator is not None:
            self.operator.interviews.forget(KEY)
        self.operator = operator
        self.wake_at = None
        self.listed = False

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.cluster.resource("fraud")["spec"])

    @property
    def status(self) -> Status:
        return read_status(self.cluster.resource("fraud").get("status"))

    async def step(self) -> None:
        """The operator does what it has reason to do now."""
        try:
            if not self.listed:
                await self.operator.list_all()
                self.listed = True
            if self.wake_at is not None and self.now >= self.wake_at:
                self.operator.queue.add(KEY)
            while self.operator.queue.busy:
                await self._reconcile()
        except KubeError:
            self.operator.queue.add(KEY)

    async def _reconcile(self) -> None:
        key = await self.operator.queue.get()
        known = copy.deepcopy(self.operator.store.get(MODEL_DEPLOYMENT, *key))
        try:
            again = await self.operator.reconciler.reconcile(key)
            self.wake_at = None if again is None else self.now + timedelta(seconds=again)
        finally:
            self.operator.queue.done(key)
        self.check()
        self.check_approval(known)

    def check(self) -> None:
        """What must be true at every instant."""
        resource = self.cluster.resource("fraud")
        assert not resource["metadata"].get("finalizers")
        assert resource["metadata"].get("annotations", {}) == self.annotations
        status = read_status(resource.get("status"))
        conditions = {found.type: found.status for found in status.conditions}
        generation = resource["metadata"]["generation"]
        assert status.observed_generation is None or status.observed_generation <= generation
        assert not {"Reconciling", "Stalled"} <= conditions.keys()
        assert conditions.get("Reconciling", "True") == conditions.get("Stalled", "True") == "True"
        if status.conditions:
            assert {"Ready", "ModelResolved", "UpToDate"} <= conditions.keys()
        if conditions.get("Ready") == "True":
            assert status.serving is not None
        if conditions.get("UpToDate") == "True" and status.observed_generation == generation:
            assert status.serving is not None
            if wanted := resource["spec"]["model"].get("runID"):
                assert status.serving.run_id == wanted
        assert not any(rejection.same(status.candidate) for rejection in status.rejected)
        self.check_canary(status)
        self.check_capacity()
        self.before = status

    def check_canary(self, status: Status) -> None:
        """The weight never rises by a failed check, and a dark candidate gets no traffic."""
        now, before = status.candidate, self.before.candidate
        if now is None:
            return
        if before and before.revision == now.revision and now.failures > before.failures:
            assert (now.step or 0) <= (before.step or 0)
            assert now.promoted_at == before.promoted_at
        admitted = [
            pod
            for pod in self.cluster.pods("fraud")
            if pod["metadata"]["labels"][REVISION_LABEL] == now.revision
            and any(found["type"] == ADMITTED for found in pod["status"].get("conditions", []))
        ]
        assert not (now.step == 0 and admitted), "a dark candidate was admitted"

    def check_approval(self, known: dict[str, Any] | None) -> None:
        """With `updatePolicy: Manual` no alias brings a model that was not let in. `known`: what the operator knew."""
        if (
            known is None
            or known["spec"]["model"].get("updatePolicy") != "Manual"
            or "uri" not in known["spec"]["model"]
        ):
            return
        old, candidate = read_status(known.get("status")), self.status.candidate
        let_in = {found.run_id for found in (old.serving, old.candidate) if found}
        if old.serving and candidate and candidate.run_id not in let_in:
            said = known["metadata"].get("annotations", {}).get(APPROVE_ANNOTATION)
            assert said in (candidate.run_id, candidate.model_version)

    def check_capacity(self) -> None:
        """Of the stable track alone: a candidate's pods never stand in for those that are known to be good."""
        pods = [pod for pod in self.cluster.pods("fraud") if pod["metadata"]["labels"][TRACK_LABEL] == STABLE]
        ready = sum(bool(pod.get("status", {}).get("conditions")) for pod in pods)
        deployment = self.cluster.objects.get(("Deployment", "ml", "fraud"), {"spec": {"replicas": 0}})
        wanted = min(self.spec.get("replicas", 0), deployment["spec"]["replicas"])  # the operator may not know yet
        self.floor = min(self.floor, wanted) if ready < wanted else wanted
        assert ready >= self.floor, "an answering pod was taken away"

    def check_pods(self) -> None:
        """What must be true at rest, unless suspended: pods that swap models report what serves, and no other pod
        will start with anything else."""
        status, condition = self.status, self.status.condition("UpToDate")
        assert condition is not None
        kept = status.candidate or status.serving
        for pod in self.cluster.pods("fraud"):
            server = self.cluster.servers.get(f"ip-{pod['metadata']['name']}")
            ready = any(found["type"] == "Ready" for found in pod["status"].get("conditions", []))
            if server is None or not ready:
                continue
            assert server.serving.run_id not in {found.run_id for found in status.rejected}
            assert server.loading is None or server.loading.run_id == (kept and kept.run_id)
            if condition.status == "True":
                assert status.serving is not None
                assert server.report().serves(status.serving)
        recorded = self.cluster.objects.get(("ConfigMap", "ml", "fraud"))
        if self.spec["rollout"]["strategy"] == "HotSwap" and status.serving and status.candidate is None:
            assert recorded is not None
            assert recorded["data"]["FAIRLEAD_RUN_ID"] == status.serving.run_id

    def check_registry(self) -> None:
        """What must be true at rest: the registry says what the status says."""
        status, tags = self.status, self.registry.tags
        assert status.untold == ()
        told = {where: tags["fairlead.ml.fraud"] for where, tags in tags.items()}
        serving = {place(status.serving)} if status.serving else set()
        assert {where for where, text in told.items() if text == "Serving"} == serving
        for rejection in status.rejected:
            assert told[place(rejection)] == f"RolledBack: {rejection.reason}: {rejection.message}"
        assert {text.split(":")[0] for text in told.values()} <= {"Serving", "Replaced", "RolledBack"}

    async def settle(self) -> None:
        """Until nothing happens any more; time passes by what the operator waits for."""
        quiet_waits, quiet_since = 0, self.now
        for _ in range(3000):
            before = self.cluster.activity
            self.cluster.roll()
            self.cluster.run_pods()
            self.cluster.roll()
            self.cluster.deliver(self.operator.observed)
            await self.step()
            await self.speak()
            if self.cluster.activity != before or self.cluster.pending:
                quiet_waits, quiet_since = 0, self.now
            elif self.operator.queue.busy:  # a pod has answered
                continue
            elif self.wake_at is None or (quiet_waits > 5 and self.now - quiet_since > QUIET):
                return
            else:
                quiet_waits += 1
                self.now = max(self.now, self.wake_at)
        raise AssertionError("the operator does not come to rest")

    async def speak(self) -> None:
        """The operator's rounds with pods come to their ends."""
        await asyncio.gather(*self.operator.interviews._rounds.values())


def edit(world: World, **changes: Any) -> None:
    resource = copy.deepcopy(world.cluster.resource("fraud"))
    for name, value in changes.items():
        resource["spec"].pop(name, None)
        if value is not None:
            resource["spec"][name] = value
    if (replicas := changes.get("replicas")) is not None:
        world.floor = min(world.floor, replicas)
    world.cluster.put(MODEL_DEPLOYMENT, resource)


def annotate(world: World, annotations: dict[str, str]) -> None:
    world.annotations = annotations
    resource = copy.deepcopy(world.cluster.resource("fraud"))
    resource["metadata"]["annotations"] = annotations
    world.cluster.put(MODEL_DEPLOYMENT, resource)


def point(world: World, **source: str) -> None:
    """Another model in the spec, under the same policy."""
    policy = world.spec["model"].get("updatePolicy", "Auto")
    edit(world, model={**source, "updatePolicy": policy})


def approve(world: World, what: str | None) -> None:
    annotate(world, {APPROVE_ANNOTATION: what} if what else {})


def tamper(world: World) -> None:
    for deployment in world.cluster.deployments():
        edited = copy.deepcopy(deployment)
        edited["spec"]["revisionHistoryLimit"] = 17
        edited["metadata"].setdefault("annotations", {})["example.com/mine"] = "yes"
        world.cluster.put(DEPLOYMENT, edited)


ACTIONS = st.one_of(
    st.tuples(st.just("run"), st.sampled_from(RUNS)),
    st.tuples(st.just("missing"), st.none()),
    st.tuples(st.just("alias"), st.none()),
    st.tuples(st.just("move alias"), st.integers(1, 5)),
    st.tuples(st.just("policy"), st.sampled_from(["Auto", "Manual", "Manual"])),
    st.tuples(st.just("approve"), st.sampled_from([None, "1", "2", "3", RUNS[3]])),
    st.tuples(st.just("env"), st.sampled_from([None, "1", "2"])),
    st.tuples(st.just("replicas"), st.integers(1, 5)),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("strategy"), st.sampled_from(["Rolling", "Canary", "Canary", "HotSwap", "HotSwap"])),
    st.tuples(st.just("annotate"), st.sampled_from([None, PROMOTE_ANNOTATION, ABORT_ANNOTATION])),
    st.tuples(st.just("mlflow"), st.booleans()),
    st.tuples(st.just("api down"), st.integers(1, 4)),
    st.tuples(st.just("restart"), st.sampled_from(["predictor:1", "predictor:2"])),
    st.tuples(st.just("tamper"), st.none()),
    st.tuples(st.just("delete"), st.sampled_from(sorted(CHILDREN))),
    st.tuples(st.just("deliver"), st.integers(1, 5)),
    st.tuples(st.just("roll"), st.none()),
    st.tuples(st.just("pods"), st.none()),
    st.tuples(st.just("speak"), st.none()),
    st.tuples(st.just("time"), st.sampled_from([1, 20, 61])),
    st.tuples(st.just("settle"), st.none()),
)
SHOCKS = st.one_of(
    st.tuples(st.just("restart container"), st.integers(0, 4)),
    st.tuples(st.just("drain"), st.integers(0, 4)),
    st.tuples(st.just("silence"), st.integers(0, 4)),
)
"""What happens to single pods."""
ALL_FATES = [GOOD, GOOD, CORRUPT, SLOW, CRASHING, FLAKY, WORSE, UNKNOWN]
FATES = st.fixed_dictionaries({run: st.sampled_from(ALL_FATES) for run in RUNS})


async def act(world: World, action: str, value: Any) -> None:
    cluster = world.cluster
    match action:
        case "run":
            point(world, runID=value)
        case "missing":
            point(world, runID="f" * 32)
        case "alias":
            point(world, uri="models:/fraud@champion")
        case "policy":
            edit(world, model=world.spec["model"] | {"updatePolicy": value})
        case "approve":
            approve(world, value)
        case "move alias":
            world.registry.aliases["champion"] = value
            await world.operator.poll()
        case "env":
            edit(world, env=[{"name": "A", "value": value}] if value else None)
        case "replicas" | "suspend":
            edit(world, **{action: value})
        case "strategy":
            edit(world, rollout=rollout(value))
        case "annotate":
            candidate = world.status.candidate
            annotate(world, {value: candidate.run_id} if value and candidate else {})
        case "mlflow":
            world.registry.down = not value
            await world.operator.poll()
        case "api down":
            cluster.down_for = value
        case "restart":
            world.image = value
            world.start()
        case "tamper":
            tamper(world)
        case "delete":
            if value == "Deployment":
                world.floor = 0
                for pod in cluster.pods("fraud"):
                    cluster.remove(POD, "ml", pod["metadata"]["name"])
                cluster.remove(DEPLOYMENT, "ml", "fraud-canary")
            cluster.remove(CHILDREN[value], "ml", "fraud")
        case "deliver":
            cluster.deliver(world.operator.observed, value)
        case "roll":
            cluster.roll()
        case "pods":
            cluster.run_pods()
        case "speak":
            await world.speak()
        case "restart container" | "drain" | "silence":
            shock(world, action, value)
        case "time":
            world.now += timedelta(seconds=value)
        case "settle":
            await world.settle()


def shock(world: World, action: str, index: int) -> None:
    """Something happens to one pod."""
    pods = world.cluster.pods("fraud")
    if index >= len(pods):
        return
    name = pods[index]["metadata"]["name"]
    if action == "silence":
        if server := world.cluster.servers.get(f"ip-{name}"):
            server.answers = not server.answers
        return
    world.floor = 0
    if action == "drain":
        world.cluster.remove(POD, "ml", name)
    else:
        world.cluster.restart_container(pods[index])


def rollout(strategy: str) -> dict[str, Any]:
    return {"strategy": strategy, "progressDeadlineSeconds": DEADLINE, "stepSeconds": 5}


async def live(fates: dict[str, str], history: list[tuple[str, Any]], strategy: str = "Rolling") -> World:
    world = World(FakeCluster(fates))
    resource = raw(replicas=2, rollout=rollout(strategy))
    world.cluster.put(MODEL_DEPLOYMENT, resource)
    for action, value in history:
        await act(world, action, value)
        await world.step()
        world.check_capacity()
    world.cluster.down_for = 0
    world.registry.down = False
    for server in world.cluster.servers.values():
        server.answers = True
    world.now += timedelta(seconds=61)  # whatever the breaker waits for
    await world.operator.poll()
    edit(world, suspend=False)
    await world.settle()
    return world


@given(FATES, st.lists(ACTIONS | SHOCKS, max_size=25), st.sampled_from(["Rolling", "HotSwap"]))
@example({}, [("settle", None), ("replicas", 1), ("deliver", 1), ("replicas", 2)], "Rolling")
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
@settings(max_examples=HISTORIES, deadline=None)
def test_after_any_history_the_registry_knows_what_became_of_its_models(
    fates: dict[str, str], history: list[Any]
) -> None:
    # What was told of a status that could not be written is put right from memory: a crash must not come on top.
    assume(not {"api down", "restart"} <= {action for action, _ in history})

    async def run() -> None:
        (await live(fates, history)).check_registry()

    asyncio.run(run())


@given(FATES, st.lists(ACTIONS, max_size=25))
@settings(max_examples=HISTORIES, deadline=None)
def test_a_good_model_always_serves_in_the_end(fates: dict[str, str], history: list[Any]) -> None:
    async def run() -> None:
        world = await live(fates | {RUNS[3]: GOOD}, history)
        annotate(world, {})
        edit(world, model={"runID": RUNS[3]}, env=None)
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
