"""Transitions, found by comparing two statuses: what becomes an Event and an audit line. Pure."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from fairlead_operator import api
from fairlead_operator.api import Check, Manifest, ModelRef, Reason, Status
from fairlead_operator.drift import CONDITION as DRIFT

MAX_MESSAGE: Final = 1024
"""What the API server takes."""
PROMOTED: Final = "promoted"
REJECTED: Final = "rejected"
ABORTED: Final = "aborted"
SUPERSEDED: Final = "superseded"
OUTCOMES: Final = (PROMOTED, REJECTED, ABORTED, SUPERSEDED)
"""How a roll-out ends: it serves; it was taken back; somebody took it back; something else was wanted meanwhile."""


@dataclass(frozen=True)
class Transition:
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    model: ModelRef | None = None
    news: bool = True
    """Whether it becomes an Event."""
    annotation: str = ""
    """By which somebody may have asked for it."""

    @property
    def run_id(self) -> str | None:
        return self.model.run_id if self.model else None


def transitions(old: Status, new: Status) -> list[Transition]:
    """What happened between the two, oldest first; nothing if they are equal."""
    parts = (_rejections, _rollouts, _canary, _registry, _updates, _stalls, _drift)
    return [transition for part in parts for transition in part(old, new)]


def _rollouts(old: Status, new: Status) -> list[Transition]:
    found = []
    candidate, before = new.candidate, old.candidate
    if candidate and not candidate.same(before):
        # That a new resource is rolled out is what it was made for: its first Event says how that ended.
        first = old.observed_generation is None
        message = f"Rolling out {_name(candidate)}"
        started = Transition("Normal", "RolloutStarted", message, candidate, not first, api.APPROVE_ANNOTATION)
        found.append(started)
    completed = _at_rest(new) and not _at_rest(old)
    moved = new.serving and not new.serving.same(old.serving)
    if new.serving and completed and (moved or before):
        found.append(Transition("Normal", "RolloutCompleted", f"{_name(new.serving)} serves", new.serving))
    return found


def outcomes(old: Status, new: Status) -> list[str]:
    """How roll-outs ended between the two, each told once: what is written is compared, so neither another write of the
    same status nor another process counts it again."""
    known = {(rejection.trial, rejection.at) for rejection in old.rejected}
    news = [rejection for rejection in new.rejected if (rejection.trial, rejection.at) not in known]
    ended = [ABORTED if rejection.reason == Reason.ABORTED else REJECTED for rejection in news]
    before = old.candidate
    if before is None or before.same(new.candidate) or any(before.same(rejection) for rejection in news):
        return ended
    return [*ended, PROMOTED if before.same(new.serving) else SUPERSEDED]


def checked(old: Status, new: Status) -> tuple[Check, ...]:
    """A candidate's checks that have come out since."""
    before, after = old.candidate, new.candidate
    if after is None or after.checked_at is None:
        return ()
    return after.checks if before is None or before.checked_at != after.checked_at else ()


def _canary(old: Status, new: Status) -> list[Transition]:
    before, after = old.candidate, new.candidate
    if before is None or after is None or before.revision != after.revision or after.step is None:
        return []
    if after.promoted_at is not None:
        message = f"{_name(after)} takes the serving model's place"
        promoted = Transition("Normal", "CanaryPassed", message, after, annotation=api.PROMOTE_ANNOTATION)
        return [promoted] if before.promoted_at is None else []
    if after.failures > before.failures:
        failed = "; ".join(f"{found.name} {found.value}" for found in after.checks if found.ok is False)
        return [Transition("Warning", "CheckFailed", f"{_name(after)} at step {after.step}: {failed}", after)]
    if after.step > (before.step or 0):
        return [Transition("Normal", "CanaryStep", f"{_name(after)} begins step {after.step}", after)]
    return []


def _rejections(old: Status, new: Status) -> list[Transition]:
    known = {(rejection.trial, rejection.at) for rejection in old.rejected}
    return [
        Transition(
            "Warning",
            "ModelRejected",
            f"{_name(rejection)} was taken back: {rejection.reason}: {rejection.message}",
            rejection,
            annotation=api.ABORT_ANNOTATION if rejection.reason == Reason.ABORTED else "",
        )
        for rejection in new.rejected
        if (rejection.trial, rejection.at) not in known
    ]


def _registry(old: Status, new: Status) -> list[Transition]:
    before, after = old.condition("ModelResolved"), new.condition("ModelResolved")
    if after is None or (before and (before.status, before.message) == (after.status, after.message)):
        return []
    if before and before.status == after.status == "Unknown":
        return []  # an outage words itself differently from time to time
    if after.status == "True":
        recovered = before is not None and before.status != "True"
        return [Transition("Normal", "ModelResolved", after.message)] if recovered else []
    return [Transition("Warning", "ModelUnresolved", f"{after.reason}: {after.message}")]


def _stalls(old: Status, new: Status) -> list[Transition]:
    """A stall that no other transition tells."""
    after, before = new.condition("Stalled"), old.condition("Stalled")
    told = {rejection.reason for rejection in new.rejected} | {getattr(new.condition("ModelResolved"), "reason", "")}
    if after is None or after.reason in told or (before and before.reason == after.reason):
        return []
    return [Transition("Warning", "Stalled", f"{after.reason}: {after.message}")]


def _updates(old: Status, new: Status) -> list[Transition]:
    after, before = new.condition("UpToDate"), old.condition("UpToDate")
    if after is None or after.reason != Reason.UPDATE_AVAILABLE:
        return []
    if before and (before.reason, before.message) == (after.reason, after.message):
        return []
    return [Transition("Normal", "UpdateAvailable", after.message)]


def _drift(old: Status, new: Status) -> list[Transition]:
    if _is(new, DRIFT, "True") and not _is(old, DRIFT, "True"):
        return [Transition("Warning", "DataDrifted", _message(new, DRIFT), new.serving)]
    if _is(new, DRIFT, "False") and _is(old, DRIFT, "True"):
        return [Transition("Normal", "DataDriftEnded", _message(new, DRIFT), new.serving, news=False)]
    return []


def _at_rest(status: Status) -> bool:
    """Nothing is being rolled out: the wanted model serves, or waits until somebody approves it."""
    condition = status.condition("UpToDate")
    return condition is not None and (condition.status == "True" or condition.reason == Reason.UPDATE_AVAILABLE)


def _is(status: Status, kind: str, value: str) -> bool:
    condition = status.condition(kind)
    return condition is not None and condition.status == value


def _message(status: Status, kind: str) -> str:
    return getattr(status.condition(kind), "message", "")


def _name(model: ModelRef) -> str:
    version = f"{model.model_name} version {model.model_version}, " if model.model_name else ""
    return f"{version}run {model.run_id}"


def manifest(about: Manifest, transition: Transition, now: datetime) -> Manifest:
    """The Event (core/v1, what `kubectl describe` shows)."""
    metadata = about["metadata"]
    text = f"{metadata['uid']} {transition.reason} {transition.message} {now.isoformat()}"
    suffix = hashlib.sha256(text.encode()).hexdigest()[:16]
    when = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name'][:200]}.{suffix}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": api.API_VERSION,
            "kind": api.KIND,
            **{name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion")},
        },
        "type": transition.type,
        "reason": transition.reason,
        "message": transition.message[:MAX_MESSAGE],
        "source": {"component": "fairlead"},
        "reportingComponent": "fairlead",
        "reportingInstance": "fairlead",
        "action": transition.reason,
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }
