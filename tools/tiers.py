"""`make test` and `make test-cluster`: runs test tiers and says of each what became of it.

A tier whose needs the machine cannot meet is reported as not run, with the reason, never left out in silence; where
`CI` is set that is a failure.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

STATE = Path(".fairlead")
RESULT = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+)(?: in [\d.]+s)?", re.MULTILINE)
NOT_PASSED = re.compile(r"^(?:FAILED|ERROR|SKIPPED \[\d+\]) tests/.+", re.MULTILINE)
"""What pytest's summary says of a test that did not pass, with the first line of the reason."""


@dataclass(frozen=True)
class Tier:
    name: str
    proves: str
    seconds: int
    """About how long it takes; the long ones start first."""
    binaries: tuple[str, ...] = ()
    """Programs built from pinned Go modules that the tier starts."""
    needs_cluster: bool = False


TIERS = {
    tier.name: tier
    for tier in (
        Tier("unit", "pure functions, codecs, the plan of a roll-out", 60),
        Tier("integration", "the HTTP API and the children against a real MLflow", 180),
        Tier("chart", "what the charts render, with Helm 4 and 3", 30, ("helm", "helm3")),
        Tier(
            "controlplane",
            "CRD, apply, garbage collection, RBAC on a real API server",
            100,
            ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
        ),
        Tier("cluster", "roll-outs under load on real pods", 400, needs_cluster=True),
    )
}


@dataclass(frozen=True)
class Outcome:
    tier: Tier
    state: str
    """passed, failed or not run."""
    detail: str
    seconds: float
    not_passed: tuple[str, ...] = ()
    """The tests that failed or were skipped, and why, a line each."""


def prepare(tier: Tier) -> str | None:
    """Meets the tier's needs; returns the reason if that is not possible."""
    if tier.needs_cluster:
        return attempt(tier, [sys.executable, "-m", "tools.stack"])
    if tier.binaries:
        return attempt(tier, [sys.executable, "-m", "tools.localcluster", "binaries", *tier.binaries])
    return None


def attempt(tier: Tier, command: list[str]) -> str | None:
    """Runs a command, its progress shown; returns None, or the last line of what it said."""
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
    """Runs one tier's tests under coverage; every line they print is shown behind the tier's name."""
    say(tier, tier.proves)
    began = time.monotonic()
    reason = prepare(tier)
    if reason is not None:
        return Outcome(tier, "not run", reason, time.monotonic() - began)
    log = STATE / f"test-{tier.name}.log"
    covered = [] if tier.needs_cluster else ["coverage", "run", "-m"]  # in a cluster the code runs elsewhere
    command = [sys.executable, "-m", *covered, "pytest", f"tests/{tier.name}", *arguments]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        # Tests start a hundred Python programs; compiling what they import takes longer than all else that they do.
        "PYTHONPYCACHEPREFIX": str((STATE / "bytecode").absolute()),
        "COVERAGE_FILE": str((STATE / f"coverage-{tier.name}").absolute()),
    }
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        ) as tests,
        log.open("w") as copy,
    ):
        assert tests.stdout is not None
        for line in tests.stdout:
            say(tier, line.rstrip("\n"))
            copy.write(line)
    told = log.read_text()
    counts = RESULT.findall(told)
    detail = counts[-1].strip() if counts else f"pytest ended with code {tests.returncode}, see {log}"
    state = "failed" if tests.returncode else "passed"
    return Outcome(tier, state, detail, time.monotonic() - began, tuple(NOT_PASSED.findall(told)))


def say(tier: Tier, line: str) -> None:
    sys.stdout.write(f"{tier.name:>12} │ {line}\n")
    sys.stdout.flush()


def run_all(names: list[str], arguments: list[str]) -> list[Outcome]:
    """Runs the tiers, two at a time where there are two processors, the long ones first."""
    ordered = sorted((TIERS[name] for name in names), key=lambda tier: tier.seconds, reverse=True)
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda tier: run(tier, arguments), ordered))


def coverage(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "coverage", *arguments], check=False)


def report(outcomes: list[Outcome]) -> None:
    print("\n── tiers")
    for outcome in outcomes:
        print(f"  {outcome.tier.name:<13} {outcome.state:<8} {outcome.seconds:5.0f} s  {outcome.detail}")
        for line in outcome.not_passed:
            print(f"    {line}")
    asked = {outcome.tier.name for outcome in outcomes}
    for name in [name for name in TIERS if name not in asked]:
        target = "make test-cluster" if TIERS[name].needs_cluster else "make test"
        print(f"  {name:<13} not run           not asked for: {target} runs it")


def total(outcomes: list[Outcome]) -> str:
    """`N passed, N failed` over all tiers."""
    counted = [re.findall(r"(\d+) (passed|failed|error)", outcome.detail) for outcome in outcomes]
    sums = Counter[str]()
    for number, kind in (pair for pairs in counted for pair in pairs):
        sums["passed" if kind == "passed" else "failed"] += int(number)
    return f"{sums['passed']} passed, {sums['failed']} failed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiers", nargs="+", choices=list(TIERS), metavar="TIER", help=", ".join(TIERS))
    parser.add_argument("--pytest", default="", help="further arguments for pytest, in one string")
    options = parser.parse_args()
    STATE.mkdir(exist_ok=True)
    for old in STATE.glob("coverage*"):
        old.unlink()
    outcomes = run_all(options.tiers, options.pytest.split())
    if measured := [str(path) for path in STATE.glob("coverage-*")]:
        print("\n── coverage", flush=True)
        coverage("combine", "--quiet", *measured)
        coverage("report")
    report(outcomes)
    print(f"\n{total(outcomes)}")
    failed = any(outcome.state == "failed" for outcome in outcomes)
    missing = any(outcome.state == "not run" for outcome in outcomes)
    return 1 if failed or (missing and os.environ.get("CI")) else 0


if __name__ == "__main__":
    sys.exit(main())
