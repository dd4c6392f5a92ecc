"""A cluster in memory: an API server with versions, watches and server-side apply as far as the operator uses them, a
Deployment controller, and a kubelet whose pods fare as their run does. Every step happens when the test says so."""

import asyncio
import copy
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fairlead_operator import contract
from fairlead_operator.api import ADMITTED, OWNER_LABEL, REVISION_LABEL, RUN_LABEL, Manifest, ModelRef
from fairlead_operator.checks import Evidence, Measurement, Question, Sample, judge
from fairlead_operator.desired.access import Contact
from fairlead_operator.kinds import DEPLOYMENT, MODEL_DEPLOYMENT, OWNED, POD, Kind
from fairlead_operator.kube import ConflictError, KubeError, NotFoundError, Page
from fairlead_operator.mlflow import MissingError, UnavailableError
from fairlead_operator.pods import UnreachableError
from fairlead_operator.reference import LoggedModelReference, RegisteredModel, RunReference, VersionReference
from fairlead_operator.reports import Info
from fairlead_operator.store import Key
from tests.unit.operator.samples import NOW
from tests.unit.operator.servers import CORRUPT, FLAKY, GOOD, SLOW, FakeServer

Place = tuple[str, str, str]
Watcher = Callable[[Kind, str | None, Manifest], None]

WORSE, UNKNOWN = "worse", "unknown"
"""Pods answer, but what is measured of them is worse than what serves, or cannot be measured."""
BROKEN_IMAGE = "broken:1"
"""Cannot be pulled."""
CRASH_SECONDS = 30
"""A container that failed is tried again after so long."""


class BugError(Exception):
    """What no caller expects."""


