"""The status: a pure function of the resource, the plan, what was resolved and seen, the old status, and the clock."""

from dataclasses import dataclass
from datetime import datetime

from fairlead_operator import drift
from fairlead_operator.api import STABLE, Manifest, ModelDeployment, Reason, Status
from fairlead_operator.conditions import Finding, merge
from fairlead_operator.desired import naming
from fairlead_operator.drift import Judgement, Unknown
from fairlead_operator.kinds import About
from fairlead_operator.observe import Observed
from fairlead_operator.plan import Plan, Verdict, describe
from fairlead_operator.reference import Problem, Resolution


@dataclass(frozen=True)
class Obstacle:
    """A child that could not be applied."""

    reason: Reason
    message: str
    about: About = "pods"
    passing: bool = False
    """Whether the same request may succeed later."""


def status(
    md: ModelDeployment,
    plan: Plan,
    resolution: Resolution,
    seen: Observed,
    obstacles: tuple[Obstacle, ...],
    old: Status,
    now: datetime,
    drifts: Judgement | Unknown = "unmeasured",
) -> Status:
    """What is written to `/status`. Computed from its own result, it is itself again."""
    obstacles = tuple(sorted(obstacles, key=lambda found: found.passing))  # what cannot pass by itself comes first
    verdict = _obstructed(plan.verdict, tuple(found for found in obstacles if found.about == "pods"))
    beside = tuple(found for found in obstacles if found.about != "pods")
    unscaled = tuple(found for found in beside if found.about == "autoscaler")
    findings = [_ready(md, plan, seen, verdict), _model_resolved(md, resolution), _up_to_date(verdict)]
    if unscaled or (md.spec.autoscaling and seen.deployment and (not plan.template or plan.template.replicas is None)):
        findings.append(_autoscaled(unscaled))
    known = old.condition(drift.CONDITION) if plan.serving and plan.serving.same(old.serving) else None
    if (drifted := drift.finding(drifts, known, plan.serving)) is not None:
        findings.append(drifted)
    if beside and not verdict.progress:
        progress = "Reconciling" if beside[0].passing else "Stalled"
        findings.append(Finding(progress, "True", beside[0].reason, beside[0].message))
    if verdict.progress:
        findings.append(Finding(verdict.progress, "True", verdict.reason, verdict.message))
    deployment = seen.deployment
    return Status(
        observed_generation=md.metadata.generation,
        conditions=merge(old.conditions, findings, md.metadata.generation, now),
        serving=plan.serving,
        candidate=plan.candidate,
        rejected=plan.rejected,
        last_failure=plan.last_failure,
        history=plan.history,
        replicas=deployment.replicas if deployment else 0,
        ready_replicas=deployment.ready if deployment else 0,
        selector=",".join(f"{key}={value}" for key, value in sorted(naming.track_selector(md, STABLE).items())),
        url=naming.url(md) if seen.reachable else None,
    )


def halted(raw: Manifest, reason: Reason, message: str, seen: Observed, old: Status, now: datetime) -> Status:
    """The status of a resource that cannot be worked on: its stored object cannot be read (an older schema admitted
    it), or the operator itself failed. Pods keep serving, and Ready still reports whether they do."""
    generation = raw["metadata"].get("generation", 1)
    findings = [
        _serving(old, seen) or Finding("Ready", "False", reason, message),
        Finding("ModelResolved", "Unknown", reason, message),
        Finding("UpToDate", "False", reason, message),
        Finding("Stalled", "True", reason, message),
    ]
    conditions = merge(old.conditions, findings, generation, now)
    return old.model_copy(update={"observed_generation": generation, "conditions": conditions})


def _obstructed(verdict: Verdict, obstacles: tuple[Obstacle, ...]) -> Verdict:
    if not obstacles:
        return verdict
    message = "; ".join(obstacle.message for obstacle in obstacles)
    return Verdict("False", obstacles[0].reason, message, "Reconciling" if obstacles[0].passing else "Stalled")


def _serving(status: Plan | Status, seen: Observed) -> Finding | None:
    """Ready, if it is true. A pod that answers has loaded and proven its model: one of the candidate's counts too."""
    serving = status.serving
    deployed = [found for found in (serving, status.candidate) if found]
    if serving is None or not seen.reachable or not seen.available(*(found.revision for found in deployed)):
        return None
    return Finding("Ready", "True", Reason.SERVING, f"{describe(serving)} answers.")


def _ready(md: ModelDeployment, plan: Plan, seen: Observed, verdict: Verdict) -> Finding:
    deployed = [found for found in (plan.serving, plan.candidate) if found]
    if (serving := _serving(plan, seen)) is not None:
        return serving
    if plan.serving and not seen.reachable:
        reason = verdict.reason if verdict.progress else Reason.STARTING
        return Finding("Ready", "False", reason, f"No Service leads to {describe(plan.serving)}: {verdict.message}")
    wanted = md.spec.replicas if md.spec.replicas is not None else (seen.deployment.wanted if seen.deployment else 1)
    if verdict.progress == "Stalled" or (verdict.progress and not deployed):
        return Finding("Ready", "False", verdict.reason, verdict.message)
    if wanted == 0:
        return Finding("Ready", "False", Reason.SCALED_TO_ZERO, "No replicas are wanted.")
    if plan.serving:
        message = f"No pod of {describe(plan.serving)} is available."
        return Finding("Ready", "False", Reason.NO_POD_AVAILABLE, message)
    return Finding("Ready", "False", Reason.STARTING, verdict.message)


def _model_resolved(md: ModelDeployment, resolution: Resolution) -> Finding:
    if isinstance(resolution, Problem):
        return Finding(
            "ModelResolved", "Unknown" if resolution.passing else "False", resolution.reason, resolution.message
        )
    found = f"{md.spec.model.uri} is {describe(resolution.model)}." if md.spec.model.uri else "The run has a model."
    return Finding("ModelResolved", "True", Reason.RESOLVED, found)


def _autoscaled(unscaled: tuple[Obstacle, ...]) -> Finding:
    """There only where pods are scaled, or should be. What the autoscaler itself meets with is on its own object."""
    if unscaled:
        return Finding("Autoscaled", "False", unscaled[0].reason, unscaled[0].message)
    return Finding("Autoscaled", "True", Reason.AUTOSCALER_IN_PLACE, "An autoscaler sets the number of pods.")


def _up_to_date(verdict: Verdict) -> Finding:
    return Finding("UpToDate", verdict.up_to_date, verdict.reason, verdict.message)
