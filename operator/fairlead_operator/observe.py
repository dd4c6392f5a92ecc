"""What the cluster shows of one ModelDeployment, as plain values: pure functions over objects from the watches."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fairlead_operator import contract
from fairlead_operator.api import (
    ADMITTED,
    FINAL_REASONS,
    OWNER_LABEL,
    REVISION_LABEL,
    RUN_LABEL,
    STABLE,
    TRACK_LABEL,
    Deployed,
    Failure,
    Manifest,
    Reason,
)

STARTING = (None, "PodInitializing", "ContainerCreating")
"""Reasons to wait that every pod has for a while."""
MAX_MESSAGE = 1000
"""Characters of a message that are kept: enough for an exception, too little for a traceback of pages."""


@dataclass(frozen=True)
class DeploymentView:
    """The Deployment and what its controller says of it."""

    revision: str
    """Of the template it has now."""
    wanted: int
    replicas: int
    updated: int
    available: int
    ready: int
    observed: bool
    """Whether the numbers above are about the present spec."""
    error: str = ""
    """Why pods cannot even be created (quota, admission)."""
    swaps: bool = False
    """Whether its pods swap models, so that their labels name no run."""
    held: Deployed | None = None
    """The model of its present template, as far as the template names one."""

    @property
    def settled(self) -> bool:
        """No pod of another template is left."""
        return self.observed and self.updated == self.replicas

    @property
    def complete(self) -> bool:
        """All pods wanted are of the present template and available."""
        return self.settled and 0 < self.wanted == self.updated == self.available


@dataclass(frozen=True)
class PodView:
    name: str
    run_id: str
    revision: str
    ready: bool
    """It gets users' requests."""
    failure: Failure | None
    """How its container ended last, in `contract.FailureReason` words."""
    waiting: str
    """Why it is not running (ImagePullBackOff, unschedulable, …), for people."""
    track: str = STABLE
    proven: bool = False
    """Its containers are ready: the model is loaded, proven and warm, whether or not the pod is admitted."""
    admitted: bool = False
    ip: str = ""
    restarts: int = 0
    created: datetime | None = None

    @property
    def swaps(self) -> bool:
        """Whether it swaps models: it has none by its labels, and says itself what it serves."""
        return not self.run_id

    @property
    def final_failure(self) -> Failure | None:
        """A failure that the same run would have again, on any pod."""
        return self.failure if self.failure and self.failure.reason in FINAL_REASONS else None


@dataclass(frozen=True)
class Observed:
    deployment: DeploymentView | None = None
    pods: tuple[PodView, ...] = ()
    """Those that are not being deleted."""
    reachable: bool = True
    """Whether the resource's own Service is there, which leads clients to the pods."""

    def with_waiting(self, pod: str, why: str) -> "Observed":
        """With a reason why this pod is not running."""
        return replace(self, pods=tuple(replace(one, waiting=why) if one.name == pod else one for one in self.pods))

    @property
    def swapping(self) -> bool:
        """Whether there are pods that swap models, or will be."""
        return any(pod.swaps for pod in self.pods) or (self.deployment is not None and self.deployment.swaps)

    def available(self, *revisions: str, track: str | None = None) -> int:
        """Pods of these revisions that answer."""
        return sum(pod.ready for pod in self.pods if pod.revision in revisions and track in (None, pod.track))

    def answering(self, track: str) -> int:
        """Pods of this track that answer, whatever they hold."""
        return sum(pod.ready for pod in self.pods if pod.track == track)

    def of_revision(self, revision: str) -> tuple[PodView, ...]:
        return tuple(pod for pod in self.pods if pod.revision == revision)


def observe(
    deployment: Mapping[str, Any] | None, pods: Iterable[Mapping[str, Any]], reachable: bool = True
) -> Observed:
    """Reads a Deployment and its pods. Objects may be partial: whatever is missing counts as not there yet."""
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    views = sorted((_pod(pod) for pod in alive), key=lambda view: view.name)
    return Observed(_deployment(deployment) if deployment else None, tuple(views), reachable)


def deployment_essentials(raw: Manifest) -> Manifest:
    """A Deployment with as much of its status as `observe` reads: its controller writes that many times a roll-out."""
    status = raw.get("status", {})
    numbers = ("replicas", "updatedReplicas", "availableReplicas", "readyReplicas", "observedGeneration")
    failures = [found for found in status.get("conditions", []) if found["type"] == "ReplicaFailure"]
    told = [{name: found.get(name, "") for name in ("type", "status", "message")} for found in failures]
    read = {name: status[name] for name in numbers if name in status} | ({"conditions": told} if told else {})
    return {**raw, "status": read}


def pod_essentials(raw: Manifest) -> Manifest:
    """What `observe` reads of a pod, so that nothing else is news: a pod that starts is written a dozen times."""
    status, names = raw.get("status", {}), ("namespace", "name", "labels", "creationTimestamp", "deletionTimestamp")
    metadata = {name: raw["metadata"][name] for name in names if name in raw["metadata"]}
    read: dict[str, Any] = {"podIP": status["podIP"]} if "podIP" in status else {}
    if conditions := [kept for found in status.get("conditions", []) if (kept := _essential_condition(found))]:
        read["conditions"] = conditions
    for kind in ("initContainerStatuses", "containerStatuses"):
        if containers := [kept for found in status.get(kind, []) if (kept := _essential_container(found))]:
            read[kind] = containers
    return {"metadata": metadata, "status": read}


