"""`make test` and `make test-cluster`: runs test tiers and prints the result of each.

A tier is a sequence of phases, each one run of pytest. A failure in one phase does not skip the next. A tier whose
needs the machine cannot meet is reported as not run, with the reason; where `CI` is set that is a failure.

Every run ends with the slowest tests and with how much of the time was waiting. `.fairlead/times-TIER.json` has the
same for all tests (`tools.tier_report.times_file`).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tools import tier_report
from tools.localcluster import binaries
from tools.localcluster.paths import cache
from tools.tier_report import FAIL, NOT_RUN, NOTHING_SELECTED, PASS, Outcome, PhaseOutcome, TestTime

STATE = Path(".fairlead")
NO_TESTS_COLLECTED = 5
"""pytest's exit code when no test was selected."""


@dataclass(frozen=True)
class Phase:
    """One run of pytest."""

    title: str
    paths: tuple[str, ...]
    workers: int = 0
    """Processes that run tests side by side (pytest-xdist); 0 runs them one after another in pytest itself."""

    def options(self) -> list[str]:
        side_by_side = ["-n", str(self.workers), "--dist", "loadgroup"] if self.workers else []
        return [*self.paths, *side_by_side]


@dataclass(frozen=True)
class Tier:
    """Tests with the same needs."""

    name: str
    proves: str
    seconds: int
    """About how long it takes; the long ones start first."""
    phases: tuple[Phase, ...]
    binaries: tuple[str, ...] = ()
    """Programs built from pinned Go modules that the tier starts."""
    needs_cluster: bool = False
    niceness: int = 0
    """Of a tier that only computes: it takes the processor time that tiers which wait leave over."""


def single(name: str, workers: int = 0) -> tuple[Phase, ...]:
    return (Phase("all", (f"tests/{name}",), workers),)


CLUSTER_PHASES = (
    Phase("side by side", ("tests/cluster/parallel",), workers=5),
    Phase("outages", ("tests/cluster/outages",)),
    Phase("alone", ("tests/cluster/alone",), workers=2),
    Phase("logs", ("tests/cluster/last",)),
)
"""Tests that disturb nothing else; tests that take a dependency away; two tests of scaling, in pods that together have
less than the machine's processors; the form of all log lines that the others caused."""

TIERS = {
    tier.name: tier
    for tier in (
        Tier("unit", "pure functions, codecs, the plan of a roll-out", 60, single("unit"), niceness=5),
        Tier(
            "integration",
            "the HTTP API and the children against a real MLflow",
            180,
            single("integration", workers=2),
            ("versitygw",),
        ),
        Tier(
            "chart",
            "what the charts render, with Helm 4 and 3",
            30,
            single("chart"),
            ("helm", "helm3", "promtool"),
            niceness=5,
        ),
        Tier(
            "controlplane",
            "CRD, apply, garbage collection, RBAC on a real API server",
            100,
            single("controlplane"),
            (*binaries.CONTROL_PLANE, "kubectl"),
        ),
        Tier("cluster", "roll-outs under load on real pods", 1000, CLUSTER_PHASES, needs_cluster=True),
    )
}


def is_prepared(tier: Tier) -> bool:
    """Whether the tier's programs are built. A cluster is always looked at."""
    return not tier.needs_cluster and all(path.exists() for path in binaries.locate(tier.binaries).values())


def prepare(tier: Tier) -> str | None:
    """Meets the tier's needs; returns the reason if that is not possible."""
    if tier.needs_cluster:
        return attempt(tier, [sys.executable, "-m", "tools.stack"])
    if not is_prepared(tier):
        return attempt(tier, [sys.executable, "-m", "tools.localcluster", "binaries", *tier.binaries])
    return None


def attempt(tier: Tier, command: list[str]) -> str | None:
    """Runs a command and shows its progress; returns None, or the last line that it printed."""
    lines: deque[str] = deque(maxlen=1)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(tier, line.rstrip("\n"))
            lines.extend([line.strip()] if line.strip() else [])
    if process.returncode == 0:
        return None
    return lines[0] if lines else f"{' '.join(command[1:])} ended with code {process.returncode}"


def run(tier: Tier, arguments: list[str]) -> Outcome:
    """Runs a prepared tier, phase by phase."""
    say(tier, tier.proves)
    before = machine_jiffies()
    phases = tuple(run_phase(tier, phase, arguments) for phase in tier.phases)
    return Outcome(tier.name, phases, machine_busy=busy_share(before, machine_jiffies()))


def run_phase(tier: Tier, phase: Phase, arguments: list[str]) -> PhaseOutcome:
    """Runs one phase's tests, under coverage if `COVERAGE` is set; shows every line that they print."""
    if len(tier.phases) > 1:
        say(tier, f"── {phase.title}{f', {phase.workers} workers' if phase.workers else ''}")
    stem = tier.name if len(tier.phases) == 1 else f"{tier.name}-{phase.title.replace(' ', '-')}"
    log, times = STATE / f"test-{stem}.log", STATE / f"test-{stem}.times"
    measures_coverage = os.environ.get("COVERAGE") and not tier.needs_cluster  # in a cluster the code runs elsewhere
    covered = ["coverage", "run", "-m"] if measures_coverage else []
    measured = ["-p", "tools.pytest_times", "--test-times", str(times)]
    nice = ["nice", "-n", str(tier.niceness)] if tier.niceness else []
    command = [*nice, sys.executable, "-m", *covered, "pytest", *measured, *phase.options(), *arguments]
    began = time.monotonic()
    code, cpu_seconds = stream(tier, command, log)
    seconds = time.monotonic() - began
    output = log.read_text()
    detail = tier_report.summary(output) or f"pytest ended with code {code}, see {log}"
    if code == NO_TESTS_COLLECTED and arguments:
        state, detail = NOTHING_SELECTED, f"no test selected by {' '.join(arguments)}"
    else:
        state = FAIL if code else PASS
    not_passed = tuple(tier_report.NOT_PASSED.findall(output))
    return PhaseOutcome(phase.title, state, detail, seconds, cpu_seconds, not_passed, read_times(times))


