"""What became of each pod: one state and, if it is bad, why. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from fairlead_kubectl.reading import CANDIDATE, REVISION_LABEL, RUN_LABEL, STABLE, TRACK_LABEL, Json, condition, told

State = Literal["ok", "waiting", "bad"]
_ON_ITS_WAY: Final = frozenset({"", "PodInitializing", "ContainerCreating"})


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not answer: Kubernetes' word for it, or a loader's."""

    reason: str
    message: str
    container: str = ""


@dataclass(frozen=True)
class Pod:
    name: str
    track: str
    run_id: str
    state: State
    text: str
    """`ready`, `loading the model`, `ImagePullBackOff`, …"""
    trouble: Trouble | None
    restarts: int
    node: str
    created: str
    revision: str = ""
    """Digest of its template, as the status names it."""
    leaving: bool = False


def read(raw: Json) -> Pod:
    """Of several troubles the one that explains most: a container's last words before what Kubernetes makes of them."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels = metadata.get("labels") or {}
    leaving = bool(metadata.get("deletionTimestamp"))
    ready = (condition(raw, "Ready") or {}).get("status") == "True"
    trouble = None if ready else next(_troubles(raw), None)
    state, text = _state(raw, ready, leaving, trouble)
    return Pod(
        name=metadata["name"],
        track=labels.get(TRACK_LABEL, STABLE),
        run_id=labels.get(RUN_LABEL, ""),
        state=state,
        text=text,
        trouble=trouble,
        restarts=sum(int(one.get("restartCount", 0)) for one in _containers(status)),
        node=str((raw.get("spec") or {}).get("nodeName", "")),
        created=str(metadata.get("creationTimestamp", "")),
        revision=labels.get(REVISION_LABEL, ""),
        leaving=leaving,
    )


def _state(raw: Json, ready: bool, leaving: bool, trouble: Trouble | None) -> tuple[State, str]:
    if leaving:
        return "ok", "leaving"
    if ready:
        return "ok", "ready"
    if trouble is not None:
        return "bad", trouble.reason
    status = raw.get("status") or {}
    if (condition(raw, "ContainersReady") or {}).get("status") == "True":
        dark = (raw["metadata"].get("labels") or {}).get(TRACK_LABEL) == CANDIDATE
        return "ok" if dark else "waiting", "proven, without users' requests" if dark else "proven, not yet admitted"
    loaders = status.get("initContainerStatuses") or []
    if any("running" in (one.get("state") or {}) for one in loaders):
        return "waiting", "loading the model"
    servers = status.get("containerStatuses") or []
    if any("running" in (one.get("state") or {}) for one in servers):
        return "waiting", "warming up"
    return "waiting", "starting"


def _containers(status: Json) -> list[Json]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _troubles(raw: Json) -> Iterator[Trouble]:
    status = raw.get("status") or {}
    scheduled = condition(raw, "PodScheduled") or {}
    if scheduled.get("status") == "False":
        yield Trouble(scheduled.get("reason") or "Unschedulable", str(scheduled.get("message", "")))
    containers = _containers(status)
    for container in containers:
        yield from _ended(container)
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", "") not in _ON_ITS_WAY:
            yield Trouble(waiting["reason"], str(waiting.get("message", "")), container["name"])
    if status.get("phase") == "Failed":
        yield Trouble(str(status.get("reason") or "Failed"), str(status.get("message", "")))


def _ended(container: Json) -> Iterator[Trouble]:
    """How it ended, now or the time before. A container that runs again is judged by what it does now."""
    state: dict[str, Any] = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    if not ended or ended.get("exitCode", 0) == 0 or "running" in state:
        return
    text = str(ended.get("message") or "").strip()
    said = told(text)
    if said is not None:
        yield Trouble(said["reason"], str(said.get("message", "")), container["name"])
    elif ended.get("reason") == "OOMKilled":
        yield Trouble("OOMKilled", f"{container['name']} took more memory than its limit", container["name"])
    else:
        last = text.splitlines()[-1:]
        how = f"{container['name']} ended with exit code {ended.get('exitCode')}"
        yield Trouble("ContainerFailed", ": ".join([how, *last]), container["name"])
