"""Which model the pods should hold, and what to say about it: `plan`, pure, the clock passed in.

Everything hangs on *revisions*, digests of pod templates. What is wanted, what serves, what is on trial and what was
rejected are revisions; a pod's failure is charged to its own. The strategy is Rolling: the candidate is put into the
one Deployment, Kubernetes rolls without losing capacity (`maxUnavailable: 0`), and a candidate that fails for good or
misses its deadline is taken out again by putting the last good model back.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from fairlead_operator import approval
from fairlead_operator.api import (
    Candidate,
    Deployed,
    Failure,
    HistoryEntry,
    ModelDeployment,
    ModelRef,
    Reason,
    Rejection,
    Serving,
    Status,
)
from fairlead_operator.desired.deployment import revision
from fairlead_operator.desired.pods import PodDefaults, Template
from fairlead_operator.observe import Observed
from fairlead_operator.reference import Problem, Resolution, Resolved

ANNOUNCE_AFTER_SECONDS: Final = 1.0
"""A candidate that is taken back is told first, and then that yet another model waits for approval."""


@dataclass(frozen=True)
class Verdict:
    """Whether the wanted model is the one serving (the condition UpToDate), and whether that is being worked on."""

    up_to_date: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str
    progress: Literal["", "Reconciling", "Stalled"] = ""


@dataclass(frozen=True)
class Plan:
    template: Template | None
    """What the Deployment should hold; None leaves it as it is."""
    verdict: Verdict
    serving: Serving | None = None
    candidate: Candidate | None = None
    rejected: tuple[Rejection, ...] = ()
    last_failure: Failure | None = None
    history: tuple[HistoryEntry, ...] = ()
    check_after: float | None = None
    """Seconds until time alone may change the plan."""


@dataclass(frozen=True)
class _Situation:
    md: ModelDeployment
    seen: Observed
    old: Status
    now: datetime
    defaults: PodDefaults

    @property
    def replicas(self) -> int:
        """Pods wanted, whoever says so."""
        if self.md.spec.replicas is not None:
            return self.md.spec.replicas
        return self.seen.deployment.wanted if self.seen.deployment else 1

    @property
    def progresses(self) -> bool:
        """Whether a candidate's clock runs."""
        return not self.md.spec.suspend and self.replicas > 0

    def revision_of(self, model: ModelRef, image: str) -> str:
        return revision(self.md, model, image, self.defaults)


def plan(
    md: ModelDeployment, resolution: Resolution, seen: Observed, old: Status, now: datetime, defaults: PodDefaults
) -> Plan:
    """The next step from what was decided before (`old`) and what is seen now. Deciding again changes nothing."""
    at = _credit(_Situation(md, seen, old, now, defaults))
    old = at.old
    wanted = target(at, resolution.model) if isinstance(resolution, Resolved) else None
    rejected = old.rejected if wanted is None else _still_rejected(md, wanted, old)
    if md.spec.suspend:
        decided = _hold(at, wanted, rejected)
    elif wanted is None:
        decided = _hold(at, None, rejected)
    elif rejected:
        decided = _go_back(at, wanted, rejected[0])
    elif approval.waits(md, wanted, old):
        decided = _await_approval(at, wanted)
    else:
        decided = _pursue(at, wanted)
    decided = replace(decided, history=decided.history[: md.spec.history_limit])
    return _unresolved(at, decided, resolution) if isinstance(resolution, Problem) else decided


def target(at: _Situation, model: ModelRef) -> Deployed:
    """`model` with the image its pods should have: the resource's own; else the image this very template was rolled
    out with before, so that another default in a newer operator restarts nothing; else the default."""
    image = at.md.spec.image or at.defaults.image
    if at.md.spec.image is None:
        for record in (at.old.candidate, at.old.serving, *at.old.rejected):
            same_run = record is not None and record.run_id == model.run_id
            if record is not None and same_run and at.revision_of(model, record.image) == record.revision:
                image = record.image
                break
    return Deployed(**model.model_dump(), image=image, revision=at.revision_of(model, image))


