"""The plan, step by step; whole histories are in test_simulation.py."""

from datetime import timedelta
from typing import Any

import pytest

from fairlead_operator.api import Candidate, Failure, ModelRef, Reason, Serving, Status
from fairlead_operator.contract import FINAL_REASONS
from fairlead_operator.desired import revision
from fairlead_operator.observe import DeploymentView, Observed, PodView
from fairlead_operator.plan import Plan
from fairlead_operator.reference import Problem, Resolved
from fairlead_operator.rollout import plan
from tests.unit.operator.samples import DEFAULTS, NOW, RUNS, md, model

GOOD, NEW = model(RUNS[0]), model(RUNS[1])
IMAGE = DEFAULTS.image


def revision_of(run: Any, **spec: Any) -> str:
    return revision(md(**spec), run, IMAGE, DEFAULTS)


def serving(run: Any = GOOD, **spec: Any) -> Serving:
    return Serving(**run.model_dump(), image=IMAGE, image_defaulted=True, revision=revision_of(run, **spec), since=NOW)


def candidate(run: Any = NEW, age: float = 0, **spec: Any) -> Candidate:
    started_at = NOW - timedelta(seconds=age)
    return Candidate(
        **run.model_dump(), image=IMAGE, image_defaulted=True, revision=revision_of(run, **spec), started_at=started_at
    )


def pods(
    run: Any, count: int, ready: bool = True, failure: Failure | None = None, waiting: str = ""
) -> tuple[PodView, ...]:
    return tuple(
        PodView(f"fraud-{index}", run.run_id, revision_of(run), ready, failure, waiting) for index in range(count)
    )


def rolling(run: Any, updated: int, replicas: int = 2, available: int = 2) -> DeploymentView:
    return DeploymentView(revision_of(run), 2, replicas, updated, available, available, observed=True)


def decide(seen: Observed, old: Status, run: Any = NEW, **spec: Any) -> Plan:
    resource = md(**({"replicas": 2} | spec))
    return plan(resource, run if isinstance(run, Problem) else Resolved(run), seen, old, NOW, DEFAULTS)


def failure(reason: Reason, run: Any = NEW) -> Failure:
    return Failure(run_id=run.run_id, pod="fraud-0", reason=reason, message="model.skops is truncated", at=NOW)


def test_a_first_model_is_put_into_the_pods() -> None:
    decided = decide(Observed(), Status())
    assert decided.template is not None
    assert decided.template.model == NEW
    assert decided.candidate is not None
    assert decided.candidate.started_at == NOW
    assert (decided.verdict.up_to_date, decided.verdict.progress) == ("False", "Reconciling")
    assert decided.check_after == 600


def test_nothing_is_decided_until_it_is_known_what_is_wanted() -> None:
    unknown = Problem(Reason.TRACKING_SERVER_UNAVAILABLE, "MLflow does not answer", 10)
    decided = decide(Observed(), Status(), unknown)
    assert decided.template is None
    assert (decided.verdict.up_to_date, decided.verdict.progress) == ("Unknown", "Reconciling")
    assert decided.check_after == 10


def test_a_complete_roll_out_is_promoted() -> None:
    decided = decide(Observed(rolling(NEW, 2), pods(NEW, 2)), Status(serving=serving(), candidate=candidate()))
    assert decided.serving is not None
    assert decided.serving.run_id == NEW.run_id
    assert decided.candidate is None
    assert decided.verdict.up_to_date == "True"
    assert [(entry.run_id, entry.verdict) for entry in decided.history] == [(GOOD.run_id, "Replaced")]


