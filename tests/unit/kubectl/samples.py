"""Objects as `kubectl --output json` prints them, cut to what is read."""

from datetime import UTC, datetime
from typing import Any

from fairlead_kubectl.reading import Snapshot

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
GOOD, BETTER, OLDER = "a" * 32, "b" * 32, "c" * 32
Object = dict[str, Any]


def condition(kind: str, status: str, reason: str, message: str = "") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def resource(*conditions: Object, spec: Object | None = None, metadata: Object | None = None, **status: Any) -> Object:
    found = list(conditions) or [
        condition("Ready", "True", "Serving"),
        condition("UpToDate", "True", "UpToDate"),
    ]
    return {
        "metadata": {"name": "fraud", "namespace": "ml", "generation": 2, **(metadata or {})},
        "spec": {"model": {"runID": GOOD}, "replicas": 1, **(spec or {})},
        "status": {"observedGeneration": 2, "conditions": found, "serving": {"runID": GOOD}, **status},
    }


def stalled(reason: str, message: str = "") -> Object:
    return resource(condition("Ready", "True", "Serving"), condition("UpToDate", "False", reason, message))


def pod(*containers: Object, loaders: tuple[Object, ...] = (), **more: Any) -> Object:
    """One that is not ready, unless its conditions say so."""
    labels = {"fairlead.dev/run-id": GOOD, "fairlead.dev/track": "stable", **more.pop("labels", {})}
    metadata = {"name": "fraud-1", "labels": labels, "creationTimestamp": "2026-11-26T11:00:00Z"}
    status = {"initContainerStatuses": list(loaders), "containerStatuses": list(containers), **more}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "one"}, "status": status}


def ready_pod() -> Object:
    return pod(conditions=[{"type": "Ready", "status": "True"}])


def waiting(name: str, reason: str, message: str = "") -> Object:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": message}}}


def crashed(code: int, message: str, reason: str = "Error") -> Object:
    """A server that is started anew after a while."""
    last = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return waiting("server", "CrashLoopBackOff", "back-off") | {"lastState": last}


def ended(name: str, message: str, code: int = 1, reason: str = "Error") -> Object:
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}


def operator(available: int = 1) -> Object:
    return {"metadata": {"name": "fairlead-operator", "namespace": "home"}, "status": {"availableReplicas": available}}


def snapshot(md: Object, *pods: Object, **more: Any) -> Snapshot:
    return Snapshot(md, pods=pods, operators=more.pop("operators", (operator(),)), **more)