def trial_of(md: ModelDeployment, deployed: Deployed) -> str:
    """Digest of what is tried: the pods and the terms. Replicas, `suspend` and `historyLimit` do not count, so an
    autoscaler does not bring a rejected model back."""
    text = f"{deployed.revision} {md.spec.rollout.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def describe(model: ModelRef) -> str:
    """For people."""
    if model.model_name:
        return f"{model.model_name} version {model.model_version} (run {model.run_id})"
    return f"run {model.run_id}"


def _still_rejected(md: ModelDeployment, wanted: Deployed, old: Status) -> tuple[Rejection, ...]:
    trial = trial_of(md, wanted)
    return tuple(rejection for rejection in old.rejected if rejection.trial == trial)


def _pursue(at: _Situation, wanted: Deployed) -> Plan:
    """Rolls towards `wanted`, or keeps it."""
    old = at.old
    on_trial = old.candidate if old.candidate and old.candidate.revision == wanted.revision else None
    if old.serving and old.serving.revision == wanted.revision and on_trial is None:
        return _keep(at, wanted, old.serving)
    started_at = (on_trial.started_at if on_trial else None) or at.now
    candidate = Candidate(**wanted.model_dump(), started_at=started_at if at.progresses else None)
    return _judge(at, candidate)


def _await_approval(at: _Situation, wanted: Deployed) -> Plan:
    """What was let in goes on, and `wanted` is announced. No progress condition: the resource is at rest until somebody
    says so."""
    going_on = at.old.candidate or at.old.serving
    assert going_on is not None, "the first model does not wait"
    decided = _pursue(at, target(at, going_on.ref()))
    if decided.rejected:
        return replace(decided, check_after=ANNOUNCE_AFTER_SECONDS)
    if decided.verdict.up_to_date != "True":
        return decided
    message = f"{describe(wanted)} is available and waits for approval: {approval.command(at.md, wanted)}"
    return replace(decided, verdict=Verdict("False", Reason.UPDATE_AVAILABLE, message))


def _keep(at: _Situation, wanted: Deployed, serving: Serving) -> Plan:
    """The wanted model serves already; pods of a candidate that is no longer wanted may still be going away."""
    serving = serving.model_copy(update=wanted.model_dump(include=set(Deployed.model_fields)))
    deployment = at.seen.deployment
    settled = deployment is not None and deployment.revision == serving.revision and deployment.settled
    done = Verdict("True", Reason.UP_TO_DATE, f"{describe(serving)} serves.")
    back = Verdict("False", Reason.ROLLOUT_IN_PROGRESS, f"Going back to {describe(serving)}.", "Reconciling")
    return _planned(at, serving, serving=serving, verdict=done if settled else back)


def _judge(at: _Situation, candidate: Candidate) -> Plan:
    """The trial: done, failed for good, late, or on its way."""
    at = _credit(replace(at, old=at.old.model_copy(update={"candidate": candidate})))
    serving = at.old.serving
    if at.old.candidate is None and serving is not None:
        return _keep(at, candidate, serving)
    going = _planned(at, candidate, serving=serving, candidate=candidate, verdict=_waiting_verdict(at, candidate))
    if candidate.started_at is None:
        return going
    failure = _final_failure(at, candidate)
    left = timedelta(seconds=at.md.spec.rollout.progress_deadline_seconds) - (at.now - candidate.started_at)
    if failure is None and left > timedelta(0):
        return replace(going, check_after=left.total_seconds())
    reason, message = (failure.reason, failure.message) if failure else _too_late(at, candidate)
    if _can_reject(candidate, serving, final=failure is not None):
        return _reject(at, candidate, reason, message)
    verdict = Verdict("False", reason, f"{describe(candidate)} does not become ready: {message}", "Stalled")
    return replace(going, verdict=verdict)


