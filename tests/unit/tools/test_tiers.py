"""Tiers, their phases, and when a run counts as failed."""

from pathlib import Path

import pytest

from tools import tiers
from tools.localcluster import binaries
from tools.tier_report import FAIL, NOTHING_SELECTED, PASS, Outcome, PhaseOutcome
from tools.tiers import TIERS, Phase, Tier

ROOT = Path(__file__).parents[3]


def outcome(state: str) -> Outcome:
    return Outcome("unit", (PhaseOutcome("all", state, "", 1),))


def test_the_cluster_tier_ends_with_what_must_be_alone_and_then_with_the_logs() -> None:
    assert [phase.title for phase in TIERS["cluster"].phases] == ["side by side", "outages", "alone", "logs"]
    assert not TIERS["cluster"].phases[1].workers, "outages are never side by side"


def test_every_path_of_a_phase_is_in_one_phase_only() -> None:
    paths = [path for tier in TIERS.values() for phase in tier.phases for path in phase.paths]
    assert len(paths) == len(set(paths))


def test_workers_share_tests_by_group() -> None:
    assert Phase("x", ("tests/x",)).options() == ["tests/x"]
    assert Phase("x", ("tests/x",), workers=8).options() == ["tests/x", "-n", "8", "--dist", "loadgroup"]


def test_every_tier_names_programs_that_can_be_built() -> None:
    for tier in TIERS.values():
        assert set(tier.binaries) <= set(binaries.names())


@pytest.mark.parametrize(
    ("states", "ci", "failed"),
    [
        ([PASS, PASS], True, False),
        ([PASS, FAIL], False, True),
        ([PASS, NOTHING_SELECTED], True, False),
        ([NOTHING_SELECTED], False, True),
    ],
)
def test_a_run_fails_with_a_failed_tier_or_without_any_test(states: list[str], ci: bool, failed: bool) -> None:
    assert tiers.has_failed([outcome(state) for state in states], ci=ci) is failed


@pytest.mark.parametrize("ci", [True, False])
def test_a_tier_that_could_not_run_is_a_failure_in_ci_only(ci: bool) -> None:
    assert tiers.has_failed([Outcome("cluster", (), not_run="no Go")], ci=ci) is ci


def test_the_busy_share_is_between_two_readings() -> None:
    assert tiers.busy_share((100, 1000), (150, 1200)) == 0.25
    assert tiers.busy_share((0, 0), (0, 0)) == 0


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tier:
    """A tier of three phases, the first of which has a failure, in a directory of its own."""
    monkeypatch.setattr(tiers, "STATE", tmp_path)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:cacheprovider")
    bodies = {
        "fails": "import time\ndef test_red():\n    time.sleep(0.2)\n    assert not 'red'\ndef test_green(): pass\n",
        "passes": "def test_green(): pass\n",
    }
    for name, body in bodies.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"test_{name}.py").write_text(body)
    phases = tuple(
        Phase(title, (str(tmp_path / directory),), workers)
        for title, directory, workers in (("one", "fails", 2), ("two", "passes", 0))
    )
    return Tier("made-up", "nothing", 1, phases, needs_cluster=True)


def test_a_failure_in_one_phase_does_not_skip_the_next(made_up: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = tiers.run(made_up, [])
    assert [phase.state for phase in found.phases] == [FAIL, PASS]
    assert found.detail == "1 failed, 2 passed"
    slowest = found.phases[0].tests[0]
    assert slowest.test.endswith("test_red")
    assert slowest.seconds >= 0.2 > slowest.cpu_seconds  # it slept
    assert all(phase.seconds > 0 and phase.cpu_seconds > 0 for phase in found.phases)


def test_arguments_go_to_every_phase_and_an_empty_one_is_no_failure(
    made_up: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    found = tiers.run(made_up, ["-k", "red"])
    assert [phase.state for phase in found.phases] == [FAIL, NOTHING_SELECTED]
    assert found.phases[1].detail == "no test selected by -k red"