@dataclass
class FakeCluster:
    fates: dict[str, str] = field(default_factory=dict)
    """What becomes of a run's pods; GOOD unless said otherwise."""
    objects: dict[Place, Manifest] = field(default_factory=dict)
    pending: deque[tuple[Kind, str, Manifest]] = field(default_factory=deque)
    """Watch events nobody has seen yet."""
    reads: int = 0
    writes: int = 0
    api_groups: frozenset[str] = frozenset({"apps", "policy"})
    """What the API server offers."""
    down_for: int = 0
    """Requests that will fail."""
    faults: dict[str, tuple[type[KubeError], int, str]] = field(default_factory=dict)
    """What the API server answers, by kind, to whoever applies, deletes or admits an object of it."""
    prometheus_away: bool = False
    warned: dict[str, list[Manifest]] = field(default_factory=dict)
    """Warning Events about pods, by the name of their Deployment."""
    news: list[Manifest] = field(default_factory=list)
    clock: Callable[[], datetime] = lambda: NOW
    servers: dict[str, FakeServer] = field(default_factory=dict)
    """In pods that swap models, by address."""
    loads: int = 0
    """Requests to load that pods have got."""
    crashes: int = 0
    """Containers that failed again."""
    _applied: dict[Place, Manifest] = field(default_factory=dict)
    _handed_over: dict[Place, Manifest] = field(default_factory=dict)
    _version: int = 1
    """As etcd's: no object has the first."""

    # --- what the operator calls ---

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        self.reads += 1
        self._request()
        place = (kind.kind, namespace, name)
        found = copy.deepcopy(self.objects.get(place))
        if found is not None:
            fields = {f"f:{field}": {} for field in self._applied.get(place, {}).get("spec", {})}
            ours = {"manager": "fairlead", "operation": "Apply", "fieldsV1": {"f:spec": fields}}
            found["metadata"]["managedFields"] = [ours]
        return found

    async def pages(self, kind: Kind, namespace: str) -> AsyncIterator[Page]:
        self.reads += 1
        self._request()
        found = [copy.deepcopy(obj) for (known, _, _), obj in self.objects.items() if known == kind.kind]
        labelled = [obj for obj in found if not kind.labelled or OWNER_LABEL in obj["metadata"].get("labels", {})]
        yield Page(labelled, str(self._version))

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        place = (kind.kind, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if kind.optional and kind.group not in self.api_groups:
            raise NotFoundError(404, "the server could not find the requested resource")
        before, last = self.objects.get(place), self._applied.get(place, {})
        manifest = self._named(manifest, before)
        self._fault(kind)
        self.writes += 1
        self._request()
        merged = _merge(_without(before or {}, last, _merge(self._handed_over.get(place, {}), manifest)), manifest)
        if kind is DEPLOYMENT:
            merged["spec"].setdefault("replicas", 1)
        self._applied[place] = copy.deepcopy(manifest)
        return self._store(kind, merged)

    async def groups(self) -> frozenset[str]:
        self.reads += 1
        self._request()
        return self.api_groups

    async def watch(self, kind: Kind, namespace: str, since: str) -> AsyncIterator[Manifest]:
        """Watch events are delivered by hand here: none comes by itself."""
        await asyncio.Event().wait()
        yield {}

    async def hand_over(self, kind: Kind, manifest: Manifest) -> None:
        self.writes += 1
        self._request()
        place = (kind.kind, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        self._handed_over[place] = copy.deepcopy(manifest)

    def _named(self, manifest: Manifest, live: Manifest | None) -> Manifest:
        """The manifest without what it says of the object that it is about, if that is so."""
        metadata = dict(manifest["metadata"])
        version, uid = metadata.pop("resourceVersion", None), metadata.pop("uid", None)
        known = live["metadata"] if live else {"uid": None}
        if uid not in (None, known["uid"]) or (live and version not in (None, known["resourceVersion"])):
            self.reads += 1
            self._request()
            raise ConflictError(409, "the object has been modified")
        return {**manifest, "metadata": metadata}

    async def overwrite(self, kind: Kind, manifest: Manifest) -> None:
        await self.apply(kind, manifest)

    async def admit(self, namespace: str, pod: str, now: datetime) -> Manifest:
        self._fault(POD)
        self.writes += 1
        self._request()
        live = self.objects.get(("Pod", namespace, pod))
        if live is None:
            raise NotFoundError(404, "not found")
        conditions = [*live["status"]["conditions"], {"type": ADMITTED, "status": "True"}]
        return self._store(POD, {**live, "status": {**live["status"], "conditions": conditions}})

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        self._fault(kind)
        self.writes += 1
        self._request()
        live = self.objects.get((kind.kind, namespace, name))
        if live is not None and live["metadata"]["uid"] == uid:
            self.remove(kind, namespace, name)

    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        self.writes += 1
        self._request()
        place = (kind.kind, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if place not in self.objects or self.objects[place]["metadata"]["uid"] != manifest["metadata"]["uid"]:
            raise NotFoundError(404, "not found")
        return self._store(kind, {**self.objects[place], "status": copy.deepcopy(manifest["status"])})

    async def warnings(self, namespace: str, pod: str) -> list[Manifest]:
        self.reads += 1
        self._request()
        return self.warned.get(pod.rsplit("-", 1)[0], [])

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        self.writes += 1
        self._request()
        self.news.append(manifest)
        return manifest

    # --- what people and controllers do ---

    @property
    def activity(self) -> tuple[int, int]:
        """What has happened, but for containers that fail time and again."""
        return self.writes, self._version - self.crashes

    def put(self, kind: Kind, obj: Manifest) -> None:
        """Somebody creates or changes an object."""
        metadata = {"uid": f"theirs-{self._version}", **obj["metadata"]}
        self._store(kind, copy.deepcopy({**obj, "metadata": metadata}))

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Somebody deletes an object; a Deployment takes its pods along."""
        if kind is DEPLOYMENT and (deployment := self.objects.get((kind.kind, namespace, name))):
            for pod in self.pods_of(deployment):
                self.remove(POD, namespace, pod["metadata"]["name"])
        obj = self.objects.pop((kind.kind, namespace, name), None)
        if obj is not None and kind is POD:
            self.servers.pop(_address(obj), None)
        self._applied.pop((kind.kind, namespace, name), None)
        if obj is not None:
            self._tell(kind, "DELETED", obj)

    def deliver(self, watcher: Watcher, at_most: int | None = None) -> None:
        """Hands over the oldest watch events."""
        for _ in range(len(self.pending) if at_most is None else min(at_most, len(self.pending))):
            watcher(*self.pending.popleft())

    def deployments(self) -> list[Manifest]:
        return [obj for (kind, _, _), obj in self.objects.items() if kind == "Deployment"]

    def pods(self, name: str) -> list[Manifest]:
        return [
            obj
            for (kind, _, _), obj in self.objects.items()
            if kind == "Pod" and obj["metadata"]["labels"][OWNER_LABEL] == name
        ]

    def pods_of(self, deployment: Manifest) -> list[Manifest]:
        selector = deployment["spec"]["selector"]["matchLabels"].items()
        return [
            obj
            for (kind, _, _), obj in self.objects.items()
            if kind == "Pod" and selector <= obj["metadata"]["labels"].items()
        ]

    def roll(self) -> None:
        """The Deployment controller: one step towards what is wanted, `maxUnavailable: 0`, `maxSurge: 25%`."""
        for deployment in self.deployments():
            self._roll_one(copy.deepcopy(deployment))

    def run_pods(self) -> None:
        """The kubelet: pods that started become what their run's fate is."""
        for deployment in self.deployments():
            for pod in self.pods_of(deployment):
                status = self._fate(pod)
                if pod.get("status") != status:
                    self._store(POD, {**pod, "status": status})
        for server in self.servers.values():
            if server.loading is not None:
                server.tick(self.fates.get(server.loading.run_id, GOOD), self.clock())

    def restart_container(self, pod: Manifest) -> None:
        """The server of a pod that swaps models ends, and the kubelet starts it again."""
        if (server := self.servers.get(_address(pod))) is not None:
            server.restart()
            restarts = pod["status"]["containerStatuses"][0]["restartCount"] + 1
            containers = [{"name": "server", "restartCount": restarts, "state": {}}]
            self._store(POD, {**pod, "status": {"podIP": _address(pod), "containerStatuses": containers}})

    def _fate(self, pod: Manifest) -> Manifest:
        if _has(pod, "Ready"):
            return dict(pod["status"])
        if _has(pod, "ContainersReady"):
            conditions = pod["status"]["conditions"]
            gates = [{"type": gate["conditionType"]} for gate in pod["spec"].get("readinessGates", [])]
            opened = all(_has(pod, gate["type"]) for gate in gates)
            ready = [{"type": "Ready", "status": "True"}] if opened else []
            return {**pod["status"], "conditions": [*conditions, *ready]}
        recorded = self._recorded(pod)
        if recorded is None:
            waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": "configmap not found"}}
            return {"initContainerStatuses": [{"name": "loader", "state": waiting}]}
        environment = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
        broken = pod["spec"]["containers"][0]["image"] == BROKEN_IMAGE
        fate = SLOW if broken else environment.get("FATE") or self.fates.get(recorded.run_id, GOOD)
        server = self.servers.get(_address(pod))
        if server is not None or fate in (GOOD, WORSE, UNKNOWN, FLAKY):
            proven = [{"type": "ContainersReady", "status": "True"}]
            ready = [] if pod["spec"].get("readinessGates") else [{"type": "Ready", "status": "True"}]
            containers = [{"name": "server", "restartCount": 0, "state": {}}]
            status = {"containerStatuses": containers, **pod["status"], "conditions": [*proven, *ready]}
            if RUN_LABEL not in pod["metadata"]["labels"]:
                self.servers.setdefault(_address(pod), FakeServer(recorded))
            return {**status, "podIP": _address(pod), "initContainerStatuses": []}
        if fate == SLOW:
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
            return {"initContainerStatuses": [{"name": "loader", "state": waiting}]}
        reason = "ModelCorrupt" if fate == CORRUPT else "LoadFailed"
        told = {"reason": reason, "message": "model.skops is truncated", "run_id": recorded.run_id}
        ended = {"exitCode": 1, "finishedAt": self.clock().isoformat(), "message": json.dumps(told)}
        return self._ended(pod, ended)

    def _ended(self, pod: Manifest, ended: Manifest) -> Manifest:
        """With the time of the last try."""
        before = pod["status"].get("initContainerStatuses", [{}])[0].get("state", {}).get("terminated")
        if before is not None and before["message"] == ended["message"]:
            age = datetime.fromisoformat(ended["finishedAt"]) - datetime.fromisoformat(before["finishedAt"])
            if age < timedelta(seconds=CRASH_SECONDS):
                ended = before
            else:
                self.crashes += 1
        return {"initContainerStatuses": [{"name": "loader", "state": {"terminated": ended}}]}

    def _recorded(self, pod: Manifest) -> ModelRef | None:
        """The model that a loader which starts now is to load."""
        labels, namespace = pod["metadata"]["labels"], pod["metadata"]["namespace"]
        if run_id := labels.get(RUN_LABEL):
            return ModelRef(run_id=run_id)
        found = self.objects.get(("ConfigMap", namespace, labels[OWNER_LABEL]))
        if found is None:
            return None
        data = found["data"]
        return ModelRef(
            run_id=data[contract.ENV_RUN_ID],
            model_uri=data[contract.ENV_MODEL_URI],
            model_name=data[contract.ENV_MODEL_NAME] or None,
            model_version=data[contract.ENV_MODEL_VERSION] or None,
        )

    def _roll_one(self, deployment: Manifest) -> None:
        metadata, spec = deployment["metadata"], deployment["spec"]
        revision, wanted = spec["template"]["metadata"]["labels"][REVISION_LABEL], spec["replicas"]
        pods = self.pods_of(deployment)
        new = [pod for pod in pods if pod["metadata"]["labels"][REVISION_LABEL] == revision]
        old = [pod for pod in pods if pod not in new]
        if spec["strategy"]["type"] == "Recreate" and old:
            for pod in old:
                self.remove(POD, metadata["namespace"], pod["metadata"]["name"])
            return
        surge = math.ceil(wanted / 4) if old else 0
        for _ in range(min(wanted - len(new), wanted + surge - len(pods))):
            self._start_pod(metadata, spec["template"])
        spare = sum(map(_ready, pods)) - wanted
        for pod in sorted(old, key=_ready):
            if not _ready(pod) or spare > 0:
                spare -= _ready(pod)
                self.remove(POD, metadata["namespace"], pod["metadata"]["name"])
        for pod in sorted(new, key=_ready)[: max(0, len(new) - wanted)]:
            self.remove(POD, metadata["namespace"], pod["metadata"]["name"])
        self._count(deployment, revision)

    def _count(self, deployment: Manifest, revision: str) -> None:
        metadata, pods = deployment["metadata"], self.pods_of(deployment)
        updated = [pod for pod in pods if pod["metadata"]["labels"][REVISION_LABEL] == revision]
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(updated),
            "readyReplicas": sum(map(_ready, pods)),
            "availableReplicas": sum(map(_ready, pods)),
        }
        live = self.objects[("Deployment", metadata["namespace"], metadata["name"])]
        if live.get("status") != status:
            self._store(DEPLOYMENT, {**live, "status": status})

    def _start_pod(self, owner: Manifest, template: Manifest) -> None:
        name = f"{owner['name']}-{self._version}"
        metadata = {"name": name, "namespace": owner["namespace"], "labels": dict(template["metadata"]["labels"])}
        created = {"creationTimestamp": "2026-11-23T12:00:00Z"}
        self._store(POD, {"kind": "Pod", "metadata": metadata | created, "spec": template["spec"], "status": {}})

    def _store(self, kind: Kind, obj: Manifest) -> Manifest:
        metadata = obj["metadata"]
        place = (kind.kind, metadata["namespace"], metadata["name"])
        before = self.objects.get(place)
        known = before["metadata"] if before else {"generation": 0}
        changed = before is None or before.get("spec") != obj.get("spec")
        bookkeeping = {
            "uid": known.get("uid") or metadata.get("uid") or f"{kind.kind}-{self._version}",
            "resourceVersion": known.get("resourceVersion"),
            "generation": known["generation"] + changed,
        }
        stored = {**copy.deepcopy(obj), "metadata": {**copy.deepcopy(metadata), **bookkeeping}}
        if stored != before:
            self._version += 1
            stored["metadata"]["resourceVersion"] = str(self._version)
            self.objects[place] = stored
            self._tell(kind, "MODIFIED" if before else "ADDED", stored)
        return copy.deepcopy(self.objects[place])

    def _tell(self, kind: Kind, event: str, obj: Manifest) -> None:
        ours = not kind.labelled or OWNER_LABEL in obj["metadata"].get("labels", {})
        if kind in (MODEL_DEPLOYMENT, *OWNED) and ours:
            self.pending.append((kind, event, copy.deepcopy(obj)))

    def _fault(self, kind: Kind) -> None:
        if (fault := self.faults.get(kind.kind)) is not None:
            error, status, message = fault
            raise error(status, message)

    def _request(self) -> None:
        if self.down_for:
            self.down_for -= 1
            raise KubeError(0, "connection refused")

    def resource(self, name: str) -> Manifest:
        return self.objects[(MODEL_DEPLOYMENT.kind, "ml", name)]


@dataclass
class FakeAnalyst:
    """Measures at once; what comes out is the candidate's fate."""

    cluster: FakeCluster
    wake: Callable[[Key], None]
    now: Callable[[], datetime]
    _answers: dict[Key, Measurement] = field(default_factory=dict)

    def answer(self, key: Key) -> Measurement | None:
        return self._answers.get(key)

    def ask(self, key: Key, question: Question) -> None:
        known = self._answers.get(key)
        if known is None or known.question != question.id:
            pod = self.cluster.objects.get(("Pod", key.namespace, question.candidate[0].name))
            run = pod["metadata"]["labels"][RUN_LABEL] if pod else ""
            sample = Sample(100, 50 if self.cluster.fates.get(run) == WORSE else 0, 10.0)
            unknown = pod is None or self.cluster.fates.get(run) == UNKNOWN or self.cluster.prometheus_away
            evidence = Evidence(problem="no data") if unknown else Evidence(sample, Sample(100, 0, 10.0))
            self._answers[key] = judge(question, evidence, self.now())
            self.wake(key)

    def forget(self, key: Key) -> None:
        self._answers.pop(key, None)


class Nothing:
    """Pods that nobody asks for anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was not expected")


@dataclass
class FakePods(Nothing):
    """Asks the servers of a fake cluster which model they serve, and for another one."""

    cluster: FakeCluster

    async def info(self, ip: str, contact: Contact) -> Info:
        server = self.cluster.servers.get(ip)
        if server is None or not server.answers:
            raise UnreachableError(f"GET http://{ip}:8000/model/info gets no answer")
        return server.report()

    async def load(self, ip: str, model: ModelRef, contact: Contact) -> None:
        await self.info(ip, contact)
        self.cluster.loads += 1
        self.cluster.servers[ip].load(model)


@dataclass
class FakeRegistry:
    """MLflow with registered models of any name, all alike: version N is the run of index N - 1."""

    runs: tuple[str, ...]
    aliases: dict[str, int] = field(default_factory=dict)
    down: bool = False
    forbidden: frozenset[str] = frozenset()
    """Names the operator may not read."""
    created: int = 1
    calls: int = 0
    polls: int = 0
    """Calls about a registered model as a whole."""
    tags: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """Of versions (name and number) and of runs (no name)."""
    told: list[tuple[tuple[str, str], str, str]] = field(default_factory=list)
    deaf: bool = False
    """Answers questions and takes no tags."""
    broken: bool = False
    """Every call raises what nobody expects."""

    async def registered_model(self, name: str) -> RegisteredModel:
        self._call()
        self.polls += 1
        if name in self.forbidden:
            raise UnavailableError(f"MLflow answers 403 about {name}")
        aliases = {alias: str(version) for alias, version in self.aliases.items()}
        return RegisteredModel(name, self.created, aliases, str(len(self.runs)))

    async def version(self, reference: VersionReference) -> ModelRef:
        self._call()
        return self._version(reference.name, int(reference.version))

    async def logged_model(self, reference: LoggedModelReference) -> ModelRef:
        self._call()
        return ModelRef(run_id=reference.model_id, model_uri=str(reference))

    async def run(self, reference: RunReference) -> ModelRef:
        self._call()
        if reference.run_id not in self.runs:
            raise MissingError(f"no run {reference.run_id}")
        return ModelRef(run_id=reference.run_id, model_uri=str(reference))

    async def tag_version(self, name: str, version: str, key: str, value: str) -> None:
        self._call()
        self._version(name, int(version))
        self._tag((name, version), key, value)

    async def tag_run(self, run_id: str, key: str, value: str) -> None:
        self._call()
        self._tag(("", run_id), key, value)

    async def tag_logged_model(self, model_id: str, key: str, value: str) -> None:
        self._call()
        self._tag(("", model_id), key, value)

    def _tag(self, place: tuple[str, str], key: str, value: str) -> None:
        if self.deaf:
            raise UnavailableError("MLflow answers 403")
        self.told.append((place, key, value))
        self.tags.setdefault(place, {})[key] = value

    def _version(self, name: str, version: int) -> ModelRef:
        if version > len(self.runs):
            raise MissingError(f"no version {version}")
        uri = f"models:/{name}/{version}"
        return ModelRef(run_id=self.runs[version - 1], model_uri=uri, model_name=name, model_version=str(version))

    def _call(self) -> None:
        self.calls += 1
        if self.broken:
            raise BugError
        if self.down:
            raise UnavailableError("MLflow does not answer", down=True)


def _address(pod: Manifest) -> str:
    """Of its own for each pod."""
    return f"ip-{pod['metadata']['name']}"


def _ready(pod: Manifest) -> bool:
    return _has(pod, "Ready")


def _has(pod: Manifest, condition: str) -> bool:
    return any(found["type"] == condition for found in pod.get("status", {}).get("conditions", []))


def _merge(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: _merge(base.get(key), value) for key, value in over.items()}}
    return copy.deepcopy(over)


def _without(base: Any, last: Any, now: Any) -> Any:
    """`base` without what was applied last time and is not now."""
    if not (isinstance(base, dict) and isinstance(last, dict) and isinstance(now, dict)):
        return base
    released = {key for key in last if key not in now}
    return {
        key: _without(value, last.get(key), now.get(key)) if key in now else value
        for key, value in base.items()
        if key not in released
    }