def _credit(at: _Situation) -> _Situation:
    """What the candidate has achieved counts, even if something else is wanted by now."""
    candidate, deployment, serving = at.old.candidate, at.seen.deployment, at.old.serving
    if candidate is None:
        return at
    if deployment and deployment.revision == candidate.revision and deployment.complete:
        history = at.old.history
        if serving and serving.run_id != candidate.run_id:
            history = (_entry(serving, serving.since, at.now, "Replaced"), *history)
        done = {"serving": _serving(at, candidate), "candidate": None, "history": history}
        return replace(at, old=at.old.model_copy(update=done))
    if serving is None and at.seen.available(candidate.revision):
        # Nothing was there before: the first pod that answers is better than none.
        return replace(at, old=at.old.model_copy(update={"serving": _serving(at, candidate)}))
    return at


def _can_reject(candidate: Candidate, serving: Serving | None, final: bool) -> bool:
    """A model that serves is never rejected. With nothing to go back to, only one that cannot ever work is."""
    return final if serving is None else serving.run_id != candidate.run_id


def _serving(at: _Situation, candidate: Candidate) -> Serving:
    before = at.old.serving
    since = before.since if before and before.run_id == candidate.run_id else at.now
    return Serving(**candidate.model_dump(exclude={"started_at"}), since=since)


def _reject(at: _Situation, candidate: Candidate, reason: Reason, message: str) -> Plan:
    fields = candidate.model_dump(exclude={"started_at"})
    rejection = Rejection(**fields, trial=trial_of(at.md, candidate), reason=reason, message=message, at=at.now)
    plan = _go_back(at, candidate, rejection)
    entry = _entry(candidate, candidate.started_at, at.now, f"Rejected: {reason}")
    return replace(plan, history=(entry, *plan.history))


def _go_back(at: _Situation, wanted: Deployed, rejection: Rejection) -> Plan:
    """The wanted model is rejected: the last good one goes on serving; without one, no pod runs."""
    why = f"{describe(wanted)} was taken back: {rejection.message}"
    if at.old.serving is None:
        verdict = Verdict("False", rejection.reason, why, "Stalled")
        none = Template(wanted, wanted.image, replicas=0) if at.seen.deployment else None
        return replace(_planned(at, wanted, verdict=verdict), template=none, rejected=(rejection,))
    plan = _pursue(at, target(at, at.old.serving.ref()))
    verdict = Verdict("False", rejection.reason, f"{why} ({describe(at.old.serving)} goes on serving)", "Stalled")
    return replace(plan, verdict=verdict, rejected=(rejection,), last_failure=_last_failure(at, wanted))


def _hold(at: _Situation, wanted: Deployed | None, rejected: tuple[Rejection, ...]) -> Plan:
    """What is in the cluster goes on, and nothing new starts: suspended, or it is not known what is wanted."""
    going_on = at.old.candidate or at.old.serving
    if going_on is None:
        decided = Plan(None, _held(at, None, wanted), history=at.old.history, last_failure=at.old.last_failure)
        return replace(decided, rejected=rejected)
    recorded = Deployed(**going_on.model_dump(include=set(Deployed.model_fields)))
    decided = _pursue(at, recorded)
    # The spec may have changed beside the model: then even the same model would make other pods.
    same_pods = at.revision_of(recorded.ref(), recorded.image) == recorded.revision
    template = decided.template if same_pods and not at.md.spec.suspend else None
    return replace(
        decided, template=template, rejected=decided.rejected or rejected, verdict=_held(at, decided, wanted)
    )


def _held(at: _Situation, decided: Plan | None, wanted: Deployed | None) -> Verdict:
    same = decided and wanted and decided.serving and decided.serving.revision == wanted.revision
    settled = decided is not None and decided.verdict.up_to_date == "True"
    if same and settled and decided and decided.serving:
        return Verdict("True", Reason.SUSPENDED, f"{describe(decided.serving)} serves; spec.suspend is true.")
    what = describe(wanted) if wanted else "the wanted model"
    return Verdict("False", Reason.SUSPENDED, f"{what} is not rolled out while spec.suspend is true.")