@pytest.mark.parametrize("reason", sorted(FINAL_REASONS))
def test_a_final_failure_is_taken_back_at_once(reason: str) -> None:
    seen = Observed(rolling(NEW, 1, 3), pods(GOOD, 2) + pods(NEW, 1, False, failure(Reason(reason))))
    decided = decide(seen, Status(serving=serving(), candidate=candidate()))
    assert decided.template is not None
    assert decided.template.model == GOOD
    assert decided.rejected[0].run_id == NEW.run_id
    assert decided.rejected[0].reason == reason
    assert (decided.verdict.reason, decided.verdict.progress) == (reason, "Stalled")
    assert decided.last_failure == failure(Reason(reason))
    assert decided.history[0].verdict == f"Rejected: {reason}"


@pytest.mark.parametrize("reason", [Reason.LOAD_FAILED, Reason.TRACKING_SERVER_UNAVAILABLE])
def test_a_failure_that_may_pass_has_until_the_deadline(reason: Reason) -> None:
    seen = Observed(rolling(NEW, 1, 3), pods(GOOD, 2) + pods(NEW, 1, False, failure(reason)))
    before = Status(serving=serving(), candidate=candidate(age=599))
    waiting = decide(seen, before)
    assert waiting.rejected == ()
    assert waiting.check_after == 1
    assert "model.skops is truncated" in waiting.verdict.message

    late = decide(seen, before.model_copy(update={"candidate": candidate(age=600)}))
    assert late.rejected[0].reason is Reason.PROGRESS_DEADLINE_EXCEEDED
    assert "model.skops is truncated" in late.rejected[0].message


def test_a_late_pod_says_why_it_waits() -> None:
    seen = Observed(rolling(NEW, 1, 3), pods(GOOD, 2) + pods(NEW, 1, False, waiting="loader: ImagePullBackOff"))
    decided = decide(seen, Status(serving=serving(), candidate=candidate(age=601)))
    assert "ImagePullBackOff" in decided.rejected[0].message


def test_with_nothing_to_go_back_to_a_final_failure_stops_the_pods() -> None:
    seen = Observed(rolling(NEW, 2, 2, 0), pods(NEW, 2, False, failure(Reason.MODEL_REFUSED)))
    decided = decide(seen, Status(candidate=candidate()))
    assert decided.template is not None
    assert decided.template.replicas == 0
    assert decided.verdict.progress == "Stalled"
    again = decide(Observed(rolling(NEW, 0, 0, 0)), Status(rejected=decided.rejected))
    assert again.rejected == decided.rejected
    assert again.candidate is None


def test_with_nothing_to_go_back_to_a_late_model_is_waited_for() -> None:
    before = Status(candidate=candidate(age=601))
    decided = decide(Observed(rolling(NEW, 2, 2, 0), pods(NEW, 2, False)), before)
    assert decided.rejected == ()
    assert decided.candidate == before.candidate
    assert decided.verdict.progress == "Stalled"


def test_a_run_that_serves_is_never_rejected() -> None:
    changed = {"env": [{"name": "A", "value": "1"}]}
    on_trial = candidate(GOOD, age=601, **changed)
    decided = decide(
        Observed(rolling(GOOD, 0), pods(GOOD, 2)), Status(serving=serving(), candidate=on_trial), GOOD, **changed
    )
    assert decided.rejected == ()
    assert decided.verdict.progress == "Stalled"
    assert decided.serving is not None


def test_another_model_of_the_same_run_is_another_model() -> None:
    """It is tried as one, and rolled back if it is bad: a run may log several."""
    one, other = (ModelRef(run_id=RUNS[0], model_uri=f"runs:/{RUNS[0]}/{name}") for name in ("one", "other"))
    seen = Observed(rolling(other, 1, 3), pods(one, 2) + pods(other, 1, False, failure(Reason.MODEL_CORRUPT, other)))
    decided = decide(seen, Status(serving=serving(one), candidate=candidate(other)), other)
    assert [found.model_uri for found in decided.rejected] == [other.model_uri]
    assert decided.template is not None
    assert decided.template.model == one
    named = ModelRef(run_id=RUNS[0], model_uri="models:/fraud/3", model_name="fraud", model_version="3")
    assert one.same_model(named)
    assert not one.same_model(other)


