"""The file of budgets, and how it is scaled."""

import time

from hypothesis import given
from hypothesis import strategies as st

from tools import budget
from tools.budget import Allowance, Spent
from tools.tiers import TIERS

TABLE = budget.load()
seconds = st.floats(0, 10_000)


def test_a_whole_warm_run_has_25_minutes_and_a_bare_one_an_hour() -> None:
    assert TABLE.stages["whole run"] == Allowance(1500, 3600)
    assert TABLE.stages["make test"].warm == 300
    assert TABLE.stages["make test-cluster"].warm == 960


def test_the_stages_of_a_warm_run_fit_into_it() -> None:
    stages = {name: one for name, one in TABLE.stages.items() if name != "whole run"}
    assert sum(one.warm for one in stages.values()) <= TABLE.stages["whole run"].warm
    assert sum(one.warm for one in TABLE.phases.values()) <= TABLE.stages["make test-cluster"].warm
    assert all(one.warm <= one.bare for one in TABLE.stages.values())


def test_every_phase_of_the_cluster_tier_has_a_budget() -> None:
    assert list(TABLE.phases) == [phase.title for phase in TIERS["cluster"].phases]


@given(warm=seconds, more=seconds, missing=st.floats(0, 1), slowness=st.floats(1, 10))
def test_what_is_allowed_grows_with_what_is_missing_and_with_slowness(
    warm: float, more: float, missing: float, slowness: float
) -> None:
    allowance = Allowance(warm, warm + more)
    assert allowance.allowed(0, 1) == warm
    assert allowance.allowed(1, 2) == 2 * (warm + more)
    assert allowance.allowed(missing, slowness) >= warm * (1 - 1e-9)


def test_a_fast_machine_has_no_less_time() -> None:
    assert budget.slowness(TABLE.calibration_seconds / 4, TABLE) == 1
    assert budget.slowness(TABLE.calibration_seconds * 2, TABLE) == 2


def test_only_what_takes_longer_is_over_budget() -> None:
    assert not Spent("make lint", 120, 120).is_over
    late = Spent("make lint", 130, 120)
    assert late.is_over
    assert str(late).split() == ["make", "lint", "130", "s", "of", "120", "s", "OVER", "BUDGET"]


def test_durations_are_in_minutes() -> None:
    assert [budget.about(one) for one in (5, 62, 100, 840)] == [
        "about a minute", "about a minute", "about 2 minutes", "about 14 minutes",
    ]  # fmt: skip


def test_the_calibration_measures_a_little_work() -> None:
    began = time.monotonic()
    assert 0 < budget.calibrate() <= time.monotonic() - began
