"""What is done to the objects, one function a phase, and what each cost."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.controlplane.process import Cost
from benchmarks.controlplane.scene import ACCOUNT, Scene
from benchmarks.controlplane.watching import await_gone, await_quiet, reach, rolled_out

from fairlead_operator.api import ModelDeployment, ModelRef
from fairlead_operator.desired.deployment import build
from fairlead_operator.desired.pods import PodDefaults, Template
from tests.controlplane.cluster import OWNED, RUN_LABEL, Object, condition, md, path, up_to_date

CLIENTS = 8
"""Requests under way at the same time, of whoever creates and changes the objects."""


@dataclass
class Outcome:
    """Of one phase."""

    seconds: dict[str, float] = field(default_factory=dict)
    """From its beginning to each milestone of the last object."""
    requests: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    """Requests by verb and resource."""
    writes: int = 0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    registry_calls: float = 0.0


def each(names: Iterable[str], call: Callable[[str], Any]) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(call, names))


# --- the floor: plain Deployments with the same pods ---


def plain(namespace: str, name: str, run_id: str) -> Object:
    raw = md(namespace, name, run_id, replicas=1)
    resource = ModelDeployment.model_validate({**raw, "metadata": {**raw["metadata"], "uid": "none"}})
    template = Template(ModelRef(run_id=run_id, model_uri=f"runs:/{run_id}/model"), "predictor:1", 1)
    manifest = build(resource, template, PodDefaults(image="predictor:1", tracking_uri="http://mlflow:5000"))
    del manifest["metadata"]["ownerReferences"]
    return manifest


def floor(scene: Scene, names: list[str], runs: tuple[str, str]) -> tuple[float, float]:
    """Seconds until all are rolled out after their creation, and after a change of all their pods."""
    api, namespace = scene.api, "floor"
    scene.plane.kubectl("create", "namespace", namespace)
    found = []
    for number, run_id in enumerate(runs):
        began = time.monotonic()
        if number == 0:
            each(names, lambda name: api.create("deployment", plain(namespace, name, runs[0])))
        else:
            each(names, lambda name: api.patch("deployment", namespace, name, another_run(namespace, name, runs[1])))

        def done(obj: Object, run_id: str = run_id) -> bool:
            return run_of(obj) == run_id and "status" in obj and rolled_out(obj)

        found.append(reach(api, "deployment", namespace, len(names), {"all": done})["all"] - began)
        await_quiet(api)
    api.request("DELETE", path("deployment", namespace), params={"propagationPolicy": "Background"})
    await_gone(api, ("deployment", "replicaset", "pod"), namespace)
    await_quiet(api)
    return found[0], found[1]


def run_of(obj: Object) -> str:
    """Of the pods that a Deployment, or what is like one, asks for."""
    found: str = obj["spec"]["template"]["metadata"]["labels"][RUN_LABEL]
    return found


def another_run(namespace: str, name: str, run_id: str) -> Object:
    """The change that brings it."""
    return {"spec": {"template": plain(namespace, name, run_id)["spec"]["template"]}}


# --- ModelDeployments ---


@contextmanager
def measured(scene: Scene, pid: int, account: str) -> Iterator[Outcome]:
    """Everything that one controller did and cost meanwhile; no other one may run."""
    outcome = Outcome()
    cost, requests, mark = Cost(pid), scene.requests(account), scene.audit.mark()
    yield outcome
    sent = scene.audit.since(mark)
    outcome.requests = scene.requests(account) - requests
    outcome.kinds = Counter(f"{request.verb} {request.resource}" for request in sent)
    outcome.writes = sum(request.writes for request in sent)
    outcome.cpu_seconds, outcome.peak_mib = cost.cpu_seconds, cost.peak_mib


@contextmanager
def operator_measured(scene: Scene) -> Iterator[Outcome]:
    assert scene.operator.process is not None
    calls = scene.operator.metric("fairlead_registry_calls_total")
    with measured(scene, scene.operator.process.pid, ACCOUNT) as outcome:
        yield outcome
    outcome.registry_calls = scene.operator.metric("fairlead_registry_calls_total") - calls


def created(scene: Scene, namespace: str, names: list[str], run_id: str) -> Outcome:
    api = scene.api
    scene.plane.kubectl("create", "namespace", namespace)
    with operator_measured(scene) as outcome:
        began = time.monotonic()
        each(names, lambda name: api.create("md", md(namespace, name, run_id, replicas=1)))
        asked = time.monotonic()
        milestones = {
            "first status": lambda obj: bool(condition(obj, "ModelResolved")),
            "Ready": lambda obj: condition(obj, "Ready").get("status") == "True",
            "UpToDate": up_to_date,
        }
        reached = reach(api, "md", namespace, len(names), milestones)
        outcome.seconds = {"asked": asked - began} | {name: at - began for name, at in reached.items()}
        await_quiet(api)
    return outcome


def changed(scene: Scene, namespace: str, names: list[str], model: Object, run_id: str) -> Outcome:
    """Until all serve another run. `model`: the change to `spec.model`; empty where an alias is moved instead."""
    api = scene.api
    with operator_measured(scene) as outcome:
        began = time.monotonic()
        if model:
            each(names, lambda name: api.patch("md", namespace, name, {"spec": {"model": model}}))
        wanted = set(names)

        def serves(obj: Object) -> bool:
            serving = obj.get("status", {}).get("serving", {})
            return obj["metadata"]["name"] in wanted and serving.get("runID") == run_id and up_to_date(obj)

        outcome.seconds = {"UpToDate": reach(api, "md", namespace, len(names), {"all": serves})["all"] - began}
        await_quiet(api)
    return outcome


def at_rest(scene: Scene, seconds: float) -> Outcome:
    with operator_measured(scene) as outcome:
        time.sleep(seconds)  # what is measured is a time in which nothing happens
    outcome.seconds = {"rest": seconds}
    return outcome


def restarted(scene: Scene, number: int) -> Outcome:
    """A new process, until it has looked at every object."""
    operator = scene.operator
    operator.stop()
    mark, requests, began = scene.audit.mark(), scene.requests(ACCOUNT), time.monotonic()
    operator.start()
    assert operator.process is not None
    while operator.metric("fairlead_reconciles_total") < number or operator.metric("fairlead_queue_depth"):
        time.sleep(0.2)
    outcome = Outcome({"looked at all": time.monotonic() - began})
    await_quiet(scene.api)
    sent = scene.audit.since(mark)
    outcome.requests, outcome.writes = scene.requests(ACCOUNT) - requests, sum(request.writes for request in sent)
    outcome.kinds = Counter(f"{request.verb} {request.resource}" for request in sent)
    cost = Cost(operator.process.pid, from_start=True)
    outcome.cpu_seconds, outcome.peak_mib = cost.cpu_seconds, cost.peak_mib
    return outcome


def deleted(scene: Scene, namespace: str) -> Outcome:
    api = scene.api
    with operator_measured(scene) as outcome:
        began = time.monotonic()
        api.request("DELETE", path("md", namespace), params={"propagationPolicy": "Background"})
        await_gone(api, ("md", *OWNED, "replicaset", "pod"), namespace)
        outcome.seconds = {"gone": time.monotonic() - began}
    return outcome