def test_a_third_run_takes_the_candidates_place() -> None:
    third = model(RUNS[2])
    decided = decide(
        Observed(rolling(NEW, 1, 3), pods(GOOD, 2)), Status(serving=serving(), candidate=candidate(age=300)), third
    )
    assert decided.candidate is not None
    assert decided.candidate.run_id == third.run_id
    assert decided.candidate.started_at == NOW
    assert decided.serving is not None
    assert decided.serving.run_id == GOOD.run_id


def test_what_became_ready_unseen_counts_before_another_run_is_tried() -> None:
    third = model(RUNS[2])
    decided = decide(Observed(rolling(NEW, 2), pods(NEW, 2)), Status(candidate=candidate()), third)
    assert decided.serving is not None
    assert decided.serving.run_id == NEW.run_id


def test_failures_of_an_earlier_trial_are_not_charged_to_the_next() -> None:
    allowed = {"model": {"runID": RUNS[1], "allowPickle": True}}
    seen = Observed(rolling(NEW, 1, 3), pods(GOOD, 2) + pods(NEW, 1, False, failure(Reason.MODEL_REFUSED)))
    decided = decide(seen, Status(serving=serving()), NEW, **allowed)
    assert decided.rejected == ()
    assert decided.candidate is not None


def test_suspended_changes_no_pod_and_stops_the_clock() -> None:
    decided = decide(
        Observed(rolling(GOOD, 2), pods(GOOD, 2)), Status(serving=serving(), candidate=candidate(age=601)), suspend=True
    )
    assert decided.template is None
    assert decided.rejected == ()
    assert decided.candidate is not None
    assert decided.candidate.started_at is None
    assert decided.verdict.reason is Reason.SUSPENDED


def test_scaled_to_zero_proves_nothing_and_rejects_nothing() -> None:
    decided = decide(Observed(), Status(serving=serving(), candidate=candidate(age=601)), replicas=0)
    assert decided.rejected == ()
    assert decided.candidate is not None
    assert decided.candidate.started_at is None
    assert decided.verdict.reason is Reason.SCALED_TO_ZERO


def test_while_mlflow_is_down_another_environment_starts_no_roll_out() -> None:
    down = Problem(Reason.TRACKING_SERVER_UNAVAILABLE, "MLflow does not answer")
    seen = Observed(rolling(GOOD, 2), pods(GOOD, 2))
    assert decide(seen, Status(serving=serving()), down, env=[{"name": "A", "value": "1"}]).template is None
    scaled = decide(seen, Status(serving=serving()), down, replicas=5)
    assert scaled.template is not None
    assert scaled.template.replicas == 5


def test_a_rejection_outlives_mlflow() -> None:
    seen = Observed(rolling(GOOD, 2), pods(GOOD, 2) + pods(NEW, 1, False, failure(Reason.MODEL_CORRUPT)))
    rejected = decide(seen, Status(serving=serving(), candidate=candidate()))
    down = Problem(Reason.TRACKING_SERVER_UNAVAILABLE, "MLflow does not answer")
    status = Status(serving=rejected.serving, rejected=rejected.rejected)
    assert decide(seen, status, down).rejected == rejected.rejected
    assert decide(seen, status, NEW).candidate is None
    assert decide(seen, status, NEW, replicas=4).candidate is None, "an autoscaler is no reason to try again"
    gone = Observed(seen.deployment, pods(GOOD, 2))
    assert decide(gone, status, NEW, rollout={"progressDeadlineSeconds": 1200}).candidate is not None
    assert decide(gone, status, NEW, slo={"latencyMilliseconds": 400}).candidate is not None


def test_history_is_bounded() -> None:
    seen = Observed(rolling(NEW, 2), pods(NEW, 2))
    assert decide(seen, Status(serving=serving(), candidate=candidate()), historyLimit=0).history == ()
