"""A cluster in memory: an API server with versions, watches and server-side apply as far as the operator uses them, a
Deployment controller, and a kubelet whose pods fare as their run does. Every step happens when the test says so."""

import asyncio
import copy
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fairlead_operator.api import OWNER_LABEL, REVISION_LABEL, RUN_LABEL, Manifest, ModelRef
from fairlead_operator.kinds import DEPLOYMENT, MODEL_DEPLOYMENT, POD, WATCHED, Kind
from fairlead_operator.kube import KubeError, NotFoundError
from fairlead_operator.mlflow import MissingError, UnavailableError
from fairlead_operator.reference import AliasReference, RunReference, VersionReference

Place = tuple[str, str, str]
Watcher = Callable[[Kind, str | None, Manifest], None]

GOOD, CORRUPT, SLOW, CRASHING = "good", "corrupt", "slow", "crashing"


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
    news: list[Manifest] = field(default_factory=list)
    _applied: dict[Place, Manifest] = field(default_factory=dict)
    _handed_over: dict[Place, Manifest] = field(default_factory=dict)
    _version: int = 0

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

    async def list_all(self, kind: Kind, namespaces: tuple[str, ...]) -> tuple[list[Manifest], int]:
        self.reads += 1
        self._request()
        found = [copy.deepcopy(obj) for (known, _, _), obj in self.objects.items() if known == kind.kind]
        labelled = [obj for obj in found if not kind.labelled or OWNER_LABEL in obj["metadata"].get("labels", {})]
        return labelled, self._version

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        self.writes += 1
        self._request()
        place = (kind.kind, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if kind.optional and kind.group not in self.api_groups:
            raise NotFoundError(404, "the server could not find the requested resource")
        before, last = self.objects.get(place), self._applied.get(place, {})
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

    async def overwrite(self, kind: Kind, manifest: Manifest) -> None:
        await self.apply(kind, manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
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

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        self.writes += 1
        self._request()
        self.news.append(manifest)
        return manifest

    # --- what people and controllers do ---

    def put(self, kind: Kind, obj: Manifest) -> None:
        """Somebody creates or changes an object."""
        self._store(kind, copy.deepcopy(obj))

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Somebody deletes an object."""
        obj = self.objects.pop((kind.kind, namespace, name), None)
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

    def roll(self) -> None:
        """The Deployment controller: one step towards what is wanted, `maxUnavailable: 0`, `maxSurge: 25%`."""
        for deployment in self.deployments():
            self._roll_one(copy.deepcopy(deployment))

    def run_pods(self) -> None:
        """The kubelet: pods that started become what their run's fate is."""
        for deployment in self.deployments():
            for pod in self.pods(deployment["metadata"]["name"]):
                status = self._fate(pod)
                if pod.get("status") != status:
                    self._store(POD, {**pod, "status": status})

    def _fate(self, pod: Manifest) -> Manifest:
        if _ready(pod):
            return dict(pod["status"])
        environment = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
        fate = environment.get("FATE") or self.fates.get(pod["metadata"]["labels"][RUN_LABEL], GOOD)
        if fate == GOOD:
            return {"conditions": [{"type": "Ready", "status": "True"}]}
        if fate == SLOW:
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
            return {"initContainerStatuses": [{"name": "loader", "state": waiting}]}
        reason = "ModelCorrupt" if fate == CORRUPT else "LoadFailed"
        ended = {
            "exitCode": 1,
            "finishedAt": "2026-11-23T12:00:00Z",
            "message": json.dumps({"reason": reason, "message": "model.skops is truncated"}),
        }
        return {"initContainerStatuses": [{"name": "loader", "state": {"terminated": ended}}]}

    def _roll_one(self, deployment: Manifest) -> None:
        metadata, spec = deployment["metadata"], deployment["spec"]
        revision, wanted = spec["template"]["metadata"]["labels"][REVISION_LABEL], spec["replicas"]
        pods = self.pods(metadata["name"])
        new = [pod for pod in pods if pod["metadata"]["labels"][REVISION_LABEL] == revision]
        old = [pod for pod in pods if pod not in new]
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
        metadata, pods = deployment["metadata"], self.pods(deployment["metadata"]["name"])
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
        if kind in WATCHED and ours:
            self.pending.append((kind, event, copy.deepcopy(obj)))

    def _request(self) -> None:
        if self.down_for:
            self.down_for -= 1
            raise KubeError(0, "connection refused")

    def resource(self, name: str) -> Manifest:
        return self.objects[(MODEL_DEPLOYMENT.kind, "ml", name)]


@dataclass
class FakeRegistry:
    """MLflow with one registered model, whose version N is the run of index N - 1."""

    runs: tuple[str, ...]
    aliases: dict[str, int] = field(default_factory=dict)
    down: bool = False
    calls: int = 0

    async def alias(self, reference: AliasReference) -> ModelRef:
        self._call()
        if reference.alias not in self.aliases:
            raise MissingError(f"no alias {reference}")
        return self._version(reference.name, self.aliases[reference.alias], reference.alias)

    async def version(self, reference: VersionReference) -> ModelRef:
        self._call()
        return self._version(reference.name, int(reference.version), None)

    async def run(self, reference: RunReference) -> ModelRef:
        self._call()
        if reference.run_id not in self.runs:
            raise MissingError(f"no run {reference.run_id}")
        return ModelRef(run_id=reference.run_id, model_uri=str(reference))

    def _version(self, name: str, version: int, alias: str | None) -> ModelRef:
        if version > len(self.runs):
            raise MissingError(f"no version {version}")
        uri = f"models:/{name}/{version}"
        run_id = self.runs[version - 1]
        return ModelRef(run_id=run_id, model_uri=uri, model_name=name, model_version=str(version), alias=alias)

    def _call(self) -> None:
        self.calls += 1
        if self.down:
            raise UnavailableError("MLflow does not answer")


def _ready(pod: Manifest) -> bool:
    return any(found["type"] == "Ready" for found in pod.get("status", {}).get("conditions", []))


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
