"""What is decided for one ModelDeployment, and the situation it is decided in: what `rollout` and `canary` share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from fairlead_operator.api import (
    LOGGED_MODEL,
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
from fairlead_operator.checks import Measurement, Question
from fairlead_operator.desired.deployment import revision
from fairlead_operator.desired.pods import PodDefaults, Template, Trial
from fairlead_operator.hotswap import Round
from fairlead_operator.observe import Observed, PodView
from fairlead_operator.reports import Report


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
    trial: Trial | None = None
    """What a canary's own Deployment should hold; None: there should be none."""
    frozen: bool = False
    """Whether a canary's Deployment, if there is one, stays as it is."""
    admit: tuple[str, ...] = ()
    """Names of the candidate's pods that users' requests may reach from now on."""
    question: Question | None = None
    """What has to be measured before the plan can go on."""
    round: Round | None = None
    """What has to be said to pods that swap models, and asked of them (`swapping`)."""
    recorded: ModelRef | None = None
    """What pods that swap models shall start with. None: there are none, or it stays as it is."""


@dataclass(frozen=True)
class Situation:
    md: ModelDeployment
    seen: Observed
    old: Status
    now: datetime
    defaults: PodDefaults
    measured: Measurement | None = None
    reports: Mapping[str, Report] = field(default_factory=dict)
    """What pods that swap models said last, by pod."""

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

    @property
    def deadline(self) -> timedelta:
        return timedelta(seconds=self.md.spec.rollout.progress_deadline_seconds)

    def revision_of(self, model: ModelRef, image: str) -> str:
        return revision(self.md, model, image, self.defaults)

    def with_old(self, **changes: object) -> "Situation":
        """The same, had the status said something else."""
        return replace(self, old=self.old.model_copy(update=changes))


def describe(model: ModelRef) -> str:
    """For people."""
    if model.model_name:
        return f"{model.model_name} version {model.model_version} ({origin(model)})"
    return origin(model)


def origin(model: ModelRef) -> str:
    """For people: the run, or the logged model where there is no run."""
    return f"{'logged model' if model.run_id.startswith(LOGGED_MODEL) else 'run'} {model.run_id}"


def planned(
    at: Situation,
    deployed: Deployed,
    verdict: Verdict,
    serving: Serving | None = None,
    candidate: Candidate | None = None,
) -> Plan:
    """`deployed` in the Deployment, and the rest as it was."""
    return Plan(
        template=Template(deployed.ref(), deployed.image, at.md.spec.replicas),
        verdict=verdict,
        serving=serving,
        candidate=candidate,
        last_failure=last_failure(at, deployed),
        history=at.old.history,
    )


def final_failure(at: Situation, candidate: Candidate) -> Failure | None:
    """One that the same run would have again on any pod."""
    failures = [pod.final_failure for pod in _pods_of(at, candidate) if pod.final_failure]
    return max(failures, key=lambda failure: failure.at, default=None)


def trouble(at: Situation, deployed: Deployed) -> str:
    """The exception of the pod that failed last, else why a pod does not start."""
    pods = _pods_of(at, deployed)
    failure = max((pod.failure for pod in pods if pod.failure), key=lambda found: found.at, default=None)
    if failure:
        return f"{failure.reason}: {failure.message}"
    return next((pod.waiting for pod in pods if pod.waiting and not pod.ready), "")


def last_failure(at: Situation, deployed: Deployed) -> Failure | None:
    failures = [pod.failure for pod in _pods_of(at, deployed) if pod.failure] or _failed_loads(at, deployed)
    newest = max(failures, key=lambda failure: failure.at, default=None)
    return newer(at.old.last_failure, newest) if newest else at.old.last_failure


def _pods_of(at: Situation, deployed: Deployed) -> tuple[PodView, ...]:
    """Without those whose failure is not the model's: pods that swap models outlive several."""
    pods = at.seen.of_revision(deployed.revision)
    return tuple(pod for pod in pods if not pod.swaps or pod.failure is None or _owns(at, deployed, pod.failure))


def _owns(at: Situation, deployed: Deployed, failure: Failure) -> bool:
    """Whether it is this model's, and of this trial. One that names no run may be the serving model's."""
    serving = at.old.serving
    shared = serving is not None and serving.revision == deployed.revision and serving.run_id != deployed.run_id
    started = deployed.started_at if isinstance(deployed, Candidate) else None
    if failure.run_id != deployed.run_id and (failure.run_id is not None or shared):
        return False
    return started is None or failure.at >= started


def _failed_loads(at: Situation, deployed: Deployed) -> list[Failure]:
    """Of pods that were told to load the model beside another one."""
    found = []
    for pod in at.seen.of_revision(deployed.revision):
        report = at.reports.get(pod.name)
        if report is None or report.info is None or report.info.failed_load is None:
            continue
        load = report.info.failed_load
        failure = Failure(run_id=load.run_id, pod=pod.name, reason=load.reason, message=load.message, at=load.at)
        if _owns(at, deployed, failure):
            found.append(failure.model_copy(update={"at": load.at.replace(microsecond=0)}))
    return found


def newer(old: Failure | None, new: Failure) -> Failure:
    """`new`, unless it says what `old` says: a crash loop must not rewrite the status at every turn."""
    said = old and (old.run_id, old.reason, old.message) == (new.run_id, new.reason, new.message)
    return old if old and said else new


def entry(model: ModelRef, start: datetime | None, end: datetime, verdict: str) -> HistoryEntry:
    return HistoryEntry(run_id=model.run_id, model_version=model.model_version, from_=start, to=end, verdict=verdict)