def stream(tier: Tier, command: list[str], log: Path) -> tuple[int, float]:
    """Runs a command, its lines shown and copied to `log`; returns its exit code and the processor seconds of it and
    of all processes below it that it has waited for."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        # Tests start a hundred Python programs; compiling what they import takes longer than all else that they do. A
        # fresh clone at the same place finds the libraries compiled: their files keep the time they have in uv's cache.
        "PYTHONPYCACHEPREFIX": str(cache() / "bytecode"),
        "COVERAGE_FILE": str((STATE / f"coverage-{tier.name}").absolute()),
    }
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        ) as process,
        log.open("w") as copy,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            say(tier, line.rstrip("\n"))
            copy.write(line)
        _, status, usage = os.wait4(process.pid, 0)  # Popen.wait has no resource usage
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def read_times(file: Path) -> tuple[TestTime, ...]:
    """What `tools.pytest_times` wrote, and removes it; nothing if pytest did not get that far."""
    if not file.exists():
        return ()
    times = json.loads(file.read_text())
    file.unlink()
    return tuple(TestTime(**one) for one in times)


def machine_jiffies() -> tuple[int, int]:
    """(busy, all) ticks of all processors since boot; (0, 0) where there is no /proc."""
    try:
        fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return (0, 0)
    return sum(fields) - fields[3] - fields[4], sum(fields)  # without idle and iowait


def busy_share(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Share of the machine's processor time that was used between two readings of `machine_jiffies`."""
    every = after[1] - before[1]
    return (after[0] - before[0]) / every if every > 0 else 0.0


def say(tier: Tier, line: str) -> None:
    sys.stdout.write(f"{tier.name:>12} │ {line}\n")
    sys.stdout.flush()


def run_all(names: list[str], arguments: list[str]) -> list[Outcome]:
    """Runs the tiers side by side where there are two processors, else one by one, the long ones first. A tier whose
    programs have to be built waits for them without keeping another from running."""
    ordered = sorted((TIERS[name] for name in names), key=lambda tier: tier.seconds, reverse=True)
    with (
        ThreadPoolExecutor(max_workers=len(ordered) if (os.cpu_count() or 1) > 1 else 1) as runners,
        ThreadPoolExecutor(max_workers=len(ordered)) as builders,
    ):

        def prepare_and_run(tier: Tier) -> Outcome:
            began = time.monotonic()
            reason = prepare(tier)
            seconds = time.monotonic() - began
            if reason is not None:
                return Outcome(tier.name, (), seconds, not_run=reason)
            return replace(runners.submit(run, tier, arguments).result(), preparation_seconds=seconds)

        started: list[Future[Outcome]] = [
            runners.submit(run, tier, arguments) if is_prepared(tier) else builders.submit(prepare_and_run, tier)
            for tier in ordered
        ]
        return [one.result() for one in started]


def coverage(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "coverage", *arguments], check=False)


def report(outcomes: Sequence[Outcome]) -> None:
    print("\n── tiers")
    for line in tier_report.tier_lines(outcomes):
        print(line)
    asked = {outcome.tier for outcome in outcomes}
    for name in [name for name in TIERS if name not in asked]:
        target = "make test-cluster" if TIERS[name].needs_cluster else "make test"
        print(f"  {name:<13} not run           not asked for: {target} runs it")
    for line in tier_report.time_lines(outcomes):
        print(line)
    print(f"\n{tier_report.total(outcomes)}")


def has_failed(outcomes: Sequence[Outcome], *, ci: bool) -> bool:
    """A failed tier, a tier that could not run where `ci` is set, or not one test selected in any tier."""
    states = {outcome.state for outcome in outcomes}
    nothing_selected = NOTHING_SELECTED in states and PASS not in states
    return FAIL in states or (ci and NOT_RUN in states) or nothing_selected


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiers", nargs="+", choices=list(TIERS), metavar="TIER", help=", ".join(TIERS))
    parser.add_argument("--pytest", default="", help="further arguments for pytest, in one string, for every phase")
    options = parser.parse_args()
    STATE.mkdir(exist_ok=True)
    for old in STATE.glob("coverage*"):
        old.unlink()
    outcomes = run_all(options.tiers, options.pytest.split())
    for outcome in outcomes:
        file = STATE / f"times-{outcome.tier}.json"
        file.write_text(json.dumps(tier_report.times_file(outcome), indent=1))
    if measured := [str(path) for path in STATE.glob("coverage-*")]:
        print("\n── coverage", flush=True)
        coverage("combine", "--quiet", *measured)
        coverage("report")
    report(outcomes)
    return 1 if has_failed(outcomes, ci="CI" in os.environ) else 0


if __name__ == "__main__":
    sys.exit(main())
