"""A canary step by step; whole histories are in test_simulation.py."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from fairlead_operator.api import CANDIDATE, Candidate, Check, Failure, ModelDeployment, Reason, Serving, Status
from fairlead_operator.canary import pods_for
from fairlead_operator.checks import Measurement
from fairlead_operator.desired import revision
from fairlead_operator.observe import DeploymentView, Observed, PodView
from fairlead_operator.plan import Plan
from fairlead_operator.reference import Resolved
from fairlead_operator.rollout import plan
from tests.unit.operator.samples import DEFAULTS, NOW, RUNS, model, raw

GOOD, NEW = model(RUNS[0]), model(RUNS[1])
ROLLOUT = {"strategy": "Canary", "stepSeconds": 60, "failureThreshold": 2}


def resource(annotations: dict[str, str] | None = None, **spec: Any) -> ModelDeployment:
    found = raw(**({"replicas": 4, "rollout": ROLLOUT} | spec))
    found["metadata"]["annotations"] = annotations or {}
    return ModelDeployment.model_validate(found)


def revision_of(run: Any) -> str:
    return revision(resource(), run, DEFAULTS.image, DEFAULTS)


SERVING = Serving(**GOOD.model_dump(), image=DEFAULTS.image, revision=revision_of(GOOD), since=NOW)


def candidate(step: int = 0, since: float | None = None, age: float = 0, **fields: Any) -> Candidate:
    return Candidate(
        **NEW.model_dump(),
        image=DEFAULTS.image,
        revision=revision_of(NEW),
        started_at=NOW - timedelta(seconds=age),
        step=step,
        step_at=None if since is None else NOW - timedelta(seconds=since),
        **fields,
    )


def trying(count: int, proven: bool = True, admitted: bool = True, **fields: Any) -> tuple[PodView, ...]:
    return tuple(
        PodView(
            f"fraud-canary-{number}",
            NEW.run_id,
            revision_of(NEW),
            ready=proven and admitted,
            failure=fields.get("failure"),
            waiting=fields.get("waiting", ""),
            track=CANDIDATE,
            proven=proven,
            admitted=admitted,
            ip="10.0.0.9",
        )
        for number in range(count)
    )


def stable(count: int = 4) -> tuple[PodView, ...]:
    return tuple(
        PodView(f"fraud-{number}", GOOD.run_id, SERVING.revision, True, None, "", proven=True, ip="10.0.0.1")
        for number in range(count)
    )


def decide(
    pods: Sequence[PodView] = (),
    trial: Candidate | None = None,
    measured: Measurement | None = None,
    annotations: dict[str, str] | None = None,
    now: datetime = NOW,
    **spec: Any,
) -> Plan:
    deployment = DeploymentView(SERVING.revision, 4, 4, 4, 4, 4, observed=True)
    seen = Observed(deployment, (*stable(), *pods))
    old = Status(serving=SERVING, candidate=trial)
    return plan(resource(annotations, **spec), Resolved(NEW), seen, old, now, DEFAULTS, measured)


def answered(asked: Plan, *checks: Check, problem: str = "") -> Measurement:
    assert asked.question is not None
    return Measurement(asked.question.id, NOW, checks, problem)


GOOD_CHECK = Check(name="success", value="100 %", threshold="at least 99 %", ok=True)
BAD_CHECK = Check(name="latencyP95", value="812 ms (serving: 40 ms)", threshold="at most 250 ms", ok=False)


def test_a_new_run_starts_in_the_dark_beside_what_serves() -> None:
    decided = decide()
    assert decided.template is not None
    assert decided.template.model == GOOD
    assert decided.trial is not None
    assert (decided.trial.model, decided.trial.replicas) == (NEW, 1)
    assert decided.admit == ()
    assert decided.candidate is not None
    assert (decided.candidate.step, decided.candidate.weight_percent) == (0, 0)
    assert (decided.verdict.reason, decided.verdict.progress) == (Reason.CANARY_IN_PROGRESS, "Reconciling")


def test_a_dark_pod_is_measured_as_soon_as_it_is_proven_and_never_admitted() -> None:
    decided = decide(trying(1, admitted=False), candidate())
    assert decided.admit == ()
    assert decided.question is not None
    assert decided.question.dark
    assert [pod.name for pod in decided.question.candidate] == ["fraud-canary-0"]
    assert len(decided.question.serving) == 4


def test_a_passed_step_leads_to_the_next_and_its_pods_are_admitted() -> None:
    asked = decide(trying(1, admitted=False), candidate())
    decided = decide(trying(1, admitted=False), asked.candidate, answered(asked, GOOD_CHECK))
    assert decided.candidate is not None
    assert decided.candidate.step == 1
    assert decided.candidate.checks == (GOOD_CHECK,)
    assert decided.admit == ("fraud-canary-0",)
    assert decided.trial is not None
    assert decided.trial.replicas == 1, "20 % beside four"


def test_a_step_with_traffic_is_judged_when_its_time_is_over_and_all_its_pods_were_there() -> None:
    waiting = decide(trying(3), candidate(step=2))
    assert waiting.question is None
    assert "3 of 4 pods answer" in waiting.verdict.message
    going = decide(trying(4), candidate(step=2, since=20))
    assert (going.question, going.check_after) == (None, 40)
    over = decide(trying(4), candidate(step=2, since=61))
    assert over.question is not None
    assert (over.question.dark, over.question.window_seconds) == (False, 61)
    assert over.candidate is not None
    assert over.candidate.weight_percent == 50


def test_after_the_last_step_the_deployment_takes_the_model_and_the_canary_stays_till_then() -> None:
    asked = decide(trying(4), candidate(step=2, since=61))
    decided = decide(trying(4), asked.candidate, answered(asked, GOOD_CHECK))
    assert decided.template is not None
    assert decided.template.model == NEW
    assert decided.trial is not None
    assert decided.trial.replicas == 4
    assert decided.candidate is not None
    assert decided.candidate.promoted_at == NOW


def test_the_first_failed_check_holds_and_the_last_takes_back() -> None:
    asked = decide(trying(1), candidate(step=1, since=61))
    held = decide(trying(1), asked.candidate, answered(asked, GOOD_CHECK, BAD_CHECK))
    assert held.candidate is not None
    assert (held.candidate.step, held.candidate.failures, held.candidate.step_at) == (1, 1, NOW)
    assert held.check_after == 60
    assert "812 ms" in held.verdict.message

    later = NOW + timedelta(seconds=60)
    again = decide(trying(1), held.candidate, now=later)
    back = decide(trying(1), again.candidate, answered(again, GOOD_CHECK, BAD_CHECK), now=later)
    assert back.candidate is None
    assert back.trial is None
    assert back.template is not None
    assert back.template.model == GOOD
    rejected = back.rejected[0]
    assert rejected.reason is Reason.ANALYSIS_FAILED
    assert "latencyP95 812 ms (serving: 40 ms), must be at most 250 ms" in rejected.message
    assert back.verdict.progress == "Stalled"


def test_what_cannot_be_judged_waits_and_is_taken_back_only_at_the_deadline() -> None:
    asked = decide(trying(1), candidate(step=1, since=61))
    waiting = decide(trying(1), asked.candidate, answered(asked, problem="Prometheus does not answer"))
    assert waiting.rejected == ()
    assert waiting.candidate is not None
    assert (waiting.candidate.step, waiting.candidate.failures) == (1, 0)
    assert waiting.verdict.reason is Reason.ANALYSIS_UNAVAILABLE
    assert "Prometheus does not answer" in waiting.verdict.message
    assert waiting.check_after == 10

    unanswered = answered(asked, problem="Prometheus does not answer")
    for seconds in (5, 10):  # while the next try is waited for, and while it is made
        later = decide(trying(1), waiting.candidate, unanswered, now=NOW + timedelta(seconds=seconds))
        assert later.verdict == waiting.verdict
    assert later.question is not None

    asked = decide(trying(1), candidate(step=1, since=60 + 600))
    late = decide(trying(1), asked.candidate, answered(asked, problem="Prometheus does not answer"))
    assert late.rejected[0].reason is Reason.PROGRESS_DEADLINE_EXCEEDED
    assert "Prometheus does not answer" in late.rejected[0].message


def test_an_answer_to_another_question_is_not_taken() -> None:
    asked = decide(trying(1), candidate(step=1, since=61))
    other = Measurement("another", NOW, (GOOD_CHECK,))
    decided = decide(trying(1), asked.candidate, other)
    assert decided.question == asked.question


def test_a_pod_that_breaks_under_traffic_is_a_failure_and_a_pod_that_moves_is_none() -> None:
    crash = Failure(pod="fraud-canary-0", reason=Reason.LOAD_FAILED, message="server ended with code 139", at=NOW)
    broken = decide(trying(1, proven=False, failure=crash), candidate(step=1, since=20))
    assert broken.candidate is not None
    assert broken.candidate.failures == 1
    assert broken.candidate.step_at is None
    moved = decide(trying(1, proven=False, admitted=False), candidate(step=1, since=20))
    assert moved.candidate is not None
    assert moved.candidate.failures == 0


def test_a_model_that_does_not_load_is_taken_back_at_once() -> None:
    corrupt = Failure(pod="fraud-canary-0", reason=Reason.MODEL_CORRUPT, message="truncated", at=NOW)
    decided = decide(trying(1, proven=False, admitted=False, failure=corrupt), candidate())
    assert decided.rejected[0].reason is Reason.MODEL_CORRUPT
    assert decided.trial is None


def test_pods_that_do_not_come_are_waited_for_until_the_deadline() -> None:
    waiting = decide(trying(1, proven=False, admitted=False, waiting="ImagePullBackOff"), candidate(age=599))
    assert waiting.check_after == 1
    late = decide(trying(1, proven=False, admitted=False, waiting="ImagePullBackOff"), candidate(age=600))
    assert late.rejected[0].reason is Reason.PROGRESS_DEADLINE_EXCEEDED
    assert "ImagePullBackOff" in late.rejected[0].message


@pytest.mark.parametrize("name", [NEW.run_id, "another"])
def test_people_promote_and_abort_the_model_they_name(name: str) -> None:
    promoted = decide(trying(1), candidate(step=1, since=1), annotations={"fairlead.dev/promote": name})
    aborted = decide(trying(1), candidate(step=1, since=1), annotations={"fairlead.dev/abort": name})
    ours = name == NEW.run_id
    assert promoted.candidate is not None
    assert (promoted.candidate.promoted_at is not None) is ours
    assert bool(aborted.rejected) is ours
    if ours:
        assert aborted.rejected[0].reason is Reason.ABORTED


def test_suspended_freezes_at_the_present_weight() -> None:
    decided = decide(trying(1), candidate(step=1, since=61), suspend=True)
    assert decided.frozen
    assert (decided.template, decided.trial, decided.admit, decided.question) == (None, None, (), None)
    assert decided.candidate is not None
    assert (decided.candidate.step, decided.candidate.step_at) == (1, None)


def test_the_same_run_in_other_pods_is_no_other_model() -> None:
    changed = resource(env=[{"name": "A", "value": "1"}])
    seen = Observed(DeploymentView(SERVING.revision, 4, 4, 4, 4, 4, observed=True), stable())
    decided = plan(changed, Resolved(GOOD), seen, Status(serving=SERVING), NOW, DEFAULTS)
    assert decided.trial is None
    assert decided.candidate is not None
    assert decided.candidate.step is None


def test_where_nothing_answers_there_is_nothing_to_compare_with() -> None:
    seen = Observed(DeploymentView(SERVING.revision, 4, 4, 4, 0, 0, observed=True), ())
    decided = plan(resource(), Resolved(NEW), seen, Status(serving=SERVING), NOW, DEFAULTS)
    assert decided.trial is None
    assert decided.template is not None
    assert decided.template.model == NEW


def test_fewer_steps_in_the_middle_do_not_promote() -> None:
    decided = decide(trying(1), candidate(step=2, since=1), rollout=ROLLOUT | {"steps": [0, 10]})
    assert decided.candidate is not None
    assert (decided.candidate.step, decided.candidate.promoted_at) == (1, None)


def test_another_strategy_in_the_middle_rolls_on() -> None:
    decided = decide(trying(1), candidate(step=1, since=1), rollout={"strategy": "Rolling"})
    assert decided.trial is None
    assert decided.template is not None
    assert decided.template.model == NEW


@pytest.mark.parametrize(
    ("weight", "replicas", "expected"),
    [(0, 4, 1), (20, 4, 1), (50, 4, 4), (20, 1, 1), (50, 10, 10), (75, 2, 6), (10, 20, 2)],
)
def test_the_weight_in_pods(weight: int, replicas: int, expected: int) -> None:
    assert pods_for(weight, replicas) == expected
