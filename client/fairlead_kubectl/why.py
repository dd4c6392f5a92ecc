"""`kubectl fairlead why`: from the resource to the container, and what is most likely the matter. Pure.

`diagnose` asks small rules in order, each `(snapshot, pods) → Cause or None`; the first that knows something is right.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from fairlead_kubectl import advice
from fairlead_kubectl.advice import PROGRESS, Step
from fairlead_kubectl.pods import Pod, Trouble, read
from fairlead_kubectl.reading import Json, Snapshot, child_name, condition, model, wanted

Health = Literal["ok", "waiting", "attention", "unhealthy"]
State = Literal["ok", "waiting", "bad", "unknown"]
_VAGUE: Final = PROGRESS | {"ProgressDeadlineExceeded", "LoadFailed", "NoPodAvailable", "ScaledToZero"}
"""Reasons behind which a pod's own may stand."""
_IN_CONTAINER_STATE: Final = frozenset({"Failed", "BackOff"})
"""Reasons of Events that a container's own state repeats, more exactly, a moment later."""
_MOUNTING: Final = frozenset({"FailedMount", "FailedAttachVolume"})


@dataclass(frozen=True)
class Link:
    """One station of the chain."""

    subject: str
    state: State
    text: str
    depth: int = 0


@dataclass(frozen=True)
class Cause:
    health: Health
    reason: str
    likely: str
    evidence: str = ""
    steps: tuple[Step, ...] = ()
    pod: Pod | None = None
    """The one that the steps are about."""


@dataclass(frozen=True)
class Diagnosis:
    name: str
    namespace: str
    chain: tuple[Link, ...]
    cause: Cause

    def to_json(self) -> Json:
        cause = self.cause
        return {
            "name": self.name,
            "namespace": self.namespace,
            "health": cause.health,
            "reason": cause.reason,
            "likely": cause.likely,
            "evidence": cause.evidence,
            "next": [step.to_json() for step in cause.steps],
            "chain": [vars(link) for link in self.chain],
        }


def diagnose(snapshot: Snapshot) -> Diagnosis:
    pods = tuple(read(raw) for raw in snapshot.pods)
    found = (cause for rule in _RULES if (cause := rule(snapshot, pods)) is not None)
    cause = next(found)
    values = _values(snapshot, cause.pod)
    filled = tuple(step.filled(values) for step in cause.steps)
    filled = tuple(step for step in filled if "<" not in step.command)  # about a pod that there is not
    cause = replace(cause, steps=filled)
    return Diagnosis(snapshot.name, snapshot.namespace, tuple(_chain(snapshot, pods)), cause)


def _values(snapshot: Snapshot, pod: Pod | None) -> dict[str, str]:
    values = {
        "name": snapshot.name,
        "flags": f"--namespace {snapshot.namespace}",
        "selector": f"fairlead.dev/model-deployment={child_name(snapshot.resource)}",
        "home": next((one["metadata"]["namespace"] for one in snapshot.operators or ()), "fairlead"),
    }
    if pod is not None:
        values |= {"pod": pod.name, "container": pod.trouble.container if pod.trouble else "server"}
    return values


def _chain(snapshot: Snapshot, pods: tuple[Pod, ...]) -> Iterator[Link]:
    yield _resource(snapshot)
    yield from _conditions(snapshot)
    for deployment in snapshot.deployments:
        yield _deployment(deployment)
    for pod in sorted(pods, key=lambda pod: (pod.track, pod.name)):
        run = f", run {pod.run_id[:8]}" if pod.run_id else ""
        again = f", {pod.restarts} restarts" if pod.restarts else ""
        yield Link(f"pod {pod.name}", pod.state, f"{pod.text} ({pod.track}{run}{again})", 2)
        if pod.trouble is not None:
            where = f"container {pod.trouble.container}" if pod.trouble.container else "scheduling"
            yield Link(where, "bad", f"{pod.trouble.reason}: {pod.trouble.message}", 3)
    failure = snapshot.status.get("lastFailure")
    if failure and snapshot.reason("UpToDate") != "UpToDate":
        where = f"pod {failure['pod']}" if failure.get("pod") else "the registry"
        yield Link("last failure", "bad", f"{failure['reason']} of {where}: {failure.get('message', '')}", 1)


def _conditions(snapshot: Snapshot) -> Iterator[Link]:
    """A message that two of them have is told once."""
    told: set[str] = set()
    for kind in ("ModelResolved", "UpToDate", "Ready", "Autoscaled", "DataDrift"):
        found = snapshot.condition(kind)
        if found is not None:
            message = str(found.get("message", ""))
            said = "as above" if message in told else message
            told.add(message)
            yield Link(kind, _condition_state(kind, found), f"{found.get('reason')}: {said}", 1)


def _resource(snapshot: Snapshot) -> Link:
    subject, asks = f"ModelDeployment {snapshot.name}", wanted(snapshot.spec)
    serves = model(snapshot.status.get("serving"))
    if not snapshot.observed:
        return Link(subject, "unknown", f"wants {asks}; the operator has not looked at this generation yet")
    return Link(subject, "ok", f"wants {asks}; serves {serves}")


def _condition_state(kind: str, found: Json) -> State:
    status, reason = found.get("status"), str(found.get("reason", ""))
    if kind == "DataDrift":
        return "bad" if status == "True" else "ok"
    if status == "True":
        return "ok"
    if reason in PROGRESS | advice.FOR_PEOPLE:
        return "waiting"
    return "unknown" if status == "Unknown" else "bad"


def _deployment(raw: Json) -> Link:
    status = raw.get("status") or {}
    want, ready = (raw.get("spec") or {}).get("replicas", 1), status.get("readyReplicas", 0)
    failure = _refused(raw)
    if failure:
        return Link(f"Deployment {raw['metadata']['name']}", "bad", failure, 1)
    if not want:
        return Link(f"Deployment {raw['metadata']['name']}", "ok", "no pods are wanted", 1)
    state: State = "ok" if ready >= want else "waiting"
    return Link(f"Deployment {raw['metadata']['name']}", state, f"{ready} of {want} pods are ready", 1)


def _refused(deployment: Json) -> str:
    found = condition(deployment, "ReplicaFailure") or {}
    return str(found.get("message", "")) if found.get("status") == "True" else ""


def _unlooked(snapshot: Snapshot, _pods: tuple[Pod, ...]) -> Cause | None:
    if snapshot.observed:
        return None
    if snapshot.operators is None or any(_runs(one) for one in snapshot.operators):
        likely = "The operator has not got to this generation yet; if that lasts, it is not well."
        logs = Step("read its log", "kubectl logs --namespace <home> --selector app.kubernetes.io/component=operator")
        return Cause(
            "waiting", "NotObserved", likely, steps=(logs, Step("check the installation", "kubectl fairlead doctor"))
        )
    likely = "No operator runs in this cluster, so nothing happens to the resource."
    if snapshot.operators:
        likely = "The operator's pod is not available, so nothing happens to the resource."
    look = Step(
        "look at it", "kubectl describe pods --namespace <home> --selector app.kubernetes.io/component=operator"
    )
    return Cause(
        "unhealthy", "OperatorMissing", likely, steps=(look, Step("check the installation", "kubectl fairlead doctor"))
    )


def _runs(deployment: Json) -> bool:
    return int((deployment.get("status") or {}).get("availableReplicas", 0)) > 0


def _unlike(snapshot: Snapshot, pods: tuple[Pod, ...]) -> Cause | None:
    """The wanted model does not serve, and the operator knows why."""
    found = snapshot.condition("UpToDate") or {}
    reason, message = str(found.get("reason", "")), str(found.get("message", ""))
    if found.get("status") == "True" or reason in _VAGUE | advice.FOR_PEOPLE:
        return None
    known = advice.find(reason, message)
    if known is None:
        return Cause("unhealthy", reason or "NotUpToDate", "The wanted model does not serve.", message)
    return Cause("unhealthy", reason, known.likely, message, known.steps)


def _of_pods(snapshot: Snapshot, pods: tuple[Pod, ...]) -> Cause | None:
    """What keeps pods from starting; those that serve are not asked unless nothing else is wrong."""
    if refused := next(filter(None, map(_refused, snapshot.deployments)), ""):
        return _known("ReplicaFailure", refused)
    bad = [(pod, pod.trouble) for pod in pods if pod.trouble is not None and not pod.leaving]
    if bad:
        tried = snapshot.status.get("candidate") or snapshot.status.get("serving") or {}
        pod, trouble = max(bad, key=lambda pair: _weight(pair[0], pair[1], tried.get("revision", "")))
        return _known(trouble.reason, trouble.message, pod)
    waiting = {pod.name: pod for pod in pods if pod.state == "waiting" and not pod.leaving}
    late = [
        event
        for event in snapshot.events
        if event.get("type") == "Warning"
        and event.get("reason") not in _IN_CONTAINER_STATE
        and _subject(event) in waiting
    ]
    if late:
        reason, message = str(late[-1].get("reason", "Warning")), str(late[-1].get("message", ""))
        return _known("FailedMount" if reason in _MOUNTING else reason, message, waiting[_subject(late[-1])])
    return None


