"""One step of a canary: pure, the clock passed in.

The serving model keeps all its pods. The candidate's are in a second Deployment behind the same Service; how many of
them are admitted is the weight. A step begins when its pods are in place and ends with a check that passes. The last
one hands over to the ordinary roll-out of the main Deployment, during which the candidate's pods go on serving.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from fairlead_operator import checks
from fairlead_operator.api import (
    ABORT_ANNOTATION,
    CANDIDATE,
    PROMOTE_ANNOTATION,
    STABLE,
    Candidate,
    Check,
    Deployed,
    Reason,
    Serving,
)
from fairlead_operator.checks import Question
from fairlead_operator.desired.access import contact
from fairlead_operator.desired.pods import Template, Trial
from fairlead_operator.observe import PodView
from fairlead_operator.plan import Plan, Situation, Verdict, describe, final_failure, last_failure, trouble

RETRY_SECONDS: Final = 10
"""Until what could not be measured is tried again."""
SHORT_WINDOW_SECONDS: Final = 5


class TakenBackError(Exception):
    """The candidate has failed; `rollout` knows what that means."""

    def __init__(self, candidate: Candidate, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.candidate, self.reason, self.message = candidate, reason, message


def begins(at: Situation, wanted: Deployed) -> bool:
    """Whether `wanted` should be tried beside what serves. Where nothing answers there is nothing to protect or to
    compare with, and the same run in other pods is no other model."""
    serving = at.old.serving
    if at.md.spec.rollout.strategy != "Canary" or serving is None or serving.same_model(wanted):
        return False
    return at.replicas > 0 and at.seen.available(serving.revision, track=STABLE) > 0


def pods_for(weight: int, replicas: int) -> int:
    """Candidate pods that are `weight` per cent of all beside `replicas` serving ones, to the nearest; one at least."""
    return max(1, int(replicas * weight / (100 - weight) + 0.5))


def proceed(at: Situation, candidate: Candidate, serving: Serving) -> Plan:
    """The canary's next step. Raises TakenBackError; a candidate with `promoted_at` set is `rollout`'s to finish."""
    if at.md.metadata.says(ABORT_ANNOTATION, candidate):
        raise TakenBackError(candidate, Reason.ABORTED, f"the annotation {ABORT_ANNOTATION} names it")
    if failure := final_failure(at, candidate):
        raise TakenBackError(candidate, failure.reason, failure.message)
    steps = at.md.spec.rollout.steps
    index = min(candidate.step or 0, len(steps) - 1)
    candidate = candidate.model_copy(update={"step": index})
    if at.md.metadata.says(PROMOTE_ANNOTATION, candidate):
        return _plan(at, _promoted(at, candidate), serving, "it was promoted by annotation")
    candidate, missing = _in_place(at, candidate, steps[index])
    if missing:
        return _wait_for_pods(at, candidate, serving, missing)
    return _check(at, candidate, serving)


def _in_place(at: Situation, candidate: Candidate, weight: int) -> tuple[Candidate, str]:
    """The candidate with its step's clock, and what is missing, for people."""
    pods = _pods(at, candidate)
    there = [pod for pod in pods if (pod.ready if weight else pod.proven)]
    wanted = pods_for(weight, at.replicas)
    trying, all_ready = at.seen.answering(CANDIDATE), at.seen.answering(CANDIDATE) + at.seen.answering(STABLE)
    candidate = candidate.model_copy(update={"weight_percent": round(100 * trying / all_ready) if trying else 0})
    if not at.progresses:
        return candidate.model_copy(update={"started_at": None, "step_at": None}), "spec.suspend is true"
    if candidate.started_at is None:
        candidate = candidate.model_copy(update={"started_at": at.now})
    if len(there) >= wanted:
        return candidate.model_copy(update={"step_at": candidate.step_at or at.now}), ""
    missing = f"{len(there)} of {wanted} pods answer"
    if candidate.step_at is not None:  # they were there
        candidate = candidate.model_copy(update={"started_at": at.now, "step_at": None})
        if broken := [pod for pod in pods if not pod.proven and (pod.admitted or pod.failure)]:
            candidate = _failed(at, candidate, (Check(name="pods", value=f"{missing} ({broken[0].name})", ok=False),))
    return candidate, missing


