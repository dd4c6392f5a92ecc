"""Drift becomes a condition that does not flap, and goes away when nobody knows any more."""

import logging
from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.api import Condition, Serving, Status
from fairlead_operator.contract import DRIFT_PSI_THRESHOLD
from fairlead_operator.controller import Controller
from fairlead_operator.drift import OVER_PSI, SAME_STORY, Judgement, Reading, finding, judge
from fairlead_operator.drift_poll import PATIENCE_SECONDS, DriftPoll
from fairlead_operator.events import transitions
from fairlead_operator.kinds import MODEL_DEPLOYMENT
from fairlead_operator.prometheus import PrometheusError
from fairlead_operator.settings import Settings
from fairlead_operator.store import Key
from tests.unit.operator.fake import FakeCluster, FakePods, FakeRegistry
from tests.unit.operator.samples import NOW, RUNS, raw

KEY = Key("ml", "fraud")
values = st.floats(0, 5, allow_nan=False)


def reading(worst: float, rows: int | None = 1000) -> Reading:
    over = (("petal_width", worst), ("predictions", 0.3)) if worst > OVER_PSI else ()
    return Reading(worst, over, rows)


def judged(worst: list[float], drifted: bool = False) -> list[Judgement]:
    found: list[Judgement] = []
    for value in worst:
        found.append(judge(found[-1] if found else None, reading(value), drifted))
    return found


@given(st.lists(values, min_size=1, max_size=30))
def test_only_a_value_above_the_limit_begins_it_and_only_one_below_the_lower_ends_it(worst: list[float]) -> None:
    was = False
    for value, found in zip(worst, judged(worst), strict=True):
        if found.drifts and not was:
            assert value > DRIFT_PSI_THRESHOLD
        if was and not found.drifts:
            assert value <= OVER_PSI
        assert found.drifts or value <= DRIFT_PSI_THRESHOLD
        was = found.drifts


@given(st.lists(st.floats(OVER_PSI, DRIFT_PSI_THRESHOLD, exclude_min=True), min_size=2, max_size=30), st.booleans())
def test_between_the_limits_nothing_is_news(worst: list[float], drifted: bool) -> None:
    found = judged(worst, drifted)
    assert {one.drifts for one in found} == {drifted}
    assert len(set(found)) == 1, "and what was told stays"


@given(st.floats(0.3, 5), st.lists(st.floats(-SAME_STORY * 0.99, SAME_STORY * 0.99), max_size=20))
def test_values_that_move_a_little_are_not_told_anew(worst: float, moves: list[float]) -> None:
    near = [max(worst * (1 + move), OVER_PSI + 0.01) for move in moves]
    assert len(set(judged([worst, *near]))) == 1


@given(st.lists(values, min_size=1, max_size=30))
def test_what_is_told_of_a_drift_is_never_far_from_what_is(worst: list[float]) -> None:
    for value, found in zip(worst, judged(worst), strict=True):
        if found.drifts:
            told = found.reading.worst
            assert abs(value - told) <= SAME_STORY * told + 1e-9


def condition(status: str, message: str = "as it was") -> Condition:
    return Condition.model_validate(
        {"type": "DataDrift", "status": status, "reason": "Drifted", "message": message, "lastTransitionTime": NOW}
    )


def test_the_message_names_the_worst() -> None:
    drifts = finding(Judgement(True, reading(0.414)), None)
    assert drifts is not None
    assert (drifts.status, drifts.reason) == ("True", "Drifted")
    assert drifts.message == "petal_width 0.41, predictions 0.30; limit 0.25, over 1,000 rows"
    calm = finding(Judgement(False, reading(0.1)), condition("True"))
    assert calm is not None
    assert (calm.status, calm.reason) == ("False", "NotDrifted")
    unknown = finding(Judgement(True, reading(0.4, rows=None)), None)
    assert unknown is not None
    assert unknown.message.endswith("limit 0.25")


def test_nothing_measured_is_no_condition_and_no_answer_leaves_it() -> None:
    assert finding("unmeasured", condition("True")) is None
    assert finding("unanswered", None) is None
    kept = finding("unanswered", condition("True"))
    assert kept is not None
    assert (kept.status, kept.message) == ("True", "as it was")


def test_what_was_read_of_one_model_is_not_said_of_the_next() -> None:
    first, second = (Serving(run_id=run, since=NOW) for run in RUNS[:2])
    drifts = Judgement(True, reading(0.4), first.run_id)
    assert finding(drifts, None, first) is not None
    assert finding(drifts, condition("True"), second) is None
    assert finding(drifts, condition("True"), None) is None


def test_it_is_told_once() -> None:
    calm, drifts = Status(conditions=(condition("False"),)), Status(conditions=(condition("True"),))
    worse = Status(conditions=(condition("True", "petal_width 0.9"),))
    assert [(found.reason, found.news) for found in transitions(calm, drifts)] == [("DataDrifted", True)]
    assert [(found.reason, found.news) for found in transitions(Status(), drifts)] == [("DataDrifted", True)]
    assert transitions(drifts, worse) == transitions(Status(), calm) == transitions(drifts, Status()) == []
    assert [(found.reason, found.news) for found in transitions(drifts, calm)] == [("DataDriftEnded", False)]