def _subject(event: Json) -> str:
    about = event.get("involvedObject") or {}
    return str(about.get("name", "")) if about.get("kind") == "Pod" else ""


def _weight(pod: Pod, trouble: Trouble, tried: str) -> tuple[bool, bool, str]:
    """Pods of what is tried now count more than those of what was tried before, and the newest most."""
    return pod.revision == tried, trouble.reason in advice.TABLE, pod.created


def _known(reason: str, message: str, pod: Pod | None = None) -> Cause:
    found = advice.find(reason, message)
    evidence = f"pod {pod.name}: {message or reason}" if pod else message
    if found is None:
        look = Step("see its events", "kubectl describe pod <pod> <flags>")
        return Cause("unhealthy", reason, f"A pod does not start: {reason}.", evidence, (look,), pod)
    return Cause("unhealthy", reason, found.likely, evidence, found.steps, pod)


def _vague(snapshot: Snapshot, pods: tuple[Pod, ...]) -> Cause | None:
    """The pods that would tell more are gone: the message may still."""
    reason, message = snapshot.reason("UpToDate"), snapshot.message("UpToDate")
    if reason not in _VAGUE or reason in PROGRESS:
        return None
    found = advice.find(advice.pod_word(message), message) or advice.find(reason, message)
    assert found is not None
    return Cause("unhealthy", reason, found.likely, message, found.steps)


def _going_on(snapshot: Snapshot, pods: tuple[Pod, ...]) -> Cause | None:
    if snapshot.reason("UpToDate") not in PROGRESS:
        return None
    if word := advice.pod_word(snapshot.message("UpToDate")):  # the operator has read it of a pod that may be gone
        return _known(word, snapshot.message("UpToDate"))
    likely = "A roll-out is under way, and nothing has gone wrong so far."
    watch = Step("watch it", "kubectl fairlead status <name> <flags> --watch")
    return Cause("waiting", snapshot.reason("UpToDate"), likely, snapshot.message("UpToDate"), (watch,))


def _unready(snapshot: Snapshot, pods: tuple[Pod, ...]) -> Cause | None:
    found = snapshot.condition("Ready") or {}
    if found.get("status") == "True":
        return None
    reason, message = str(found.get("reason", "NotReady")), str(found.get("message", ""))
    known = advice.find(reason, message)
    if known is None:
        return Cause("waiting" if reason in PROGRESS else "unhealthy", reason, "No pod answers yet.", message)
    return Cause("unhealthy", reason, known.likely, message, known.steps)


def _beside(snapshot: Snapshot, pods: tuple[Pod, ...]) -> Cause | None:
    """It serves; something beside that wants looking at."""
    if snapshot.reason("UpToDate") == "UpdateAvailable":
        approve = Step("let it in", "kubectl fairlead promote <name> <flags>")
        likely = "A newer model waits for somebody's approval (updatePolicy: Manual)."
        return Cause("attention", "UpdateAvailable", likely, snapshot.message("UpToDate"), (approve,))
    if snapshot.reason("UpToDate") == "Suspended":
        resume = Step(
            "resume it",
            'kubectl patch modeldeployment <name> <flags> --type merge --patch \'{"spec":{"suspend":false}}\'',
        )
        return Cause(
            "attention",
            "Suspended",
            "spec.suspend is true: no pod is changed.",
            snapshot.message("UpToDate"),
            (resume,),
        )
    for kind, wrong in (("Autoscaled", "False"), ("DataDrift", "True")):
        found = snapshot.condition(kind) or {}
        if found.get("status") == wrong:
            known = advice.find(str(found.get("reason", "")), str(found.get("message", "")))
            likely, steps = (known.likely, known.steps) if known else (f"{kind} is {wrong}.", ())
            return Cause("attention", str(found.get("reason", kind)), likely, str(found.get("message", "")), steps)
    return None


def _well(snapshot: Snapshot, _pods: tuple[Pod, ...]) -> Cause:
    return Cause("ok", "UpToDate", f"Nothing is wrong: {model(snapshot.status.get('serving'))} serves.")


_RULES: Final[tuple[Callable[[Snapshot, tuple[Pod, ...]], Cause | None], ...]] = (
    _unlooked, _unlike, _of_pods, _vague, _going_on, _unready, _beside, _well,
)  # fmt: skip
