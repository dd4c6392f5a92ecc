"""Which pods load which model next, when all have it, and when it cannot be had: pure, the clock passed in.

With the strategy HotSwap the pods stay and their model changes (`desired.configmap`), so what is true is what each pod
*reports*, not what it was made from. A pod's old model serves while it loads the new one, so no capacity is lost,
whatever the order. The first pod goes alone: a model that cannot be loaded costs one attempt. Every other decision is
`rollout`'s: what is wanted, what was rejected, what is recorded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from fairlead_operator.api import FINAL_REASONS, ModelRef, Reason
from fairlead_operator.desired.access import Contact
from fairlead_operator.reports import FailedLoad, Info

POLL_SECONDS: Final = 1.0
"""A load takes seconds, and pods send no events about it."""
RETRY_SECONDS: Final = 10.0
"""After a load that failed and may work the next time, and for pods that do not answer."""


@dataclass(frozen=True)
class Pod:
    """A pod that is Ready, and what it said when it was asked."""

    name: str
    ip: str
    info: Info | None
    """None: it has not answered, or has not been asked yet."""
    silence: str = ""
    """Why there is no answer, or why it does not load what it is told to."""

    def has(self, model: ModelRef) -> bool:
        """Whether it says that it serves the model."""
        return self.info is not None and self.info.serves(model)


@dataclass(frozen=True)
class Load:
    """Somebody has to tell this pod to load (`pods.Pods.load`)."""

    pod: str
    ip: str
    model: ModelRef


@dataclass(frozen=True)
class Failure:
    reason: Reason
    message: str
    pod: str | None = None


@dataclass(frozen=True)
class Step:
    loads: tuple[Load, ...] = ()
    done: bool = False
    """All pods report the model."""
    record: bool = False
    """Whether pods that start from now on shall hold the model: it is proven, or there is no other that serves."""
    failure: Failure | None = None
    """Of a trial: the model is to be taken back. Then nothing is loaded by this step."""
    message: str = ""
    check_after: float | None = None
    """Seconds until the pods should be asked again."""


@dataclass(frozen=True)
class Listener:
    """A pod to speak with."""

    name: str
    ip: str
    restarts: int


@dataclass(frozen=True)
class Round:
    """What is said to pods, and then asked (`interviews`)."""

    pods: tuple[Listener, ...]
    """All that there are: what others have said may be forgotten."""
    asked: frozenset[str]
    """Names of those that are asked what they serve."""
    loads: tuple[Load, ...] = ()
    contact: Contact = field(default_factory=Contact)


def proceed(
    model: ModelRef, pods: Sequence[Pod], started_at: datetime | None, now: datetime, deadline: timedelta
) -> Step:
    """The next step of a trial that began at `started_at`; None: it may not progress now (suspended, no replicas)."""
    swapped = having(model, pods)
    failed = [(pod, found) for pod in pods if (found := _failure(pod, model, started_at))]
    step = Step(
        done=0 < len(pods) == len(swapped),
        record=len(pods) == len(swapped),
        message=progress(pods, swapped, failed),
    )
    if step.done or started_at is None:
        return step
    for pod, failure in failed:
        if failure.reason in FINAL_REASONS:
            return replace(step, failure=Failure(failure.reason, f"pod {pod.name}: {failure.message}", pod.name))
    left = (deadline - (now - started_at)).total_seconds()
    if left <= 0:
        message = f"not done within {deadline.total_seconds():.0f} s: {step.message}"
        return replace(step, failure=Failure(Reason.PROGRESS_DEADLINE_EXCEEDED, message))
    at_once = max(1, math.ceil(len(pods) / 4)) if swapped else 1
    idle = _idle(model, pods, now)
    busy = sum(_busy(pod, model) for pod in pods)
    loads = _loads([*_astray(swapped, model), *idle[: max(0, at_once - busy)]], model)
    return replace(step, loads=loads, check_after=min(POLL_SECONDS, left))


def settle(model: ModelRef, pods: Sequence[Pod], now: datetime) -> Step:
    """Brings pods back to the model that serves, all at once: those that a rejected one has reached, which still have
    it in memory, and those that started with an older one. Never fails: there is nothing better."""
    there = having(model, pods)
    failed = [(pod, pod.info.failed_load) for pod in pods if pod.info and _failed_at(pod.info, model)]
    astray = _astray(there, model)
    done = len(there) == len(pods) and not astray
    stuck = not astray and all(pod.silence or _rests(pod, model, now) for pod in pods if pod not in there)
    return Step(
        loads=_loads([*astray, *_idle(model, pods, now)], model),
        done=done,
        record=True,
        message=progress(pods, there, [(pod, found) for pod, found in failed if found]),
        check_after=None if done else RETRY_SECONDS if stuck else POLL_SECONDS,
    )


def having(model: ModelRef, pods: Sequence[Pod]) -> list[Pod]:
    return [pod for pod in pods if pod.has(model)]


def _idle(model: ModelRef, pods: Sequence[Pod], now: datetime) -> list[Pod]:
    """Pods that do not have the model and could load it now."""
    return [pod for pod in pods if not (pod.has(model) or _busy(pod, model) or _rests(pod, model, now))]


def _busy(pod: Pod, model: ModelRef) -> bool:
    return pod.info is not None and pod.info.loading is not None and pod.info.loading.run_id == model.run_id


def _astray(there: Sequence[Pod], model: ModelRef) -> list[Pod]:
    """Pods that serve the model and are loading another one. Asked for it again, they give that up."""
    return [pod for pod in there if pod.info and pod.info.loading and pod.info.loading.run_id != model.run_id]


def _loads(pods: Sequence[Pod], model: ModelRef) -> tuple[Load, ...]:
    return tuple(Load(pod.name, pod.ip, model) for pod in pods if pod.info is not None)


def _failed_at(info: Info, model: ModelRef) -> datetime | None:
    """When the pod's last load failed, if it was of this model."""
    failed = info.failed_load
    return failed.at if failed is not None and failed.run_id == model.run_id else None


def _rests(pod: Pod, model: ModelRef, now: datetime) -> bool:
    """Whether it has just failed to load the model."""
    at = _failed_at(pod.info, model) if pod.info is not None else None
    return at is not None and now - at < timedelta(seconds=RETRY_SECONDS)


def _failure(pod: Pod, model: ModelRef, started_at: datetime | None) -> FailedLoad | None:
    """Why the pod does not have the model, unless that is of an earlier trial."""
    if pod.info is None or pod.has(model) or _busy(pod, model):
        return None
    at = _failed_at(pod.info, model)
    return pod.info.failed_load if at is not None and (started_at is None or at >= started_at) else None


def _trouble(pod: Pod) -> str:
    """For people: why a pod does not do what it is told."""
    return f"pod {pod.name}{'' if pod.info else ' does not answer'}: {pod.silence}"


def progress(pods: Sequence[Pod], there: Sequence[Pod], failed: Sequence[tuple[Pod, FailedLoad]] = ()) -> str:
    """For people: how many, and what is in the way."""
    text = f"{len(there)} of {len(pods)} pods have it"
    troubles = [f"pod {pod.name}: {failure.reason}: {failure.message}" for pod, failure in failed]
    troubles += [_trouble(pod) for pod in pods if pod.silence and pod not in there]
    return f"{text}; {troubles[0]}" if troubles else text
