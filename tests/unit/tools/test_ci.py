"""What `.ci/run` prints about time: stages beside their budgets."""

import json
import os
import time
from pathlib import Path

import pytest

from tools import budget, ci
from tools.tier_report import Outcome, PhaseOutcome, times_file
from tools.tiers import TIERS

TABLE = budget.load()


def test_every_stage_and_the_whole_have_a_budget() -> None:
    assert {*ci.STAGES, ci.WHOLE} == TABLE.stages.keys()


def test_a_warm_run_on_the_reference_machine_is_held_against_the_warm_figures() -> None:
    seconds = {"make lint": 50.0, "make test-cluster": 2000.0, ci.WHOLE: 2050.0}
    lines = ci.spent(TABLE, seconds, {"outages": 239.0, "alone": 500.0, "all": 3.0}, 0, 1)
    assert [line.title.strip() for line in lines] == [
        "make lint", "make test-cluster", "outages", "alone", ci.WHOLE,
    ]  # fmt: skip
    assert [line.title.strip() for line in lines if line.is_over] == ["make test-cluster", "alone", ci.WHOLE]
    assert lines[0].allowed == TABLE.stages["make lint"].warm


def test_a_bare_slow_machine_has_more_time_for_the_same() -> None:
    (line,) = ci.spent(TABLE, {ci.WHOLE: 4000.0}, {}, 1, 1.5)
    assert line.allowed == 1.5 * TABLE.stages[ci.WHOLE].bare
    assert not line.is_over


def test_over_budget_is_a_warning_that_names_the_stage() -> None:
    lines = ci.spent(TABLE, {"make lint": 9000.0, "make test": 1.0}, {}, 0, 1)
    (warning,) = ci.warnings(lines)
    assert warning.startswith("warning: over budget: make lint took 9000 s")


def test_the_last_line_adds_up_the_tiers_of_this_run_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ci, "STATE", tmp_path)
    for tier, detail in (("unit", "7 passed"), ("cluster", "3 passed, 1 failed, 1 error"), ("chart", "9 passed")):
        phases = (PhaseOutcome(TIERS[tier].phases[0].title, "passed", detail, 1),)
        (tmp_path / f"times-{tier}.json").write_text(json.dumps(times_file(Outcome(tier, phases))))
    os.utime(tmp_path / "times-chart.json", (1000, 1000))  # of an earlier run
    assert ci.total(ci.tier_times(since=2000)) == "10 passed, 2 failed"


def test_the_first_stage_that_fails_ends_the_run_and_the_cluster_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = list[str]()
    codes = {"make test": 2}

    def run_stage(stage: str) -> int:
        ran.append(stage)
        return codes.get(stage, 0)

    monkeypatch.setattr(ci, "run_stage", run_stage)
    seconds = dict[str, float]()
    assert ci.check(seconds) == 2
    assert ran == ["make setup", "make lint", "make test", "make down"]
    assert list(seconds) == ran[:-1]
    codes.clear()
    assert ci.check(seconds) == 0


def test_the_background_is_ended_with_all_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`nice` here starts a process that outlives its parent unless the whole group is ended."""
    child = tmp_path / "child"
    (tmp_path / "nice").write_text(f"#!/bin/sh\nsleep 300 & echo $! > {child}.new; mv {child}.new {child}; wait\n")
    (tmp_path / "nice").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(ci, "ROOT", tmp_path)
    monkeypatch.setattr(ci, "LOG", tmp_path / "prepare.log")
    with ci.preparation(["etcd"]):
        while not child.exists():
            time.sleep(0.01)
    pid = int(child.read_text())
    while (status := Path(f"/proc/{pid}/stat")).exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert "was still at work and was ended" in capsys.readouterr().out
