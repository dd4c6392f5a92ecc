"""Swapping models in running pods: step by step, and through any history of pods that fail, restart and come and go."""

import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_operator.api import ModelRef, Reason
from fairlead_operator.contract import FINAL_REASONS
from fairlead_operator.hotswap import POLL_SECONDS, RETRY_SECONDS, Failure, Load, Pod, Step, proceed, settle
from fairlead_operator.reports import FailedLoad, Info, Loading
from tests.examples import examples
from tests.unit.operator.samples import NOW, RUNS, model
from tests.unit.operator.servers import CORRUPT, FLAKY, GOOD, LOAD_TICKS, SLOW, FakeServer

OLD, NEW, THIRD = (
    model(run, model_name="fraud", model_version=str(version)) for version, run in enumerate(RUNS[:3], start=1)
)
DEADLINE = timedelta(seconds=60)


def info(serving: ModelRef = OLD, **more: Any) -> Info:
    return Info(serving.run_id, serving.model_name, serving.model_version, "classification", **more)


def pod(number: int, found: Info | None = None, silence: str = "") -> Pod:
    return Pod(f"fraud-{number}", f"10.0.0.{number}", found if found or silence else info(), silence)


def failed(reason: Reason, age: float = 0, of: ModelRef = NEW) -> FailedLoad:
    return FailedLoad(of.run_id, reason, "because", NOW - timedelta(seconds=age))


def names(step: Step) -> list[str]:
    return [load.pod for load in step.loads]


def trial(*pods: Pod, age: float | None = 20) -> Step:
    started_at = None if age is None else NOW - timedelta(seconds=age)
    return proceed(NEW, pods, started_at, NOW, DEADLINE)


def test_the_first_pod_goes_alone_and_then_a_quarter_at_a_time() -> None:
    pods = [pod(number) for number in range(8)]
    first = trial(*pods)
    assert first.loads == (Load("fraud-0", "10.0.0.0", NEW),)
    assert (first.done, first.record, first.check_after) == (False, False, POLL_SECONDS)
    pods[0] = pod(0, info(loading=Loading(NEW.run_id, "fetch")))
    assert names(trial(*pods)) == []
    pods[0] = pod(0, info(NEW))
    assert names(trial(*pods)) == ["fraud-1", "fraud-2"]
    pods[1] = pod(1, info(loading=Loading(NEW.run_id, "fetch")))
    assert names(trial(*pods)) == ["fraud-2"]
    assert trial(*pods).message == "1 of 8 pods have it"


def test_it_is_done_when_all_pods_report_it() -> None:
    assert not trial(pod(0, info(NEW)), pod(1)).done
    done = trial(pod(0, info(NEW)), pod(1, info(NEW)), age=1000)
    assert (done.done, done.record, done.failure, done.loads, done.check_after) == (True, True, None, (), None)


def test_another_version_of_the_same_run_is_not_it() -> None:
    renamed = info(replace_ref(NEW, model_version="9"))
    assert names(trial(pod(0, renamed))) == ["fraud-0"]


def replace_ref(reference: ModelRef, **changes: Any) -> ModelRef:
    return reference.model_copy(update=changes)


@pytest.mark.parametrize(
    ("reference", "uri", "serves"),
    [
        (model(), f"runs:/{RUNS[0]}/model", True),
        (model(), f"runs:/{RUNS[0]}/other", False),
        (model(), "models:/m-1", False),
        (model(), None, True),
        (OLD.model_copy(update={"model_uri": "models:/fraud/1"}), "models:/m-1", True),
        (model(RUNS[1]), f"runs:/{RUNS[0]}/model", False),
    ],
)
def test_what_a_pod_reports_is_held_to_what_was_asked(reference: ModelRef, uri: str | None, serves: bool) -> None:
    assert info(OLD, model_uri=uri).serves(reference) == serves


@pytest.mark.parametrize("reason", sorted(FINAL_REASONS))
def test_a_final_failure_ends_the_trial_at_once(reason: str) -> None:
    step = trial(pod(0, info(NEW)), pod(1, info(failed_load=failed(Reason(reason)))), pod(2))
    assert step.failure == Failure(Reason(reason), "pod fraud-1: because", "fraud-1")
    assert step.loads == ()


def test_a_failure_of_an_earlier_trial_or_of_another_model_is_not_charged() -> None:
    for found in (failed(Reason.MODEL_REFUSED, age=30), failed(Reason.MODEL_REFUSED, of=THIRD)):
        step = trial(pod(0, info(failed_load=found)))
        assert step.failure is None
        assert names(step) == ["fraud-0"]


