"""Which model the pods should hold, and what to say about it: `plan`, pure, the clock passed in.

Everything hangs on *revisions*, digests of pod templates. What is wanted, what serves, what is on trial and what was
rejected are revisions; a pod's failure is charged to its own. A candidate is put into the one Deployment, Kubernetes
rolls without losing capacity (`maxUnavailable: 0`), and a candidate that fails for good or misses its deadline is taken
out again by putting the last good model back. With the strategy Canary it has to pass the steps of `canary` first. With
HotSwap another model is no other revision, and `swapping` says what the pods have of it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from fairlead_operator import approval, canary, swapping
from fairlead_operator.api import (
    STABLE,
    Candidate,
    Deployed,
    Failure,
    ModelDeployment,
    ModelRef,
    Reason,
    Rejection,
    Serving,
    Status,
)
from fairlead_operator.checks import Measurement
from fairlead_operator.desired import configmap
from fairlead_operator.desired.pods import PodDefaults, Template
from fairlead_operator.observe import Observed
from fairlead_operator.plan import (
    Plan,
    Situation,
    Verdict,
    describe,
    entry,
    final_failure,
    last_failure,
    newer,
    planned,
    trouble,
)
from fairlead_operator.reference import Problem, Resolution, Resolved
from fairlead_operator.reports import Report

ANNOUNCE_AFTER_SECONDS: Final = 1.0
"""A candidate that is taken back is told first, and then that yet another model waits for approval."""


def plan(
    md: ModelDeployment,
    resolution: Resolution,
    seen: Observed,
    old: Status,
    now: datetime,
    defaults: PodDefaults,
    measured: Measurement | None = None,
    reports: Mapping[str, Report] | None = None,
) -> Plan:
    """The next step from what was decided before (`old`), what is seen now, what a canary was measured to do and what
    pods that swap models report. Deciding again changes nothing."""
    at = _credit(_recovered(Situation(md, seen, old, now, defaults, measured, reports or {})))
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
    if isinstance(resolution, Problem):
        decided = _unresolved(at, decided, resolution)
    return swapping.arranged(at, decided)


def target(at: Situation, model: ModelRef) -> Deployed:
    """`model` with the image that its pods should have."""
    own = at.md.spec.image
    image = own or _default_image(at, model)
    revision = at.revision_of(model, image)
    return Deployed(**model.model_dump(), image=image, image_defaulted=own is None, revision=revision)


def _default_image(at: Situation, model: ModelRef) -> str:
    """The default image that this very template was rolled out with before, so that another default in a newer
    operator restarts nothing; else the present default. An image that the spec named is never a default."""
    for record in (at.old.candidate, at.old.serving, *at.old.rejected):
        if record is None or not record.image_defaulted or record.run_id != model.run_id:
            continue
        if at.revision_of(model, record.image) == record.revision:
            return record.image
    return at.defaults.image


def trial_of(md: ModelDeployment, deployed: Deployed) -> str:
    """Digest of what is tried: the model, the pods, and the terms (`rollout` and `slo`). Replicas, `suspend` and
    `historyLimit` do not count, so an autoscaler does not bring a rejected model back."""
    model = " ".join(configmap.variables(deployed).values())
    promised = md.spec.slo.model_dump_json() if md.spec.slo else ""
    text = f"{deployed.revision} {model} {md.spec.rollout.model_dump_json()} {promised}"
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _still_rejected(md: ModelDeployment, wanted: Deployed, old: Status) -> tuple[Rejection, ...]:
    trial = trial_of(md, wanted)
    return tuple(rejection for rejection in old.rejected if rejection.trial == trial)


def _pursue(at: Situation, wanted: Deployed) -> Plan:
    """Rolls towards `wanted`, or keeps it."""
    old = at.old
    on_trial = old.candidate if old.candidate and old.candidate.same(wanted) else None
    if old.serving and old.serving.same(wanted) and on_trial is None:
        return _keep(at, wanted, old.serving)
    started_at = ((on_trial.started_at if on_trial else None) or at.now) if at.progresses else None
    if on_trial is None:
        step = 0 if canary.begins(at, wanted) else None
        return _try(at, Candidate(**wanted.model_dump(), started_at=started_at, step=step))
    rolling = {} if at.md.spec.rollout.strategy == "Canary" else {"step": None}
    recorded = wanted.model_dump(include=set(Deployed.model_fields))
    return _try(at, on_trial.model_copy(update=recorded | rolling | {"started_at": started_at}))


def _try(at: Situation, candidate: Candidate) -> Plan:
    """A candidate takes the steps of its canary, and then the serving model's place."""
    serving = at.old.serving
    if candidate.step is None or candidate.promoted_at is not None or serving is None:
        return _judge(at, candidate)
    try:
        going = canary.proceed(at, candidate, serving)
    except canary.TakenBackError as failed:
        return _reject(at, failed.candidate, failed.reason, failed.message)
    if going.candidate is not None and going.candidate.promoted_at is not None:
        return _judge(at, going.candidate)
    return going


