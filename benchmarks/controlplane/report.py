"""The report: a table of what was measured beside what was to be reached."""

import os
import platform
from dataclasses import dataclass
from datetime import date

from benchmarks.controlplane.phases import Outcome
from benchmarks.controlplane.scene import ALIAS_POLL_SECONDS, NODES, PODS_PER_NODE

INTRODUCTION = """\
# Many ModelDeployments

Made by `.venv/bin/python -m benchmarks.controlplane` on {day}: {machine}. {number:,} ModelDeployments
with one pod each on a real control plane (etcd, API server, controllers with their default 20 requests a second,
scheduler) with {nodes} fake nodes of {pods} pods (kwok): pods become Ready, nothing runs in them. The *floor* is what
as many plain Deployments with the same pods took in the same run. Requests are those that the API server counted for
the operator's service account, Events and watches included.

| | measured | to be reached |
|---|---|---|
"""

BREAKDOWN = """
Requests by verb and resource:

| | {phases} |
|---|{columns}
"""


@dataclass(frozen=True)
class Results:
    number: int
    floor: tuple[float, float]
    """Seconds of the plain Deployments: created, changed."""
    outcomes: dict[str, Outcome]


def render(results: Results) -> str:
    machine = f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores"
    introduction = INTRODUCTION.format(
        day=date.today(), machine=machine, number=results.number, nodes=NODES, pods=PODS_PER_NODE
    )
    rows = "".join(f"| {what} | {measured} | {goal} |\n" for what, measured, goal in table(results))
    return introduction + rows + breakdown(results)


def table(results: Results) -> list[tuple[str, str, str]]:
    number, (floor_created, floor_changed), outcomes = results.number, results.floor, results.outcomes
    new, change, rest = outcomes["created"], outcomes["changed"], outcomes["at rest"]
    restart, alias, gone = outcomes["restarted"], outcomes["alias moved"], outcomes["deleted"]
    minutes = rest.seconds["rest"] / 60
    half = number // 2
    first, ready, done = (new.seconds[name] for name in ("first status", "Ready", "UpToDate"))
    return [
        ("floor: all created / changed", f"{floor_created:.0f} s / {floor_changed:.0f} s", ""),
        ("created: children applied and first status, of all", f"{first:.0f} s", "60 s"),
        ("created: all Ready", f"{ready:.0f} s, {ready / floor_created:.2f} of the floor", "1.05"),
        ("created: all UpToDate", f"{done:.0f} s, {done / floor_created:.2f} of the floor", ""),
        ("created: requests an object", f"{new.requests / number:.1f}", "10"),
        ("created: operator's processor time, memory at most", _cost(new), "35 s, 150 MiB"),
        (
            "changed to another run: all UpToDate",
            f"{change.seconds['UpToDate']:.0f} s, {change.seconds['UpToDate'] / floor_changed:.2f} of the floor",
            "1.1",
        ),
        ("changed: requests an object", f"{change.requests / number:.1f}", "12"),
        ("changed: operator's processor time, memory at most", _cost(change), "86 s, 150 MiB"),
        (
            f"at rest, {minutes:.1f} minutes",
            f"{rest.cpu_seconds / rest.seconds['rest']:.2%} of a core, {rest.requests / minutes:.1f} requests a minute",
            "0.5 %, 30",
        ),
        (
            "the operator restarted",
            f"{restart.writes} writes, {restart.requests:.0f} requests, "
            f"{restart.seconds['looked at all']:.1f} s until it has looked at all, {_cost(restart)}",
            "0 writes",
        ),
        (
            f"an alias that {half} follow moves (a poll each {ALIAS_POLL_SECONDS:.0f} s)",
            f"{alias.registry_calls:.0f} calls to the registry in {alias.seconds['UpToDate']:.0f} s until all "
            f"serve it, {alias.requests / half:.1f} requests an object",
            "a call a poll",
        ),
        ("deleted: all gone", f"{gone.seconds['gone']:.0f} s, {gone.requests:.0f} requests, {_cost(gone)}", ""),
    ]


def breakdown(results: Results) -> str:
    phases = list(results.outcomes)
    kinds = sorted({kind for outcome in results.outcomes.values() for kind in outcome.kinds})
    lines = [
        f"| {kind} | {' | '.join(str(results.outcomes[phase].kinds[kind]) for phase in phases)} |" for kind in kinds
    ]
    return BREAKDOWN.format(phases=" | ".join(phases), columns="---|" * len(phases)) + "\n".join(lines) + "\n"


def brief(outcome: Outcome, number: int) -> str:
    """One line."""
    milestones = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.seconds.items())
    return f"{milestones}; {outcome.requests / number:.1f} requests an object, {_cost(outcome)}"


def _cost(outcome: Outcome) -> str:
    return f"{outcome.cpu_seconds:.1f} s, {outcome.peak_mib:.0f} MiB"