def _wait_for_pods(at: Situation, candidate: Candidate, serving: Serving, missing: str) -> Plan:
    said = trouble(at, candidate)
    if candidate.started_at is None:
        return _plan(at, candidate, serving, missing)
    left = at.deadline - (at.now - candidate.started_at)
    if left <= timedelta(0):
        seconds = at.md.spec.rollout.progress_deadline_seconds
        message = f"{missing}, {seconds} s after step {candidate.step} began"
        raise TakenBackError(candidate, Reason.PROGRESS_DEADLINE_EXCEEDED, "; ".join(filter(None, [message, said])))
    return _plan(at, candidate, serving, "; ".join(filter(None, [missing, said])), check_after=left.total_seconds())


def _check(at: Situation, candidate: Candidate, serving: Serving) -> Plan:
    """Waits until the step is over, asks, and takes the answer."""
    assert candidate.step_at is not None
    over = candidate.step_at + _step_time(at, candidate)
    due = _due(candidate, over)
    if due > at.now:
        wait = _go_on(at, candidate, serving, f"judged at {due:%H:%M:%S} UTC")
        return replace(wait, check_after=(due - at.now).total_seconds())
    question = _question(at, candidate, serving, due)
    measured = at.measured
    if measured is None or measured.question != question.id:
        return replace(_go_on(at, candidate, serving, "being judged"), question=question)
    candidate = candidate.model_copy(update={"checked_at": measured.at, "checks": measured.checks})
    if measured.failed:
        candidate = _failed(at, candidate, measured.checks).model_copy(update={"step_at": at.now})
        again = _step_time(at, candidate).total_seconds()
        return _plan(at, candidate, serving, f"failed: {failed_checks(candidate)}", check_after=again)
    if measured.passed:
        return _advance(at, candidate, serving)
    if at.now - over >= at.deadline:
        seconds = at.md.spec.rollout.progress_deadline_seconds
        message = f"step {candidate.step} could not be judged within {seconds} s: {measured.problem}"
        raise TakenBackError(candidate, Reason.PROGRESS_DEADLINE_EXCEEDED, message)
    return replace(_go_on(at, candidate, serving, measured.problem), check_after=float(RETRY_SECONDS))


def _go_on(at: Situation, candidate: Candidate, serving: Serving, what: str) -> Plan:
    """The step goes on. If it could not be judged, that stays said until it can."""
    last = at.measured
    if last is not None and last.at == candidate.checked_at and last.problem and not last.failed:
        return _plan(at, candidate, serving, last.problem, Reason.ANALYSIS_UNAVAILABLE)
    return _plan(at, candidate, serving, what)


def _advance(at: Situation, candidate: Candidate, serving: Serving) -> Plan:
    index = (candidate.step or 0) + 1
    if index >= len(at.md.spec.rollout.steps):
        return _plan(at, _promoted(at, candidate), serving, "all steps passed")
    candidate = candidate.model_copy(update={"step": index, "started_at": at.now, "step_at": None})
    return _wait_for_pods(at, candidate, serving, f"step {index} begins")


def _failed(at: Situation, candidate: Candidate, found: tuple[Check, ...]) -> Candidate:
    """One failure more. Raises TakenBackError for the last one."""
    candidate = candidate.model_copy(update={"failures": candidate.failures + 1, "checks": found})
    threshold = at.md.spec.rollout.failure_threshold
    if candidate.failures >= threshold:
        times = f"{candidate.failures} failed checks" if threshold > 1 else "a failed check"
        message = f"{times}, the last at step {candidate.step}: {failed_checks(candidate)}"
        raise TakenBackError(candidate, Reason.ANALYSIS_FAILED, message)
    return candidate


def failed_checks(candidate: Candidate) -> str:
    """For people: `latencyP95 812 ms (serving: 90 ms), must be at most 250 ms`."""
    return "; ".join(
        f"{check.name} {check.value}" + (f", must be {check.threshold}" if check.threshold else "")
        for check in candidate.checks
        if check.ok is False
    )