def test_a_failure_that_may_pass_is_tried_again_until_the_deadline() -> None:
    flaky = info(failed_load=failed(Reason.TRACKING_SERVER_UNAVAILABLE, age=1))
    assert names(trial(pod(0, flaky))) == []
    assert "TrackingServerUnavailable: because" in trial(pod(0, flaky)).message
    rested = info(failed_load=failed(Reason.TRACKING_SERVER_UNAVAILABLE, age=RETRY_SECONDS))
    assert names(trial(pod(0, rested))) == ["fraud-0"]
    late = trial(pod(0, flaky), age=60)
    assert late.failure is not None
    assert late.failure.reason is Reason.PROGRESS_DEADLINE_EXCEEDED
    assert "0 of 1 pods have it; pod fraud-0: TrackingServerUnavailable: because" in late.failure.message


def test_a_pod_that_does_not_answer_is_not_done_and_not_asked() -> None:
    step = trial(pod(0, info(NEW)), pod(1, silence="no route to host"))
    assert (step.done, step.loads) == (False, ())
    assert step.message == "1 of 2 pods have it; pod fraud-1 does not answer: no route to host"


def test_with_no_pod_that_serves_new_ones_start_with_the_model() -> None:
    assert trial().record
    assert not trial().done
    assert trial(age=61).failure is not None


def test_suspended_nothing_is_loaded_and_no_clock_runs() -> None:
    step = trial(pod(0), age=None)
    assert (step.loads, step.failure, step.check_after) == ((), None, None)


def test_going_back_is_for_all_pods_at_once() -> None:
    pods = [
        pod(0, info(NEW, previous=OLD.run_id)),
        pod(1, info(loading=Loading(NEW.run_id, "prove"))),
        pod(2, info(failed_load=failed(Reason.MODEL_REFUSED))),
        pod(3, info(NEW, loading=Loading(OLD.run_id, "serve"))),
    ]
    back = settle(OLD, pods, NOW)
    assert sorted(names(back)) == ["fraud-0", "fraud-1"]
    assert (back.done, back.record, back.check_after) == (False, True, POLL_SECONDS)
    assert not settle(OLD, pods[1:2], NOW).done, "asking may fail"
    assert settle(OLD, [pod(0)], NOW) == Step(done=True, record=True, message="1 of 1 pods have it")


def test_what_serves_is_never_given_up() -> None:
    broken = [pod(0, info(NEW, failed_load=failed(Reason.MODEL_CORRUPT, of=OLD))), pod(1, silence="timed out")]
    step = settle(OLD, broken, NOW)
    assert (step.failure, step.loads, step.check_after) == (None, (), RETRY_SECONDS)
    assert names(settle(OLD, broken, NOW + timedelta(seconds=RETRY_SECONDS))) == ["fraud-0"]


# --- any history ---


@dataclass
class World:
    """Pods, and an operator that remembers no more than the resource's status and ConfigMap."""

    pods: dict[int, FakeServer]
    fates: dict[str, str]
    serving: ModelRef = OLD
    recorded: ModelRef = OLD
    wanted: ModelRef = OLD
    started_at: datetime | None = None
    rejected: set[str] = field(default_factory=set)
    now: datetime = NOW
    step: Step = field(default_factory=Step)

    def want(self, reference: ModelRef) -> None:
        self.wanted, self.started_at, self.rejected = reference, None, set()

    def reconcile(self) -> None:
        seen = [
            pod(number, found.report() if found.answers else None, "" if found.answers else "timed out")
            for number, found in sorted(self.pods.items())
        ]
        if self.wanted != self.serving and self.wanted.run_id not in self.rejected:
            self.started_at = self.started_at or self.now
            self.step = proceed(self.wanted, seen, self.started_at, self.now, DEADLINE)
            assert self.step == proceed(self.wanted, seen, self.started_at, self.now, DEADLINE)
            self.check(seen)
            if self.step.done:
                self.serving, self.started_at = self.wanted, None
            elif self.step.failure is not None:
                self.rejected, self.started_at = {self.wanted.run_id}, None
            self.recorded = self.wanted if self.step.record else self.serving
        if self.started_at is None:
            self.step = settle(self.serving, seen, self.now)
            self.recorded = self.serving
        for load in self.step.loads:
            self.pods[int(load.pod.removeprefix("fraud-"))].load(load.model)

    def check(self, seen: list[Pod]) -> None:
        """No more pods at once than a quarter, the first one alone; nobody is asked in vain."""
        there = [found for found in seen if found.info and found.info.serves(self.wanted)]
        asked = set(names(self.step)) - {found.name for found in there}
        busy = [f for f in seen if f.info and f.info.loading and f.info.loading.run_id == self.wanted.run_id]
        assert not asked & {found.name for found in busy}
        assert len(asked | {f.name for f in busy}) <= max(len(busy), math.ceil(len(seen) / 4) if there else 1)
        assert not (self.step.failure and self.step.loads)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += timedelta(seconds=1)
            for found in self.pods.values():
                if found.loading is not None:
                    found.tick(self.fates[found.loading.run_id], self.now)

    def settle(self) -> None:
        """Until nothing is left to do; time passes as the operator waits."""
        for _ in range(1000):
            self.reconcile()
            if self.step.check_after is None and not self.step.loads:
                return
            self.pass_time(math.ceil(self.step.check_after or 1))
        pytest.fail(f"it does not come to rest: {self.step}")