def _await_approval(at: Situation, wanted: Deployed) -> Plan:
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


def _keep(at: Situation, wanted: Deployed, serving: Serving) -> Plan:
    """The wanted model serves already; pods of a candidate that is no longer wanted may still be going away."""
    serving = serving.model_copy(update=wanted.model_dump(include=set(Deployed.model_fields)))
    deployment = at.seen.deployment
    settled = deployment is not None and deployment.revision == serving.revision and deployment.settled
    settled = settled and swapping.agree(at, serving)
    done = Verdict("True", Reason.UP_TO_DATE, f"{describe(serving)} serves.")
    back = Verdict("False", Reason.ROLLOUT_IN_PROGRESS, f"Going back to {describe(serving)}.", "Reconciling")
    return planned(at, serving, serving=serving, verdict=done if settled else back)


def _judge(at: Situation, candidate: Candidate) -> Plan:
    """The trial: done, failed for good, late, or on its way."""
    at = _credit(at.with_old(candidate=candidate))
    serving = at.old.serving
    if at.old.candidate is None and serving is not None:
        return _keep(at, candidate, serving)
    going = planned(at, candidate, serving=serving, candidate=candidate, verdict=_waiting_verdict(at, candidate))
    if candidate.promoted_at is not None:  # its canary's pods go on serving until all of the Deployment's do
        going = replace(going, trial=canary.trial(at, candidate), admit=canary.admissible(at, candidate))
    if candidate.started_at is None:
        return going
    failure = final_failure(at, candidate) or swapping.final_failure(at, candidate)
    left = timedelta(seconds=at.md.spec.rollout.progress_deadline_seconds) - (at.now - candidate.started_at)
    if failure is None and left > timedelta(0):
        return replace(going, check_after=left.total_seconds())
    reason, message = (failure.reason, failure.message) if failure else _too_late(at, candidate)
    if _can_reject(candidate, serving, final=failure is not None):
        return _reject(at, candidate, reason, message)
    verdict = Verdict("False", reason, f"{describe(candidate)} does not become ready: {message}", "Stalled")
    return replace(going, verdict=verdict)


def _recovered(at: Situation) -> Situation:
    """What serves, read from the Deployment where the status has been lost (a backup restores objects without it)."""
    held = at.seen.deployment.held if at.seen.deployment else None
    known = at.old.serving or at.old.candidate or at.old.rejected
    if known or held is None or not at.seen.available(held.revision, track=STABLE):
        return at
    image_defaulted = at.md.spec.image is None
    return at.with_old(serving=Serving(**held.model_dump() | {"image_defaulted": image_defaulted}, since=at.now))


def _credit(at: Situation) -> Situation:
    """What the candidate has achieved counts, even if something else is wanted by now."""
    candidate, serving = at.old.candidate, at.old.serving
    if candidate is None:
        return at
    if swapping.achieved(at, candidate):
        history = at.old.history
        if serving and not serving.same_model(candidate):
            history = (entry(serving, serving.since, at.now, "Replaced"), *history)
        done = {"serving": _serving(at, candidate), "candidate": None, "history": history}
        return at.with_old(**done)
    if serving is None and swapping.answers(at, candidate):
        # Nothing was there before: the first pod that answers is better than none.
        return at.with_old(serving=_serving(at, candidate))
    return at


def _can_reject(candidate: Candidate, serving: Serving | None, final: bool) -> bool:
    """A model that serves is never rejected. With nothing to go back to, only one that cannot ever work is."""
    return final if serving is None else not serving.same_model(candidate)


def _serving(at: Situation, candidate: Candidate) -> Serving:
    before = at.old.serving
    since = before.since if before and before.same_model(candidate) else at.now
    return Serving(**candidate.model_dump(exclude={"started_at"}), since=since)


def _reject(at: Situation, candidate: Candidate, reason: Reason, message: str) -> Plan:
    fields = candidate.model_dump(exclude={"started_at"})
    rejection = Rejection(**fields, trial=trial_of(at.md, candidate), reason=reason, message=message, at=at.now)
    plan = _go_back(at, candidate, rejection)
    tried = entry(candidate, candidate.started_at, at.now, f"Rejected: {reason}")
    return replace(plan, history=(tried, *plan.history))