def _promoted(at: Situation, candidate: Candidate) -> Candidate:
    return candidate.model_copy(update={"promoted_at": at.now, "started_at": at.now})


def _step_time(at: Situation, candidate: Candidate) -> timedelta:
    """A dark step has nothing to wait for: what is replayed is measured at once. After a failure it takes a breath."""
    seconds = at.md.spec.rollout.step_seconds
    if _weight(at, candidate) > 0:
        return timedelta(seconds=seconds)
    return timedelta(seconds=min(seconds, RETRY_SECONDS)) if candidate.failures else timedelta(0)


def _due(candidate: Candidate, over: datetime) -> datetime:
    """When the step is to be judged, which is `over` by then, or judged again."""
    if candidate.checked_at is None or candidate.checked_at < over:
        return over
    return candidate.checked_at + timedelta(seconds=RETRY_SECONDS)


def _question(at: Situation, candidate: Candidate, serving: Serving, due: datetime) -> Question:
    rollout, slo = at.md.spec.rollout, at.md.spec.slo
    assert candidate.step_at is not None
    window = int((at.now - candidate.step_at).total_seconds())
    success = slo.success_percent if slo else None
    worst = rollout.max_disagreement_percent
    stable = [pod for pod in at.seen.of_revision(serving.revision) if pod.track == STABLE and pod.ready]
    return Question(
        id=f"{candidate.revision} {candidate.step} {candidate.step_at.isoformat()} {due.isoformat()}",
        namespace=at.md.metadata.namespace,
        candidate=tuple(checks.Pod(pod.name, pod.ip) for pod in _pods(at, candidate) if pod.proven),
        serving=tuple(checks.Pod(pod.name, pod.ip) for pod in stable),
        dark=_weight(at, candidate) == 0,
        window_seconds=max(SHORT_WINDOW_SECONDS, window),
        min_requests=rollout.min_requests,
        replay_samples=rollout.replay_samples,
        contact=contact(at.md, at.defaults),
        latency_milliseconds=slo.latency_milliseconds if slo else None,
        success_percent=None if success is None else float(success),
        max_disagreement_percent=None if worst is None else float(worst),
    )


def _plan(
    at: Situation,
    candidate: Candidate,
    serving: Serving,
    what: str,
    reason: Reason = Reason.CANARY_IN_PROGRESS,
    check_after: float | None = None,
) -> Plan:
    weight = _weight(at, candidate)
    message = f"Trying {describe(candidate)}: step {candidate.step} ({weight} %), {what}"
    # What serves is left alone where the spec would now give it other pods: one change at a time.
    untouched = at.revision_of(serving.ref(), serving.image) == serving.revision
    return Plan(
        template=Template(serving.ref(), serving.image, at.md.spec.replicas) if untouched else None,
        verdict=Verdict("False", reason, message, "Reconciling"),
        serving=serving,
        candidate=candidate,
        last_failure=last_failure(at, candidate),
        history=at.old.history,
        check_after=check_after,
        trial=trial(at, candidate),
        admit=admissible(at, candidate) if weight else (),
    )


def trial(at: Situation, candidate: Candidate) -> Trial:
    """The candidate's own Deployment in its step."""
    return Trial(candidate.ref(), candidate.image, pods_for(_weight(at, candidate), at.replicas))


def admissible(at: Situation, candidate: Candidate) -> tuple[str, ...]:
    """Pods that are proven and wait for users' requests."""
    return tuple(pod.name for pod in _pods(at, candidate) if pod.proven and not pod.admitted)


def _weight(at: Situation, candidate: Candidate) -> int:
    steps = at.md.spec.rollout.steps
    return steps[min(candidate.step or 0, len(steps) - 1)]


def _pods(at: Situation, candidate: Candidate) -> tuple[PodView, ...]:
    return tuple(pod for pod in at.seen.of_revision(candidate.revision) if pod.track == CANDIDATE)
