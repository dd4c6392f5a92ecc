"""Comparisons of a candidate with the thresholds and with what serves."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from fairlead_operator.checks import (
    Evidence,
    Measurement,
    Pod,
    Question,
    Sample,
    chance,
    disagreement,
    judge,
    percentile,
)
from fairlead_operator.desired.access import Contact
from tests.unit.operator.samples import NOW

QUESTION = Question(
    id="q",
    namespace="ml",
    candidate=(Pod("fraud-canary-1", "10.0.0.2"),),
    serving=(Pod("fraud-1", "10.0.0.1"),),
    dark=False,
    window_seconds=60,
    min_requests=50,
    replay_samples=0,
    contact=Contact(),
    latency_milliseconds=250,
    success_percent=99.5,
    max_disagreement_percent=None,
)
GOOD = Sample(1000, 0, 40.0)


def judged(
    candidate: Sample | None, serving: Sample | None, apart: float | None = None, **terms: object
) -> Measurement:
    return judge(replace(QUESTION, **terms), Evidence(candidate, serving, apart), NOW)


def outcome(found: Measurement) -> dict[str, bool | None]:
    return {check.name: check.ok for check in found.checks}


def test_good_passes() -> None:
    found = judged(GOOD, GOOD)
    assert found.passed
    assert outcome(found) == {"success": True, "latencyP95": True}


@pytest.mark.parametrize(
    ("candidate", "failing"),
    [(Sample(1000, 50, 40.0), "success"), (Sample(1000, 0, 812.0), "latencyP95")],
)
def test_worse_than_the_threshold_and_than_what_serves_fails(candidate: Sample, failing: str) -> None:
    found = judged(candidate, GOOD)
    assert found.failed
    assert [name for name, ok in outcome(found).items() if ok is False] == [failing]


@pytest.mark.parametrize("candidate", [Sample(1000, 50, 40.0), Sample(1000, 0, 812.0)])
def test_a_slow_or_broken_surrounding_does_not_condemn_a_good_model(candidate: Sample) -> None:
    assert judged(candidate, candidate).passed
    assert judged(candidate, Sample(1000, 60, 900.0)).passed


def test_values_are_said_beside_those_of_what_serves() -> None:
    found = judged(Sample(1000, 0, 812.0), Sample(1000, 0, 90.0))
    latency = next(check for check in found.checks if check.name == "latencyP95")
    assert (latency.value, latency.threshold) == ("812 ms (serving: 90 ms)", "at most 250 ms")


@pytest.mark.parametrize(("candidate", "problem"), [(None, "success, latencyP95"), (Sample(0, 0, None), "success")])
def test_no_data_is_neither_good_nor_bad(candidate: Sample | None, problem: str) -> None:
    found = judged(candidate, GOOD)
    assert not found.failed
    assert not found.passed
    assert problem in found.problem


def test_without_a_serving_sample_the_threshold_alone_decides() -> None:
    assert judged(GOOD, None).passed
    assert judged(Sample(100, 50, 40.0), None).failed


def test_without_slo_success_is_asked_for_and_latency_is_not() -> None:
    found = judged(Sample(100, 5, 9000.0), GOOD, success_percent=None, latency_milliseconds=None)
    assert outcome(found) == {"success": False}
    assert judged(Sample(100, 2, 9000.0), GOOD, success_percent=None, latency_milliseconds=None).passed


@pytest.mark.parametrize(("apart", "ok"), [(4.9, True), (5.0, True), (5.1, False), (None, None)])
def test_disagreement_is_compared_where_it_is_asked_for(apart: float | None, ok: bool | None) -> None:
    assert outcome(judged(GOOD, GOOD, apart, max_disagreement_percent=5.0))["disagreement"] is ok
    assert "disagreement" not in outcome(judged(GOOD, GOOD, apart))


def test_one_unlucky_request_is_no_verdict_and_many_are() -> None:
    assert judged(Sample(50, 1, 40.0), GOOD).passed
    assert judged(Sample(50, 2, 40.0), GOOD).failed
    assert judged(Sample(10_000, 55, 40.0), GOOD).passed, "0.55 % where 0.5 % is allowed"
    assert judged(Sample(10_000, 100, 40.0), GOOD).failed
    assert judged(Sample(50, 1, 40.0), GOOD, success_percent=100.0).failed


@pytest.mark.parametrize(("requests", "excused"), [(50, 380.0), (400, 329.0), (10_000, 305.0)])
def test_a_little_slower_is_no_verdict_and_how_little_depends_on_how_much_was_seen(
    requests: int, excused: float
) -> None:
    assert judged(Sample(requests, 0, excused), Sample(1000, 0, 300.0)).passed
    assert judged(Sample(requests, 0, 1.05 * excused), Sample(1000, 0, 300.0)).failed


@given(st.integers(1, 400), st.integers(0, 400), st.floats(0, 1))
def test_the_chance_is_scipys(requests: int, failed: int, share: float) -> None:
    failed = min(failed, requests)
    expected = float(binom.sf(failed - 1, requests, share))
    assert chance(Sample(requests, failed, None), share) == pytest.approx(expected, abs=1e-9)


counts = st.integers(0, 1000)
samples = st.builds(
    lambda requests, failed, p95: Sample(requests, min(requests, failed), p95),
    counts,
    counts,
    st.one_of(st.none(), st.floats(0.1, 1e5)),
)


@given(samples, samples)
def test_a_candidate_that_is_no_worse_in_anything_never_fails(candidate: Sample, serving: Sample) -> None:
    better = (candidate.success_percent or 0) >= (serving.success_percent or 0)
    faster = (candidate.p95_milliseconds or math.inf) <= (serving.p95_milliseconds or math.inf)
    if better and faster and serving.success_percent is not None and serving.p95_milliseconds is not None:
        assert not judged(candidate, serving).failed


@given(samples, st.one_of(st.none(), samples))
def test_passing_needs_every_value(candidate: Sample, serving: Sample | None) -> None:
    found = judged(candidate, serving)
    assert not (found.passed and found.failed)
    if found.passed:
        assert all(check.value is not None for check in found.checks)


def test_classes_differ_or_do_not() -> None:
    assert disagreement([("a",), ("b",)], [("a",), ("c",)], classes=True) == 50.0
    assert disagreement([], [], classes=True) is None


def test_numbers_differ_relatively() -> None:
    assert disagreement([(110.0,), (0.0,)], [(100.0,), (0.0,)], classes=False) == pytest.approx(5.0)
    assert disagreement([(1.0,)], [(0.0,)], classes=False) == 100.0
    assert disagreement([(math.nan,)], [(1.0,)], classes=False) == 100.0


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
