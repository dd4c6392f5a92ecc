"""Rolls models out to pods that stay (the strategy HotSwap): what their reports mean for the resource, what they are
told, and what new ones start with. Pure, the clock passed in.

`hotswap` decides about pods, `rollout` about models. The revision of such pods names no run, and their labels do not
either: they swap whatever the strategy is by now, until they are rolled away. A report that is missing or old is asked
for; nothing is asked at rest, but when the resource is looked at for another reason.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from fairlead_operator import hotswap
from fairlead_operator.api import FINAL_REASONS, STABLE, Candidate, Deployed, ModelRef, Serving
from fairlead_operator.desired import configmap
from fairlead_operator.desired.access import contact
from fairlead_operator.hotswap import Failure, Listener, Load, Pod, Round, Step
from fairlead_operator.observe import PodView
from fairlead_operator.plan import Plan, Situation, last_failure
from fairlead_operator.reports import Report

REFRESH_SECONDS: Final = 300.0
"""At rest a report is good for so long: shorter than a resync, which finds what somebody else has loaded."""


def trial(at: Situation, candidate: Candidate) -> Step | None:
    """How far its pods are; None if they hold the model by what they were made from."""
    beside = candidate.step is not None and candidate.promoted_at is None
    if beside or not _swaps(at, candidate):
        return None
    return hotswap.proceed(candidate.ref(), _pods(at, candidate), candidate.started_at, at.now, at.deadline)


def in_place(at: Situation, candidate: Deployed) -> bool:
    """Whether the serving model's own pods are the candidate's."""
    return at.old.serving is not None and at.old.serving.revision == candidate.revision


def achieved(at: Situation, candidate: Candidate) -> bool:
    """Whether all pods have it. Where only the model differs, pods that are not Ready are not waited for: they start
    with what is recorded."""
    deployment = at.seen.deployment
    if deployment is None or deployment.revision != candidate.revision:
        return False
    step = trial(at, candidate)
    return (deployment.complete or (step is not None and in_place(at, candidate))) and (step is None or step.done)


def answers(at: Situation, candidate: Candidate) -> bool:
    """Whether one pod has it."""
    if not _swaps(at, candidate):
        return at.seen.available(candidate.revision) > 0
    return any(pod.has(candidate) for pod in _pods(at, candidate))


def final_failure(at: Situation, candidate: Candidate) -> Failure | None:
    """One that the model would have again in any pod."""
    step = trial(at, candidate)
    return step.failure if step and step.failure and step.failure.reason in FINAL_REASONS else None


def progress(at: Situation, candidate: Candidate) -> str:
    """For people, where the pods are there and swap. The same as long as nothing new happens: pods that fail time and
    again must not rewrite the status at every turn."""
    there = in_place(at, candidate) or at.seen.available(candidate.revision) >= at.replicas
    if not there or trial(at, candidate) is None:
        return ""
    pods = _pods(at, candidate)
    said = [hotswap.progress(pods, hotswap.having(candidate, pods))]
    failure = last_failure(at, candidate)
    if failure is not None and failure.run_id == candidate.run_id:
        said.append(f"{failure.reason}: {failure.message}")
    return "; ".join(said)


def agree(at: Situation, serving: Serving) -> bool:
    """Whether the pods serve what they should. One that has not been heard of does not unsettle what was settled."""
    if not _swaps(at, serving):
        return True
    pods = _pods(at, serving)
    heard = [pod for pod in pods if pod.info is not None]
    if not hotswap.settle(serving.ref(), heard, at.now).done:
        return False
    before = at.old.condition("UpToDate")
    return len(heard) == len(pods) or (before is not None and before.status == "True")


def arranged(at: Situation, decided: Plan) -> Plan:
    """The decision, with what it means for pods that swap models."""
    steps = _steps(at, decided)
    pods = [pod for deployed, _ in steps for pod in _views(at, deployed)]
    frozen = at.md.spec.suspend
    waits = [step.check_after for _, step in steps if step.check_after is not None and not frozen]
    pause = timedelta(seconds=min(waits, default=REFRESH_SECONDS))
    loads = [] if frozen else [load for _, step in steps for load in step.loads if _due(at, load, pause)]
    asked = {pod.name for pod in pods if _old(at, _report(at, pod), pause)} | {load.pod for load in loads}
    listeners = tuple(Listener(pod.name, pod.ip, pod.restarts) for pod in pods)
    return replace(
        decided,
        recorded=_recorded(at, decided),
        round=Round(listeners, frozenset(asked), tuple(loads), contact(at.md, at.defaults)) if asked else None,
        check_after=min([*waits, *([decided.check_after] if decided.check_after is not None else [])], default=None),
    )


def _steps(at: Situation, decided: Plan) -> list[tuple[Deployed, Step]]:
    """What the candidate's pods do next, and the serving model's where they are others."""
    candidate, serving = decided.candidate, decided.serving
    steps: list[tuple[Deployed, Step]] = []
    if candidate is not None and (step := trial(at, candidate)):
        if step.failure is not None:  # there is nothing to go back to
            step = hotswap.settle(candidate.ref(), _pods(at, candidate), at.now)
        steps.append((candidate, step))
    if serving is not None and _swaps(at, serving) and not (candidate and candidate.revision == serving.revision):
        steps.append((serving, hotswap.settle(serving.ref(), _pods(at, serving), at.now)))
    return steps


def _recorded(at: Situation, decided: Plan) -> ModelRef | None:
    """What serves; of a candidate, once it is proven, or where new pods are to be its own."""
    if not (configmap.swaps(at.md) or at.seen.swapping):
        return None
    candidate, serving = decided.candidate, decided.serving
    if candidate is not None and (step := trial(at, candidate)):
        own = serving is None or serving.revision != candidate.revision
        if own or step.record:
            return candidate.ref()
    return serving.ref() if serving is not None else None


def _swaps(at: Situation, deployed: Deployed) -> bool:
    """Whether its pods swap models: as they are, or else as they will be."""
    deployment = at.seen.deployment
    if deployment is not None and deployment.revision == deployed.revision:
        return deployment.swaps
    pods = at.seen.of_revision(deployed.revision)
    return pods[0].swaps if pods else configmap.swaps(at.md)


def _views(at: Situation, deployed: Deployed) -> list[PodView]:
    """Pods that can be spoken with."""
    return [pod for pod in at.seen.of_revision(deployed.revision) if pod.ready and pod.swaps and pod.track == STABLE]


def _pods(at: Situation, deployed: Deployed) -> list[Pod]:
    found = []
    for view in _views(at, deployed):
        report = _report(at, view)
        found.append(Pod(view.name, view.ip, report.info if report else None, report.trouble if report else ""))
    return found


def _report(at: Situation, pod: PodView) -> Report | None:
    """What it said, unless it has restarted since."""
    report = at.reports.get(pod.name)
    return report if report is not None and report.restarts == pod.restarts else None


def _due(at: Situation, load: Load, pause: timedelta) -> bool:
    """Whether it has not just been told so: whoever does not do what he is told is not pressed."""
    report = at.reports.get(load.pod)
    return report is None or report.told != load.model or at.now - report.at >= pause


def _old(at: Situation, report: Report | None, pause: timedelta) -> bool:
    return report is None or at.now - report.at >= pause
