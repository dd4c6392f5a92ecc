"""What is measured for which question, with pods and a Prometheus that answer as they are told to."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fairlead_operator.analysis import Analyst
from fairlead_operator.checks import Measurement, Pod, Question, Sample
from fairlead_operator.desired.access import Contact
from fairlead_operator.pods import AnswerError, PodError, UnreachableError
from fairlead_operator.prometheus import PrometheusError
from fairlead_operator.reports import Info, Predictions, Row, Samples
from fairlead_operator.store import Key
from tests.unit.operator.samples import NOW, RUNS
from tests.unit.operator.test_checks import QUESTION as STEP

KEY = Key("ml", "fraud")
CANDIDATE, SERVING = "10.0.0.2", "10.0.0.1"
DARK = replace(STEP, dark=True, min_requests=10)
EXAMPLE: tuple[Row, ...] = ((1.0, 2.0), (3.0, 4.0))


@dataclass
class FakePods:
    """A pod says `answers[ip]` to every row, or raises it."""

    answers: dict[str, Any]
    example: tuple[Row, ...] | None = EXAMPLE
    kept: Samples = field(default_factory=Samples)
    asked: list[tuple[str, Row]] = field(default_factory=list)
    seconds: float = 0.01

    async def info(self, ip: str, contact: Contact) -> Info:
        if isinstance(self.answers[ip], UnreachableError):
            raise self.answers[ip]
        return Info(RUNS[1], None, None, "classification", ("a", "b"), self.example)

    async def samples(self, ip: str, rows: int, contact: Contact) -> Samples:
        return self.kept

    async def predict(
        self, ip: str, rows: Sequence[Row], contact: Contact, columns: Sequence[str] | None = None
    ) -> Predictions:
        self.asked.append((ip, rows[0]))
        await asyncio.sleep(0)
        if isinstance(self.answers[ip], PodError):
            raise self.answers[ip]
        return Predictions(RUNS[1], (self.answers[ip],), self.seconds)

    def count(self, ip: str) -> int:
        return sum(asked == ip for asked, _ in self.asked)


@dataclass
class FakeTraffic:
    candidate: Sample = field(default_factory=lambda: Sample(1000, 0, 40.0))
    serving: Sample = field(default_factory=lambda: Sample(4000, 0, 30.0))
    error: str = ""

    async def sample(self, namespace: str, pods: Sequence[str], seconds: int) -> Sample:
        if self.error:
            raise PrometheusError(self.error)
        return self.candidate if pods[0].startswith("fraud-canary") else self.serving


async def measured(question: Question, pods: FakePods, traffic: FakeTraffic | None = None) -> Measurement:
    woken = asyncio.Event()
    analyst = Analyst(traffic, pods, lambda: NOW, lambda _: woken.set())
    analyst.ask(KEY, question)
    await woken.wait()
    answer = analyst.answer(KEY)
    assert answer is not None
    assert answer.question == question.id
    await analyst.close()
    return answer


def values(found: Measurement) -> dict[str, str | None]:
    return {check.name: check.value for check in found.checks}


async def test_in_the_dark_the_example_is_sent_to_both_as_often_as_is_asked() -> None:
    pods = FakePods({CANDIDATE: "yes", SERVING: "yes"})
    found = await measured(replace(DARK, max_disagreement_percent=5.0), pods)
    assert found.passed
    assert (pods.count(CANDIDATE), pods.count(SERVING)) == (10, 10)
    assert {row for _, row in pods.asked} == set(EXAMPLE)
    assert values(found)["disagreement"] == "0 %"


async def test_disagreeing_failing_and_slow_candidates_are_seen_in_the_dark() -> None:
    question = replace(DARK, max_disagreement_percent=5.0)
    assert values(await measured(question, FakePods({CANDIDATE: "no", SERVING: "yes"})))["disagreement"] == "100 %"
    failing = FakePods({CANDIDATE: AnswerError(500, "internal", "boom"), SERVING: "yes"})
    found = await measured(DARK, failing)
    assert found.failed
    assert values(found)["success"] == "0 % (serving: 100 %)"
    slow = await measured(replace(DARK, latency_milliseconds=5), FakePods({CANDIDATE: "yes", SERVING: "yes"}))
    assert slow.passed, "as slow as what serves"


async def test_a_serving_model_that_refuses_the_candidates_rows_is_no_worse_for_it() -> None:
    pods = FakePods({CANDIDATE: "yes", SERVING: AnswerError(422, "invalid-input", "3 features are expected")})
    assert (await measured(DARK, pods)).passed
    found = await measured(replace(DARK, max_disagreement_percent=5.0), pods)
    assert not found.failed
    assert "disagreement" in found.problem


async def test_pods_that_have_too_much_to_do_fail_on_either_side() -> None:
    shed = AnswerError(429, "overloaded", "too many", 1)
    found = await measured(DARK, FakePods({CANDIDATE: shed, SERVING: shed}))
    assert values(found)["success"] == "0 % (serving: 0 %)"
    assert not found.failed, "no worse than what serves"
    assert (await measured(DARK, FakePods({CANDIDATE: shed, SERVING: "yes"}))).failed


@pytest.mark.parametrize("kept", [(), ((9.0, 8.0),)])
async def test_without_an_example_recent_rows_will_do(kept: tuple[Row, ...]) -> None:
    pods = FakePods({CANDIDATE: "yes", SERVING: "yes"}, example=None, kept=Samples(kept, ("b", "a")))
    found = await measured(replace(DARK, replay_samples=5), pods)
    assert found.passed is bool(kept)
    if kept:
        assert {row for _, row in pods.asked} == {(8.0, 9.0)}, "in the candidate's order of features"
    else:
        assert "log it with one" in found.problem


@pytest.mark.parametrize(("width", "sent"), [(2, {(9.0, 8.0)}), (3, set())])
async def test_rows_without_names_are_sent_as_they_are_if_they_are_as_wide(width: int, sent: set[Row]) -> None:
    pods = FakePods(
        {CANDIDATE: "yes", SERVING: "yes"}, kept=Samples(((9.0, 8.0),) if width == 2 else ((1.0, 2.0, 3.0),))
    )
    await measured(replace(DARK, replay_samples=5), pods)
    assert {row for _, row in pods.asked} == {*EXAMPLE, *sent}


async def test_enough_requests_are_judged_by_what_prometheus_saw() -> None:
    pods = FakePods({CANDIDATE: "yes", SERVING: "yes"})
    found = await measured(STEP, pods, FakeTraffic())
    assert found.passed
    assert values(found)["latencyP95"] == "40 ms (serving: 30 ms)"
    assert pods.asked == []


async def test_too_few_requests_are_filled_up_by_replay() -> None:
    pods = FakePods({CANDIDATE: "yes", SERVING: "yes"})
    found = await measured(STEP, pods, FakeTraffic(candidate=Sample(20, 10, 900.0)))
    assert pods.count(CANDIDATE) == 30
    assert values(found)["success"] == "80 % (serving: 100 %)", "users' requests count, too"


async def test_disagreement_is_looked_for_however_much_traffic_there_is() -> None:
    pods = FakePods({CANDIDATE: "no", SERVING: "yes"})
    found = await measured(replace(STEP, max_disagreement_percent=5.0), pods, FakeTraffic())
    assert pods.count(CANDIDATE) == len(EXAMPLE)
    assert values(found)["disagreement"] == "100 %"


async def test_without_prometheus_a_step_with_traffic_cannot_be_judged() -> None:
    pods = FakePods({CANDIDATE: "yes", SERVING: "yes"})
    assert "FAIRLEAD_OPERATOR_PROMETHEUS_URL" in (await measured(STEP, pods)).problem
    down = await measured(STEP, pods, FakeTraffic(error="Prometheus does not answer"))
    assert (down.failed, down.passed, down.problem) == (False, False, "Prometheus does not answer")


async def test_pods_that_do_not_answer_are_no_verdict() -> None:
    gone = FakePods({CANDIDATE: UnreachableError("no answer"), SERVING: "yes"})
    found = await measured(DARK, gone)
    assert (found.failed, found.passed, found.problem) == (False, False, "no answer")


async def test_a_question_that_nobody_asks_any_more_is_dropped() -> None:
    pods = FakePods({CANDIDATE: "yes", SERVING: "yes"})
    woken: list[Key] = []
    analyst = Analyst(None, pods, lambda: NOW, woken.append)
    analyst.ask(KEY, DARK)
    analyst.ask(KEY, DARK)
    analyst.forget(KEY)
    await asyncio.sleep(0)
    assert (analyst.answer(KEY), woken) == (None, [])
    await analyst.close()


def test_pods_are_named_in_questions() -> None:
    assert Pod("fraud-canary-1", CANDIDATE) in STEP.candidate