def _go_back(at: Situation, wanted: Deployed, rejection: Rejection) -> Plan:
    """The wanted model is rejected: the last good one goes on serving; without one, no pod runs."""
    why = f"{describe(wanted)} was taken back: {rejection.message}"
    if at.old.serving is None:
        verdict = Verdict("False", rejection.reason, why, "Stalled")
        none = Template(wanted, wanted.image, replicas=0) if at.seen.deployment else None
        return replace(planned(at, wanted, verdict=verdict), template=none, rejected=(rejection,))
    plan = _pursue(at, target(at, at.old.serving.ref()))
    verdict = Verdict("False", rejection.reason, f"{why} ({describe(at.old.serving)} goes on serving)", "Stalled")
    return replace(plan, verdict=verdict, rejected=(rejection,), last_failure=last_failure(at, wanted))


def _hold(at: Situation, wanted: Deployed | None, rejected: tuple[Rejection, ...]) -> Plan:
    """What is in the cluster goes on, and nothing new starts: suspended, or it is not known what is wanted."""
    going_on = at.old.candidate or at.old.serving
    if going_on is None:
        decided = Plan(None, _held(at, None, wanted), history=at.old.history, last_failure=at.old.last_failure)
        return replace(decided, rejected=rejected)
    recorded = Deployed(**going_on.model_dump(include=set(Deployed.model_fields)))
    decided = _pursue(at, recorded)
    # The spec may have changed beside the model: then even the same model would make other pods.
    same_pods = at.revision_of(recorded.ref(), recorded.image) == recorded.revision
    verdict = _held(at, decided, wanted)
    decided = replace(decided, rejected=decided.rejected or rejected, verdict=verdict)
    if same_pods and not at.md.spec.suspend:
        return decided
    return replace(decided, template=None, trial=None, frozen=True, admit=(), question=None)


def _held(at: Situation, decided: Plan | None, wanted: Deployed | None) -> Verdict:
    same = decided and wanted and decided.serving and decided.serving.same(wanted)
    settled = decided is not None and decided.verdict.up_to_date == "True"
    if same and settled and decided and decided.serving:
        return Verdict("True", Reason.SUSPENDED, f"{describe(decided.serving)} serves; spec.suspend is true.")
    what = describe(wanted) if wanted else "the wanted model"
    return Verdict("False", Reason.SUSPENDED, f"{what} is not rolled out while spec.suspend is true.")


def _unresolved(at: Situation, decided: Plan, problem: Problem) -> Plan:
    """It is not known what is wanted: what serves goes on serving."""
    waits = [seconds for seconds in (decided.check_after, problem.retry_after) if seconds is not None]
    verdict = Verdict(
        "Unknown" if problem.passing else "False",
        problem.reason,
        problem.message,
        "Reconciling" if problem.passing else "Stalled",
    )
    failure = Failure(run_id=at.md.spec.model.run_id, reason=problem.reason, message=problem.message, at=at.now)
    failure = newer(at.old.last_failure, failure)
    return replace(decided, verdict=verdict, last_failure=failure, check_after=min(waits, default=None))


def _waiting_verdict(at: Situation, candidate: Candidate) -> Verdict:
    if at.replicas == 0:
        return Verdict("False", Reason.SCALED_TO_ZERO, f"{describe(candidate)} is proven once there are replicas.")
    if said := swapping.progress(at, candidate):
        message = f"Loading {describe(candidate)} in the running pods: {said}."
        return Verdict("False", Reason.ROLLOUT_IN_PROGRESS, message, "Reconciling")
    deployment = at.seen.deployment
    ready = at.seen.available(candidate.revision)
    waiting = (deployment.error if deployment else "") or trouble(at, candidate)
    message = f"Rolling out {describe(candidate)}: {ready} of {at.replicas} pods answer" + (
        f"; {waiting}" if waiting else "."
    )
    return Verdict("False", Reason.ROLLOUT_IN_PROGRESS, message, "Reconciling")


def _too_late(at: Situation, candidate: Candidate) -> tuple[Reason, str]:
    seconds = at.md.spec.rollout.progress_deadline_seconds
    if said := swapping.progress(at, candidate):
        return Reason.PROGRESS_DEADLINE_EXCEEDED, f"not loaded within {seconds} s: {said}"
    ready = at.seen.available(candidate.revision)
    message = f"only {ready} of {at.replicas} pods answered within {seconds} s"
    deployment = at.seen.deployment
    why = (deployment.error if deployment else "") or trouble(at, candidate)
    return Reason.PROGRESS_DEADLINE_EXCEEDED, f"{message}; {why}" if why else message
