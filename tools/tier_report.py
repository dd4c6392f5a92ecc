"""What `tools.tiers` prints and writes about tiers that ran. Pure: from what was measured to lines of text.

"Waiting" is wall time minus processor time, and never below zero: a lower bound where processes compute side by side.
It includes waiting for a processor that something else uses, which is why the machine's busy share is beside it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SUMMARY = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+)(?: in [\d.]+s)?", re.MULTILINE)
NOT_PASSED = re.compile(r"^(?:FAILED|ERROR|SKIPPED \[\d+\]) tests/.+", re.MULTILINE)
"""The line of pytest's summary about a test that did not pass, with the first line of the reason."""
SLOWEST = 20
FAILED = ("failed", "error", "errors")

PASS, FAIL, NOT_RUN, NOTHING_SELECTED = "passed", "failed", "not run", "no tests"


@dataclass(frozen=True)
class TestTime:
    """One test: wall seconds of setup, call and teardown, and the processor seconds in them."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    test: str
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class PhaseOutcome:
    """One run of pytest."""

    title: str
    state: str
    detail: str
    """Its counts (`3 passed, 1 skipped`), or why there are none."""
    seconds: float
    cpu_seconds: float = 0.0
    """Of pytest and all processes below it that have ended."""
    not_passed: tuple[str, ...] = ()
    tests: tuple[TestTime, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One tier, all its phases."""

    tier: str
    phases: tuple[PhaseOutcome, ...]
    preparation_seconds: float = 0.0
    """Until the programs or the cluster that it needs were there."""
    machine_busy: float = 0.0
    """Share of the machine's processor time, 0 to 1, that anything used while the tests ran."""
    not_run: str = ""
    """Why the tier could not run."""

    @property
    def state(self) -> str:
        if self.not_run:
            return NOT_RUN
        states = {phase.state for phase in self.phases}
        return next((state for state in (FAIL, PASS) if state in states), NOTHING_SELECTED)

    @property
    def detail(self) -> str:
        """The counts of all phases, and why a phase has none."""
        if self.not_run or len(self.phases) == 1:
            return self.not_run or self.phases[0].detail
        without = [f"{phase.title}: {phase.detail}" for phase in self.phases if not counts([phase.detail])]
        return "; ".join(filter(None, [describe(counts(phase.detail for phase in self.phases)), *without]))

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def cpu_seconds(self) -> float:
        return sum(phase.cpu_seconds for phase in self.phases)


def summary(output: str) -> str:
    """pytest's own counts, from the end of its output; empty if there are none."""
    found = SUMMARY.findall(output)
    return str(found[-1]).strip() if found else ""


def counts(details: Iterable[str]) -> Counter[str]:
    """`{"passed": 3, "skipped": 1}` from texts as `3 passed, 1 skipped`, added up."""
    sums = Counter[str]()
    for detail in details:
        for number, kind in re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)\b", detail):
            sums[kind] += int(number)
    return sums


def describe(found: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in found.items() if number)


def total(outcomes: Iterable[Outcome]) -> str:
    """`N passed, N failed` over all tiers; an error counts as failed."""
    found = counts(phase.detail for outcome in outcomes for phase in outcome.phases)
    return f"{found['passed']} passed, {sum(found[kind] for kind in FAILED)} failed"


def waiting(seconds: float, cpu_seconds: float) -> float:
    """Share of the wall time, 0 to 1, without processor time."""
    return max(0.0, 1 - cpu_seconds / seconds) if seconds > 0 else 0.0


def tier_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """The result of every tier, of its phases where it has several, and of each test that did not pass."""
    lines = []
    for outcome in outcomes:
        lines.append(f"  {outcome.tier:<13} {outcome.state:<8} {outcome.seconds:5.0f} s  {outcome.detail}")
        if outcome.preparation_seconds >= 1:
            lines.append(f"    preparation: {outcome.preparation_seconds:.0f} s")
        for phase in outcome.phases:
            if len(outcome.phases) > 1:
                lines.append(f"    {phase.title + ':':<14} {phase.seconds:5.0f} s  {phase.detail}")
            lines += [f"    {line}" for line in phase.not_passed]
    return lines


def time_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """The share of waiting per tier, and the slowest tests of all tiers."""
    ran = [outcome for outcome in outcomes if outcome.phases]
    lines = ["", "── waiting (wall time without processor time)"]
    for outcome in ran:
        share = waiting(outcome.seconds, outcome.cpu_seconds)
        lines.append(
            f"  {outcome.tier:<13} {share:4.0%} of {outcome.seconds:.0f} s; {outcome.cpu_seconds:.0f} s of processor "
            f"time; the machine was {outcome.machine_busy:.0%} busy"
        )
    slowest = slowest_tests(ran)[:SLOWEST]
    if slowest:
        lines += ["", f"── slowest {len(slowest)} tests (seconds, share of waiting)"]
    lines += [f"  {one.seconds:6.1f} s  {waiting(one.seconds, one.cpu_seconds):4.0%}  {one.test}" for one in slowest]
    return lines


def slowest_tests(outcomes: Iterable[Outcome]) -> list[TestTime]:
    """All tests of all tiers, the slowest first."""
    every = [test for outcome in outcomes for phase in outcome.phases for test in phase.tests]
    return sorted(every, key=lambda one: one.seconds, reverse=True)


def times_file(outcome: Outcome) -> dict[str, Any]:
    """Content of `.fairlead/times-TIER.json`: the tier, its phases and all its tests, the slowest first."""
    found = counts(phase.detail for phase in outcome.phases)
    return {
        "tier": outcome.tier,
        "state": outcome.state,
        "passed": found["passed"],
        "failed": sum(found[kind] for kind in FAILED),
        "seconds": round(outcome.seconds, 1),
        "cpu_seconds": round(outcome.cpu_seconds, 1),
        "waiting": round(waiting(outcome.seconds, outcome.cpu_seconds), 3),
        "machine_busy": round(outcome.machine_busy, 3),
        "preparation_seconds": round(outcome.preparation_seconds, 1),
        "phases": [
            {
                "title": phase.title,
                "state": phase.state,
                "detail": phase.detail,
                "seconds": round(phase.seconds, 1),
                "cpu_seconds": round(phase.cpu_seconds, 1),
            }
            for phase in outcome.phases
        ],
        "tests": [asdict(one) for one in slowest_tests([outcome])],
    }
