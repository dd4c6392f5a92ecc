"""A simulated world for the operator: a fake cluster, a fake MLflow, a clock, and what people and nature do to them.

Every step checks what must be true at any time."""

import asyncio
import contextlib
import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from fairlead_operator.api import (
    ABORT_ANNOTATION,
    ADMITTED,
    APPROVE_ANNOTATION,
    PROMOTE_ANNOTATION,
    REVISION_LABEL,
    STABLE,
    TRACK_LABEL,
    ModelDeployment,
    Status,
    read_status,
)
from fairlead_operator.controller import Controller
from fairlead_operator.desired import revision
from fairlead_operator.kinds import CHILDREN, DEPLOYMENT, MODEL_DEPLOYMENT, POD, SERVICE
from fairlead_operator.kube import ConflictError, KubeError, RefusedError
from fairlead_operator.observe import owner_of
from fairlead_operator.reconcile import UnfinishedError
from fairlead_operator.settings import Settings
from fairlead_operator.store import Key
from fairlead_operator.verdicts import place
from tests.examples import examples
from tests.unit.operator.fake import UNKNOWN, WORSE, BugError, FakeAnalyst, FakeCluster, FakePods, FakeRegistry
from tests.unit.operator.samples import NOW, RUNS, raw
from tests.unit.operator.servers import CORRUPT, CRASHING, FLAKY, GOOD, SLOW

KEY = Key("ml", "fraud")
SETTINGS = Settings(predictor_image="predictor:1", mlflow_tracking_uri="http://mlflow:5000")
DEADLINE = 60
HISTORIES = examples(60)
"""Random histories per property."""
BACK_OFF = 5.0
"""Seconds until what failed is tried again."""
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
    quick: bool = False
    """Whether pods are there, and known, before an apply is answered."""

    def __post_init__(self) -> None:
        self.cluster.clock = lambda: self.now
        self.cluster.meanwhile = self._hurry
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
        except UnfinishedError as error:
            again = min(BACK_OFF, error.within or BACK_OFF)
        except BugError:
            again = BACK_OFF
        finally:
            self.operator.queue.done(key)
        self.wake_at = None if again is None else self.now + timedelta(seconds=again)
        self.check()
        self.check_approval(known)
        self.check_claims(known)

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

    def check_claims(self, known: dict[str, Any] | None) -> None:
        """One reconcile is enough for the status to be about what the operator knew, whatever failed in it; and what it
        says is so by that spec. `known`: what the operator knew."""
        if known is None:
            return
        generation, status = known["metadata"]["generation"], self.status
        assert status.observed_generation == generation
        assert {found.observed_generation for found in status.conditions} == {generation}
        condition = status.condition("UpToDate")
        assert condition is not None
        if condition.status == "True":
            assert status.serving is not None
            serving, settings = status.serving, SETTINGS.model_copy(update={"predictor_image": self.image})
            wanted = revision(ModelDeployment.model_validate(known), serving.ref(), serving.image, settings.pods)
            deployment = self.operator.store.get(DEPLOYMENT, "ml", "fraud")
            assert deployment is not None
            assert serving.revision == wanted
            assert deployment["spec"]["template"]["metadata"]["labels"][REVISION_LABEL] == wanted
            assert serving.image == known["spec"].get("image", serving.image)
        ready = status.condition("Ready")
        assert ready is not None
        if ready.status == "True":
            service = self.operator.store.get(SERVICE, "ml", "fraud")
            assert service is not None
            assert owner_of(service) == known["metadata"]["uid"]
            assert status.url

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

    def check_told(self) -> None:
        """What must be true at rest: there is an Event about the model that serves."""
        condition = self.status.condition("UpToDate")
        assert condition is not None
        if condition.status == "True":
            assert self.status.serving is not None
            told = [event["message"] for event in self.cluster.news if event["reason"] == "RolloutCompleted"]
            assert any(self.status.serving.run_id in message for message in told), self.cluster.news

    def _hurry(self) -> None:
        """Pods answer before their Deployment's status says so."""
        if self.quick:
            self.cluster.roll()
            self.cluster.run_pods()
            self.cluster.deliver_alone(self.operator.observed, POD)

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
    st.tuples(st.just("quick"), st.booleans()),
    st.tuples(st.just("speak"), st.none()),
    st.tuples(st.just("time"), st.sampled_from([1, 20, 61])),
    st.tuples(st.just("settle"), st.none()),
)
NO_SCHEMA = "failed to create typed patch object: .spec.template.spec.affinity.foo: field not declared in schema"
ERRORS: dict[str, tuple[type[KubeError], int, str]] = {
    "internal": (KubeError, 500, "etcdserver: request timed out"),
    "busy": (KubeError, 429, "too many requests"),
    "conflict": (ConflictError, 409, "the object has been modified"),
    "forbidden": (RefusedError, 403, "exceeded quota"),
    "invalid": (RefusedError, 422, "spec.template: Invalid value"),
    "schema": (RefusedError, 500, NO_SCHEMA),
}
FAILURES = st.one_of(
    st.tuples(
        st.just("fault"),
        st.tuples(st.sampled_from([*sorted(CHILDREN), "Pod"]), st.sampled_from([None, *sorted(ERRORS)])),
    ),
    st.tuples(st.just("mlflow"), st.booleans()),
    st.tuples(st.just("deaf"), st.booleans()),
    st.tuples(st.just("broken"), st.booleans()),
    st.tuples(st.just("prometheus"), st.booleans()),
    st.tuples(st.just("api down"), st.integers(1, 4)),
)
"""What may happen to anything that the operator depends on."""
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
            with contextlib.suppress(BugError):
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
            with contextlib.suppress(BugError):
                await world.operator.poll()
        case "api down":
            cluster.down_for = value
        case "fault":
            kind, error = value
            cluster.faults.pop(kind, None)
            if error:
                cluster.faults[kind] = ERRORS[error]
        case "deaf" | "broken":
            setattr(world.registry, action, value)
        case "prometheus":
            cluster.prometheus_away = not value
        case "set":
            edit(world, **value)
        case "unset":
            edit(world, **dict.fromkeys(value))
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
        case "quick":
            world.quick = value
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


def heal(world: World) -> None:
    """Everything that the operator depends on answers again."""
    world.cluster.down_for = 0
    world.cluster.faults.clear()
    world.cluster.prometheus_away = False
    world.registry.down = world.registry.deaf = world.registry.broken = False


async def live(fates: dict[str, str], history: list[tuple[str, Any]], strategy: str = "Rolling") -> World:
    world = World(FakeCluster(fates))
    resource = raw(replicas=2, rollout=rollout(strategy))
    world.cluster.put(MODEL_DEPLOYMENT, resource)
    for action, value in history:
        await act(world, action, value)
        await world.step()
        world.check_capacity()
    heal(world)
    for server in world.cluster.servers.values():
        server.answers = True
    world.now += timedelta(seconds=61)  # whatever the breaker waits for
    await world.operator.poll()
    edit(world, suspend=False)
    await world.settle()
    return world
