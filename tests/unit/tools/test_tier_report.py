"""What `make test` prints and writes at its end."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import tier_report
from tools.tier_report import FAIL, NOT_RUN, NOTHING_SELECTED, PASS, Outcome, PhaseOutcome, TestTime

SIDE_BY_SIDE = PhaseOutcome(
    "side by side", PASS, "7 passed, 1 skipped", 300, 90, (), (TestTime("a", 200, 20), TestTime("b", 40, 39))
)
OUTAGES = PhaseOutcome("outages", FAIL, "2 passed, 1 failed, 1 error", 100, 10, ("FAILED tests/x - why",))
CLUSTER = Outcome("cluster", (SIDE_BY_SIDE, OUTAGES), preparation_seconds=61, machine_busy=0.25)
UNIT = Outcome("unit", (PhaseOutcome("all", PASS, "2 passed", 50, 60, (), (TestTime("c", 90, 90),)),))


@pytest.mark.parametrize(
    ("output", "counts"),
    [
        ("=== 4 passed in 20.51s ===\n", "4 passed"),
        ("FAILED tests/x\n=== 1 failed, 3 passed, 2 skipped in 61.00s (0:01:01) ===\nwarning: 3 things\n",
         "1 failed, 3 passed, 2 skipped"),
        ("no tests ran in 0.14s\n", ""),
        ("ImportError\n", ""),
    ],
)  # fmt: skip
def test_the_counts_are_those_of_pytests_summary(output: str, counts: str) -> None:
    assert tier_report.summary(output) == counts


def test_phases_are_added_up_and_one_failure_fails_the_tier() -> None:
    assert CLUSTER.state == FAIL
    assert CLUSTER.detail == "9 passed, 1 skipped, 1 failed, 1 error"
    assert (CLUSTER.seconds, CLUSTER.cpu_seconds) == (400, 100)
    assert tier_report.total([CLUSTER, UNIT]) == "11 passed, 2 failed"


def test_a_phase_without_a_selected_test_does_not_fail_its_tier() -> None:
    empty = PhaseOutcome("alone", NOTHING_SELECTED, "no test selected by -k x", 3)
    assert Outcome("cluster", (empty, SIDE_BY_SIDE)).state == PASS
    assert Outcome("cluster", (empty, SIDE_BY_SIDE)).detail.endswith("; alone: no test selected by -k x")
    assert Outcome("cluster", (empty, empty)).state == NOTHING_SELECTED


def test_a_run_of_pytest_without_counts_shows_the_reason_and_hides_no_other_phase() -> None:
    broken = PhaseOutcome("outages", FAIL, "pytest ended with code 4, see log", 3)
    outcome = Outcome("cluster", (SIDE_BY_SIDE, broken))
    assert outcome.state == FAIL
    assert outcome.detail == "7 passed, 1 skipped; outages: pytest ended with code 4, see log"


def test_a_tier_that_could_not_run_shows_why() -> None:
    outcome = Outcome("cluster", (), 12, not_run="no Go")
    assert outcome.state == NOT_RUN
    assert any("not run" in line and "no Go" in line for line in tier_report.tier_lines([outcome]))
    assert tier_report.total([outcome]) == "0 passed, 0 failed"


def test_each_phase_has_a_line_with_its_time_and_each_test_that_did_not_pass() -> None:
    lines = "\n".join(tier_report.tier_lines([CLUSTER]))
    assert "side by side:    300 s  7 passed, 1 skipped" in lines
    assert "outages:         100 s" in lines
    assert "FAILED tests/x - why" in lines
    assert "preparation: 61 s" in lines
    assert "all:" not in "\n".join(tier_report.tier_lines([UNIT]))  # one phase needs no second line


def test_the_slowest_tests_of_all_tiers_are_in_one_list() -> None:
    lines = tier_report.time_lines([UNIT, CLUSTER])
    assert [line.split()[-1] for line in lines if line.endswith(("a", "b", "c"))] == ["a", "c", "b"]
    assert any("75% of 400 s; 100 s of processor time; the machine was 25% busy" in line for line in lines)
    assert any(line.split()[:3] == ["200.0", "s", "90%"] for line in lines)


def test_no_more_than_twenty_tests_are_listed_but_the_file_has_all() -> None:
    tests = tuple(TestTime(f"test_{number}", number, 0) for number in range(50))
    outcome = Outcome("unit", (PhaseOutcome("all", PASS, "50 passed", 1225, 1, (), tests),))
    assert sum("test_" in line for line in tier_report.time_lines([outcome])) == tier_report.SLOWEST
    written = json.loads(json.dumps(tier_report.times_file(outcome)))
    assert [one["test"] for one in written["tests"]] == [f"test_{number}" for number in reversed(range(50))]


def test_the_file_has_the_tier_and_its_phases() -> None:
    written = tier_report.times_file(CLUSTER)
    assert {key: written[key] for key in ("tier", "state", "passed", "failed", "waiting", "machine_busy")} == {
        "tier": "cluster", "state": FAIL, "passed": 9, "failed": 2, "waiting": 0.75, "machine_busy": 0.25,
    }  # fmt: skip
    assert [phase["title"] for phase in written["phases"]] == ["side by side", "outages"]


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_waiting_is_a_share(seconds: float, cpu_seconds: float) -> None:
    assert 0 <= tier_report.waiting(seconds, cpu_seconds) <= 1