class Source:
    """Prometheus, as far as it is asked about drift."""

    def __init__(self) -> None:
        self.readings: dict[tuple[str, str], Reading] = {}
        self.down = False
        self.asked = 0

    async def drift(self) -> Mapping[tuple[str, str], Reading]:
        self.asked += 1
        if self.down:
            raise PrometheusError("does not answer")
        return dict(self.readings)


class Polled:
    def __init__(self, drifted: bool = False) -> None:
        self.source, self.woken, self.now = Source(), list[Key](), 0.0
        owner = {("ml", "fraud"): KEY}.get
        self.poll = DriftPoll(
            self.source, lambda *place: owner(place), lambda _: (None, drifted), self.woken.append, lambda: self.now
        )

    async def read(self, worst: float | None) -> list[Key]:
        """Those that it wakes."""
        self.source.readings = {} if worst is None else {("ml", "fraud"): reading(worst), ("ml", "gone"): reading(9)}
        self.woken.clear()
        await self.poll.poll()
        return list(self.woken)

    def says(self) -> bool | str:
        found = self.poll.about(KEY)
        return found.drifts if isinstance(found, Judgement) else found


async def test_a_resource_is_woken_when_there_is_something_else_to_tell() -> None:
    polled = Polled()
    assert polled.says() == "unanswered"
    assert (await polled.read(0.1), polled.says()) == ([KEY], False)
    assert (await polled.read(0.24), polled.says()) == ([], False)
    assert (await polled.read(0.3), polled.says()) == ([KEY], True)
    assert (await polled.read(0.22), polled.says()) == ([KEY], True), "much better, though not good yet"
    assert (await polled.read(0.24), polled.says()) == ([], True)
    assert (await polled.read(0.19), polled.says()) == ([KEY], False)
    assert (await polled.read(None), polled.says()) == ([KEY], "unmeasured")
    assert await polled.read(None) == []


async def test_a_new_process_goes_on_from_what_the_resource_says() -> None:
    polled = Polled(drifted=True)
    await polled.read(0.22)
    assert polled.says() is True


async def test_what_was_read_counts_for_a_while_without_prometheus(caplog: pytest.LogCaptureFixture) -> None:
    polled = Polled()
    await polled.read(0.4)
    polled.source.down = True
    with caplog.at_level(logging.INFO):
        for polled.now in (60.0, 120.0, PATIENCE_SECONDS):
            assert await polled.read(0.4) == []
            assert polled.says() is True
        polled.now = PATIENCE_SECONDS + 60
        assert (await polled.read(0.4), polled.says()) == ([KEY], "unmeasured")
        polled.source.down = False
        assert (await polled.read(0.4), polled.says()) == ([KEY], True)
    assert len(caplog.records) == 2, "away, and back: not once a period"


async def test_without_prometheus_nothing_is_known() -> None:
    poll = DriftPoll(None, lambda *_: KEY, lambda _: False, lambda _: None)
    await poll.poll()
    assert poll.about(KEY) == "unmeasured"


async def test_drift_reaches_the_status_and_changes_nothing_else() -> None:
    cluster, now = FakeCluster(), NOW
    cluster.put(MODEL_DEPLOYMENT, raw(replicas=1))
    controller = Controller(
        Settings(predictor_image="predictor:1", mlflow_tracking_uri="http://mlflow:5000"),
        cluster,
        FakeRegistry(RUNS, {}),
        None,
        FakePods(cluster),
        lambda: now,
    )
    source = Source()
    controller.drift._readings = source
    await controller.list_all()

    async def settled() -> dict[str, object]:
        for _ in range(20):
            while controller.queue.busy:
                key = await controller.queue.get()
                await controller.reconciler.reconcile(key)
                controller.queue.done(key)
            cluster.roll()
            cluster.run_pods()
            cluster.deliver(controller.observed)
        return dict(cluster.resource("fraud")["status"])

    before = await settled()
    writes = cluster.writes
    source.readings = {("ml", "fraud"): reading(0.41)}
    await controller.drift.poll()
    now += timedelta(minutes=1)
    after = await settled()
    assert cluster.writes == writes + 2, "the status, and one Event"
    assert cluster.news[-1]["reason"] == "DataDrifted"
    told = after.pop("conditions")
    assert isinstance(told, list)
    assert [found for found in told if found["type"] != "DataDrift"] == before.pop("conditions")
    assert after == before, "neither the roll-out nor readiness"
    assert next(found["message"] for found in told if found["type"] == "DataDrift").startswith("petal_width 0.41")
    source.readings = {("ml", "fraud"): reading(0.40)}
    await controller.drift.poll()
    await settled()
    assert cluster.writes == writes + 2