MODELS = {OLD.run_id: OLD, NEW.run_id: NEW, THIRD.run_id: THIRD}
EVENTS = st.one_of(
    st.tuples(st.just("want"), st.sampled_from([OLD, NEW, THIRD])),
    st.tuples(st.just("reconcile"), st.none()),
    st.tuples(st.just("time"), st.integers(1, 70)),
    st.tuples(st.just("restart"), st.integers(0, 9)),
    st.tuples(st.just("replace"), st.integers(0, 9)),
    st.tuples(st.just("silence"), st.integers(0, 9)),
    st.tuples(st.just("scale"), st.integers(0, 9)),
    st.tuples(st.just("operator"), st.none()),
)
FATES = st.fixed_dictionaries(
    {OLD.run_id: st.just(GOOD), NEW.run_id: st.sampled_from([GOOD, CORRUPT, FLAKY, SLOW]), THIRD.run_id: st.just(GOOD)}
)


def happen(world: World, event: str, value: Any) -> None:
    match event:
        case "want":
            world.want(value)
        case "reconcile":
            world.reconcile()
        case "time":
            world.pass_time(value)
        case "restart" if value in world.pods:
            world.pods[value].restart()
        case "replace" if value in world.pods:
            world.pods[value] = FakeServer(world.recorded)
        case "silence" if value in world.pods:
            world.pods[value].answers = not world.pods[value].answers
        case "scale":
            kept = {number: found for number, found in world.pods.items() if number < value}
            world.pods = {number: FakeServer(world.recorded) for number in range(value)} | kept
        case "operator":
            world.step = Step()


def lived(pods: int, fates: dict[str, str], history: list[tuple[str, Any]]) -> World:
    world = World({number: FakeServer(OLD) for number in range(pods)}, fates)
    for event, value in history:
        happen(world, event, value)
    for found in world.pods.values():
        found.answers = True
    if not world.pods:
        world.pods = {0: FakeServer(world.recorded)}
    return world


@given(st.integers(0, 9), FATES, st.lists(EVENTS, max_size=30))
@settings(max_examples=examples(500))
def test_any_history_ends_with_one_model_in_all_pods(pods: int, fates: dict[str, str], history: list[Any]) -> None:
    world = lived(pods, fates, history)
    world.settle()
    assert {found.serving.run_id for found in world.pods.values()} == {world.serving.run_id}
    assert all(found.loading is None for found in world.pods.values())
    assert world.recorded == world.serving
    assert world.serving == world.wanted or world.wanted.run_id in world.rejected
    before = replace(world.step)
    world.reconcile()
    assert (world.step, world.step.loads) == (before, ())


@given(st.integers(1, 9), st.sampled_from([GOOD, FLAKY]), st.lists(EVENTS, max_size=30))
@settings(max_examples=examples(200))
def test_a_good_model_serves_in_the_end(pods: int, fate: str, history: list[Any]) -> None:
    world = lived(pods, {OLD.run_id: GOOD, NEW.run_id: fate, THIRD.run_id: GOOD}, history)
    world.want(NEW)
    world.settle()
    assert world.serving == NEW
    assert world.rejected == set()


@given(st.integers(1, 9), st.sampled_from([CORRUPT, SLOW]))
def test_a_bad_model_reaches_no_pod_and_is_rejected(pods: int, fate: str) -> None:
    world = lived(pods, {OLD.run_id: GOOD, NEW.run_id: fate}, [("want", NEW)])
    started = world.now
    world.settle()
    assert world.rejected == {NEW.run_id}
    assert world.serving == OLD
    assert world.now - started <= (DEADLINE if fate == SLOW else timedelta(seconds=LOAD_TICKS)) + timedelta(seconds=5)


def test_a_model_that_breaks_on_one_node_only_is_taken_back_from_all() -> None:
    world = World({number: FakeServer(OLD) for number in range(4)}, {OLD.run_id: GOOD, NEW.run_id: GOOD})
    world.want(NEW)
    while world.pods[1].serving != NEW:
        world.reconcile()
        world.pass_time(1)
    world.fates[NEW.run_id] = CORRUPT
    world.settle()
    assert world.rejected == {NEW.run_id}
    assert [found.serving for found in world.pods.values()] == [OLD] * 4
    assert world.pods[0].previous == NEW, "it went back without loading"