def _unresolved(at: _Situation, decided: Plan, problem: Problem) -> Plan:
    """It is not known what is wanted: what serves goes on serving."""
    waits = [seconds for seconds in (decided.check_after, problem.retry_after) if seconds is not None]
    verdict = Verdict(
        "Unknown" if problem.passing else "False",
        problem.reason,
        problem.message,
        "Reconciling" if problem.passing else "Stalled",
    )
    failure = Failure(run_id=at.md.spec.model.run_id, reason=problem.reason, message=problem.message, at=at.now)
    failure = _newer(at.old.last_failure, failure)
    return replace(decided, verdict=verdict, last_failure=failure, check_after=min(waits, default=None))


def _planned(
    at: _Situation,
    deployed: Deployed,
    verdict: Verdict,
    serving: Serving | None = None,
    candidate: Candidate | None = None,
) -> Plan:
    return Plan(
        template=Template(deployed.ref(), deployed.image, at.md.spec.replicas),
        verdict=verdict,
        serving=serving,
        candidate=candidate,
        last_failure=_last_failure(at, deployed),
        history=at.old.history,
    )


def _waiting_verdict(at: _Situation, candidate: Candidate) -> Verdict:
    if at.replicas == 0:
        return Verdict("False", Reason.SCALED_TO_ZERO, f"{describe(candidate)} is proven once there are replicas.")
    deployment = at.seen.deployment
    ready = at.seen.available(candidate.revision)
    waiting = (deployment.error if deployment else "") or _newest_trouble(at, candidate)
    message = f"Rolling out {describe(candidate)}: {ready} of {at.replicas} pods answer" + (
        f"; {waiting}" if waiting else "."
    )
    return Verdict("False", Reason.ROLLOUT_IN_PROGRESS, message, "Reconciling")


def _final_failure(at: _Situation, candidate: Candidate) -> Failure | None:
    failures = [pod.final_failure for pod in at.seen.of_revision(candidate.revision) if pod.final_failure]
    return max(failures, key=lambda failure: failure.at, default=None)


def _too_late(at: _Situation, candidate: Candidate) -> tuple[Reason, str]:
    seconds = at.md.spec.rollout.progress_deadline_seconds
    ready = at.seen.available(candidate.revision)
    message = f"only {ready} of {at.replicas} pods answered within {seconds} s"
    deployment = at.seen.deployment
    trouble = (deployment.error if deployment else "") or _newest_trouble(at, candidate)
    return Reason.PROGRESS_DEADLINE_EXCEEDED, f"{message}; {trouble}" if trouble else message


def _newest_trouble(at: _Situation, deployed: Deployed) -> str:
    """The exception of the pod that failed last, else why a pod does not start."""
    pods = at.seen.of_revision(deployed.revision)
    failure = max((pod.failure for pod in pods if pod.failure), key=lambda found: found.at, default=None)
    if failure:
        return f"{failure.reason}: {failure.message}"
    return next((pod.waiting for pod in pods if pod.waiting and not pod.ready), "")


def _last_failure(at: _Situation, deployed: Deployed) -> Failure | None:
    failures = [pod.failure for pod in at.seen.of_revision(deployed.revision) if pod.failure]
    newest = max(failures, key=lambda failure: failure.at, default=None)
    return _newer(at.old.last_failure, newest) if newest else at.old.last_failure


def _newer(old: Failure | None, new: Failure) -> Failure:
    """`new`, unless it says what `old` says: a crash loop must not rewrite the status at every turn."""
    said = old and (old.run_id, old.reason, old.message) == (new.run_id, new.reason, new.message)
    return old if old and said else new


def _entry(model: ModelRef, start: datetime | None, end: datetime, verdict: str) -> HistoryEntry:
    return HistoryEntry(run_id=model.run_id, model_version=model.model_version, from_=start, to=end, verdict=verdict)