def _essential_condition(found: Mapping[str, Any]) -> Manifest | None:
    if found["type"] == "PodScheduled":
        names: tuple[str, ...] = ("type", "status", "reason", "message") if found["status"] == "False" else ()
    else:
        read = found["type"] in ("Ready", "ContainersReady", ADMITTED) and found["status"] == "True"
        names = ("type", "status") if read else ()
    return {name: found[name] for name in names if name in found} or None


def _essential_container(found: Mapping[str, Any]) -> Manifest | None:
    read: dict[str, Any] = {"restartCount": found["restartCount"]} if found.get("restartCount") else {}
    if (waiting := found.get("state", {}).get("waiting") or {}).get("reason") not in STARTING:
        read["state"] = {"waiting": waiting}
    if (ended := _ended(found)) and ended.get("exitCode", 0) != 0:
        read["lastState"] = {"terminated": ended}
    return {"name": found["name"]} | read if read else None


def _deployment(raw: Mapping[str, Any]) -> DeploymentView:
    metadata, spec, status = raw["metadata"], raw.get("spec", {}), raw.get("status", {})
    labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
    failures = [found for found in status.get("conditions", []) if found["type"] == "ReplicaFailure"]
    return DeploymentView(
        revision=labels.get(REVISION_LABEL, ""),
        wanted=spec.get("replicas", 1),
        replicas=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        available=status.get("availableReplicas", 0),
        ready=status.get("readyReplicas", 0),
        observed=status.get("observedGeneration", 0) >= metadata.get("generation", 1),
        error=next((found.get("message", "") for found in failures if found["status"] == "True"), ""),
        swaps=bool(labels) and RUN_LABEL not in labels,
        held=_held(spec.get("template", {})),
    )


def _held(template: Mapping[str, Any]) -> Deployed | None:
    revision = template.get("metadata", {}).get("labels", {}).get(REVISION_LABEL, "")
    container: Mapping[str, Any] = next(iter(template.get("spec", {}).get("containers", [])), {})
    given = {entry["name"]: entry.get("value") for entry in container.get("env", [])}
    if not revision or not (run_id := given.get(contract.ENV_RUN_ID)):
        return None
    return Deployed(
        run_id=run_id,
        model_uri=given.get(contract.ENV_MODEL_URI) or "",
        model_name=given.get(contract.ENV_MODEL_NAME) or None,
        model_version=given.get(contract.ENV_MODEL_VERSION) or None,
        image=container.get("image", ""),
        revision=revision,
    )


def _pod(raw: Mapping[str, Any]) -> PodView:
    metadata, status = raw["metadata"], raw.get("status", {})
    labels = metadata.get("labels", {})
    conditions = {found["type"]: found for found in status.get("conditions", [])}
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    failures = [found for container in containers if (found := _failure(metadata, labels.get(RUN_LABEL), container))]
    return PodView(
        name=metadata["name"],
        run_id=labels.get(RUN_LABEL, ""),
        revision=labels.get(REVISION_LABEL, ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        failure=max(failures, key=lambda failure: failure.at, default=None),
        waiting=_waiting(conditions, containers),
        track=labels.get(TRACK_LABEL, STABLE),
        proven=conditions.get("ContainersReady", {}).get("status") == "True",
        admitted=conditions.get(ADMITTED, {}).get("status") == "True",
        ip=status.get("podIP", ""),
        restarts=sum(container.get("restartCount", 0) for container in status.get("containerStatuses", [])),
        created=_time(metadata["creationTimestamp"]) if "creationTimestamp" in metadata else None,
    )


def _failure(metadata: Mapping[str, Any], run_id: str | None, container: Mapping[str, Any]) -> Failure | None:
    """How a container ended, if it failed. The loader and the server leave `{"reason", "message"}` as JSON, and the
    loader its `run_id` too: pods that swap models have it from nowhere else."""
    ended = _ended(container)
    if not ended or ended.get("exitCode", 0) == 0:
        return None
    reason, message, told = _termination_message(ended, container["name"])
    at = ended.get("finishedAt") or metadata["creationTimestamp"]
    return Failure(run_id=told or run_id, pod=metadata["name"], reason=reason, message=message, at=_time(at))


def _ended(container: Mapping[str, Any]) -> Any:
    """How it ended last."""
    return container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _termination_message(ended: Mapping[str, Any], container: str) -> tuple[str, str, str | None]:
    text = str(ended.get("message") or "").strip()
    how = f"{container} ended with exit code {ended.get('exitCode')} ({ended.get('reason', 'Error')})"
    try:
        told = json.loads(text)
        run_id = told.get("run_id")
        return Reason(told["reason"]), str(told["message"])[:MAX_MESSAGE], str(run_id) if run_id else None
    except (ValueError, TypeError, KeyError, AttributeError):
        last = text.splitlines()[-1:] if text else []
        return Reason.LOAD_FAILED, ": ".join([how, *last])[:MAX_MESSAGE], None


def _waiting(conditions: Mapping[str, Any], containers: Sequence[Mapping[str, Any]]) -> str:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}".rstrip(": ")[:MAX_MESSAGE]
    for container in containers:
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in STARTING:
            return f"{container['name']}: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")[:MAX_MESSAGE]
    return ""


def owner_of(raw: Manifest) -> str:
    """UID of an object's controller, or an empty string."""
    owners = raw["metadata"].get("ownerReferences", [])
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


def label_of(raw: Manifest) -> str:
    """The children's name that an owned object or its pod carries."""
    return str(raw["metadata"].get("labels", {}).get(OWNER_LABEL, ""))
