"""`.ci/run`: the whole check, each stage with its time beside a budget.

    python3 -m tools.ci

What the stages build and install once per machine is made by `tools.prepare` in the background, at lower priority,
from the first second. A stage over its budget (`tools/budget.toml`) is a warning at the end, never a failure; the first
stage that fails ends the run. The last line is the tests' `N passed, N failed`, over all tiers. Standard library only.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tools import budget, prepare
from tools.budget import Budget, Spent
from tools.cluster import ROOT, STATE, CommandError
from tools.localcluster.paths import LocalClusterError

STAGES = ("make setup", "make lint", "make test", "make test-cluster")
WHOLE = "whole run"
LOG = STATE / "prepare.log"
GRACE_SECONDS = 30


@contextmanager
def preparation(names: Sequence[str]) -> Iterator[None]:
    """Has `tools.prepare` at work meanwhile, in a process group of its own, and ends it. Prints what became of it.

    Not in a session of its own: Linux shares the processors out between sessions first (sched_autogroup), and its
    lower priority would count among its own processes only.
    """
    if not names:
        yield
        return
    print(f"ci: {LOG.relative_to(ROOT)} has the progress of {', '.join(names)}", flush=True)
    command = ["nice", "-n", "10", sys.executable, "-m", "tools.prepare", *prepare.USES]
    with LOG.open("w") as log:
        background = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0
        )
    try:
        yield
    finally:
        code = background.poll()
        if code is None:
            end(background)
        ended = {None: "was still at work and was ended", 0: "is done"}.get(code, f"failed with code {code}")
        print(f"\nci: the preparation in the background {ended}; see {LOG.relative_to(ROOT)}", flush=True)


def end(background: "subprocess.Popen[bytes]") -> None:
    """Ends the process and all below it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(background.pid, number)
        try:
            background.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


def run_stage(stage: str) -> int:
    """Runs a stage's command; returns its exit code."""
    print(f"\n━━ {stage} ({time.strftime('%T')})", flush=True)
    with subprocess.Popen(stage.split(), cwd=ROOT) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise


def tier_times(since: float) -> list[dict[str, Any]]:
    """What `tools.tiers` wrote about each tier that ran after that time."""
    files = [file for file in STATE.glob("times-*.json") if file.stat().st_mtime >= since]
    return [json.loads(file.read_text()) for file in files]


def spent(
    table: Budget, seconds: Mapping[str, float], phases: Mapping[str, float], missing: float, slowness: float
) -> list[Spent]:
    """Stages, the phases of the cluster tier behind theirs, and the whole run, each beside what it may take here."""
    lines = []
    for stage, taken in seconds.items():
        lines.append(Spent(stage, taken, table.stages[stage].allowed(missing, slowness)))
        if stage == "make test-cluster":
            lines += [
                Spent(f"  {title}", phases[title], allowance.allowed(missing, slowness))
                for title, allowance in table.phases.items()
                if title in phases
            ]
    return lines


def warnings(lines: Sequence[Spent]) -> list[str]:
    return [f"warning: over budget: {line.title.strip()} took {line.seconds:.0f} s, budget {line.allowed:.0f} s"
            for line in lines if line.is_over]  # fmt: skip


def total(tiers: Sequence[Mapping[str, Any]]) -> str:
    return f"{sum(tier['passed'] for tier in tiers)} passed, {sum(tier['failed'] for tier in tiers)} failed"


def load_average() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def check(seconds: dict[str, float]) -> int:
    """Runs the stages in order until one fails; adds the seconds of each to `seconds`. Takes the cluster away again."""
    try:
        for stage in STAGES:
            began = time.monotonic()
            try:
                code = run_stage(stage)
            finally:
                seconds[stage] = time.monotonic() - began
            if code:
                print(f"ci: {stage} ended with code {code}", flush=True)
                return code
        return 0
    finally:
        run_stage("make down")


def main() -> int:
    """0 all passed; else the exit code of the stage that failed."""
    os.environ["CI"] = "true"
    signal.signal(signal.SIGTERM, prepare.end_process)
    STATE.mkdir(exist_ok=True)
    since, began, load_before = time.time(), time.monotonic(), load_average()
    table = budget.load()
    calibration = budget.calibrate()
    slowness = budget.slowness(calibration, table)
    try:
        every = prepare.items(prepare.USES, prepare.look(os.environ.get("KUBERNETES_VERSION", "")))
        absent = prepare.missing(every)
    except (CommandError, LocalClusterError) as error:
        print(f"ci: {error}", file=sys.stderr)
        return 1
    missing = prepare.share(absent, every, table)
    print(f"ci: load average {load_before}; {missing:.0%} of what is built once is missing")
    print(
        f"ci: calibration {calibration:.1f} s: budgets are {slowness:.2f} times those of a {table.machine}", flush=True
    )
    seconds: dict[str, float] = {}
    code = 1
    try:
        with preparation([item.name for item in absent]):
            code = check(seconds)
    finally:
        tiers = tier_times(since)
        seconds[WHOLE] = time.monotonic() - began
        phases = {phase["title"]: phase["seconds"] for tier in tiers for phase in tier["phases"]}
        lines = spent(table, seconds, phases, missing, slowness)
        print("\n━━ time, and budget on this machine (tools/budget.toml)")
        print(*(f"  {line}" for line in lines), sep="\n")
        print(f"  load average at the start {load_before}, at the end {load_average()}")
        print(*warnings(lines), f"\n{total(tiers)}", sep="\n", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
