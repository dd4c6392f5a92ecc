"""The status: honest, idempotent, and quiet about what did not change."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.api import Candidate, Condition, Reason, Serving, Status, read_status
from fairlead_operator.conditions import MAX_MESSAGE, Finding, merge
from fairlead_operator.desired import revision
from fairlead_operator.events import transitions
from fairlead_operator.observe import DeploymentView, Observed, PodView
from fairlead_operator.reference import Problem, Resolved
from fairlead_operator.rollout import plan
from fairlead_operator.status import Obstacle, halted, status
from tests.unit.operator.samples import DEFAULTS, NOW, RUNS, md, model, raw

problems = st.sampled_from(
    [
        Problem(Reason.MODEL_NOT_FOUND, "no such run", 60),
        Problem(Reason.TRACKING_SERVER_UNAVAILABLE, "MLflow does not answer", 10),
    ]
)
resolutions = st.one_of(st.sampled_from(RUNS).map(model).map(Resolved), problems)
obstacles = st.sampled_from([(), (Obstacle(Reason.NAME_CONFLICT, "Service fraud belongs to somebody else"),)])
resources = st.builds(
    lambda replicas, suspend, run: md(model={"runID": run}, replicas=replicas, suspend=suspend),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.sampled_from(RUNS),
)


@st.composite
def deployed(draw: Any, kind: Any, **times: Any) -> Any:
    run = draw(st.sampled_from(RUNS))
    return kind(**model(run).model_dump(), image="predictor:1", revision=_revision(run), **times)


def _revision(run: str) -> str:
    return revision(md(), model(run), "predictor:1", DEFAULTS)


@st.composite
def observations(draw: Any) -> Observed:
    pods = draw(st.lists(st.tuples(st.sampled_from(RUNS), st.booleans()), max_size=4))
    views = tuple(PodView(f"p{i}", run, _revision(run), ready, None, "") for i, (run, ready) in enumerate(pods))
    numbers = [draw(st.integers(0, 3)) for _ in range(5)]
    view = DeploymentView(_revision(draw(st.sampled_from(RUNS))), *numbers, observed=draw(st.booleans()))
    return Observed(draw(st.sampled_from([None, view])), views)


statuses = st.builds(
    Status,
    serving=st.one_of(st.none(), deployed(Serving, since=NOW)),
    candidate=st.one_of(st.none(), deployed(Candidate, started_at=NOW - timedelta(seconds=1000))),
)


@given(resources, resolutions, observations(), obstacles, statuses, st.integers(0, 1000))
def test_idempotent_and_honest(
    resource: Any, resolution: Any, seen: Observed, blocked: Any, old: Status, later: int
) -> None:
    def compute(before: Status, now: Any) -> Status:
        decided = plan(resource, resolution, seen, before, now, DEFAULTS)
        return status(resource, decided, resolution, seen, blocked, before, now)

    once = compute(old, NOW)
    for _ in range(3):
        once = compute(once, NOW)
    assert compute(once, NOW) == once
    assert read_status(once.to_json()) == once
    assert transitions(once, once) == []

    found = {condition.type: condition for condition in once.conditions}
    assert set(found) >= {"Ready", "ModelResolved", "UpToDate"}
    assert not {"Reconciling", "Stalled"} <= set(found)
    assert all(found[kind].status == "True" for kind in ("Reconciling", "Stalled") if kind in found)
    if found["Ready"].status == "True":
        assert once.serving is not None
    if found["UpToDate"].status == "True":
        assert once.serving is not None
        assert isinstance(resolution, Resolved)
        assert once.serving.run_id == resolution.model.run_id
        assert once.observed_generation == resource.metadata.generation

    after = compute(once, NOW + timedelta(seconds=later))
    for condition in after.conditions:
        before = once.condition(condition.type)
        moved = before is None or before.last_transition_time != condition.last_transition_time
        assert not moved or later == 0 or before is None or before.status != condition.status


@given(
    st.lists(st.tuples(st.sampled_from(["Ready", "UpToDate"]), st.sampled_from(["True", "False"])), max_size=8),
)
def test_the_transition_time_moves_exactly_if_the_status_flips(history: list[tuple[str, Any]]) -> None:
    conditions: tuple[Condition, ...] = ()
    values: dict[str, Any] = {"Ready": "Unknown", "UpToDate": "Unknown"}
    for minute, (kind, value) in enumerate(history):
        values[kind] = value
        now = NOW + timedelta(minutes=minute)
        findings = [Finding(name, state, Reason.SERVING, str(minute)) for name, state in values.items()]
        before = {found.type: found for found in conditions}
        conditions = merge(conditions, findings, minute, now)
        for found in conditions:
            flipped = found.type not in before or before[found.type].status != found.status
            assert (found.last_transition_time == now) == flipped


def test_a_missing_autoscaler_is_told_beside_the_model_that_serves() -> None:
    resource = md(autoscaling={"maxReplicas": 3})
    serving = Serving(**model().model_dump(), image="predictor:1", revision=_revision(RUNS[0]), since=NOW)
    seen = Observed(
        DeploymentView(_revision(RUNS[0]), 1, 1, 1, 1, 1, observed=True),
        (PodView("p", RUNS[0], _revision(RUNS[0]), True, None, ""),),
    )
    old = Status(serving=serving)

    def found(obstacles: Any) -> dict[str, tuple[str, str]]:
        decided = plan(resource, Resolved(model()), seen, old, NOW, DEFAULTS)
        new = status(resource, decided, Resolved(model()), seen, obstacles, old, NOW)
        return {condition.type: (condition.status, condition.reason) for condition in new.conditions}

    missing = Obstacle(Reason.AUTOSCALER_MISSING, "helm install keda", "autoscaler")
    assert found((missing,)) == {
        "Ready": ("True", "Serving"),
        "ModelResolved": ("True", "Resolved"),
        "UpToDate": ("True", "UpToDate"),
        "Autoscaled": ("False", "AutoscalerMissing"),
        "Stalled": ("True", "AutoscalerMissing"),
    }
    assert found(())["Autoscaled"] == ("True", "AutoscalerInPlace")
    assert "Stalled" not in found(())
    conflict = Obstacle(Reason.NAME_CONFLICT, "Service fraud belongs to somebody else")
    assert found((conflict, missing))["Stalled"] == ("True", "NameConflict")


@pytest.mark.parametrize("answers", [True, False])
def test_an_object_that_cannot_be_read_keeps_what_is_known_and_ready_is_what_is_seen(answers: bool) -> None:
    ready = Condition(type="Ready", status="True", reason="Serving", message="", last_transition_time=NOW)
    serving = Serving(run_id=RUNS[0], revision="r", since=NOW)
    old = Status(conditions=(ready,), serving=serving)
    seen = Observed(pods=(PodView("p", RUNS[0], "r", answers, None, ""),))
    new = halted(raw(generation=7), Reason.INVALID_SPEC, "spec: must be …", seen, old, NOW)
    assert new.serving == serving
    assert new.observed_generation == 7
    assert {found.type: found.status for found in new.conditions} == {
        "Ready": str(answers),
        "ModelResolved": "Unknown",
        "UpToDate": "False",
        "Stalled": "True",
    }


def test_a_status_nobody_can_read_is_as_if_never_written() -> None:
    assert read_status({"serving": {"since": "yesterday"}, "replicas": 3}) == Status(replicas=3)
    assert read_status(None) == Status()


def test_a_message_of_any_length_can_be_stored() -> None:
    """The API server repeats whole objects in some refusals."""
    (found,) = merge((), [Finding("UpToDate", "False", Reason.INVALID_SPEC, "x" * 100_000)], 1, NOW)
    assert len(found.message) == MAX_MESSAGE
    assert found.message.endswith("x…")
