"""The report: a table of what was measured beside what was to be reached."""

import os
import platform
import sys
from dataclasses import dataclass
from datetime import date

from benchmarks.controlplane import peer
from benchmarks.controlplane.phases import Outcome
from benchmarks.controlplane.scene import ALIAS_POLL_SECONDS, NODES, PODS_PER_NODE

INTRODUCTION = """\
# Many ModelDeployments

Made by `.venv/bin/python -m benchmarks.controlplane{arguments}` on {day}: {machine}. {number:,} ModelDeployments
with one pod each on a real control plane (etcd, API server, controllers with their default 20 requests a second,
scheduler) with {nodes} fake nodes of {pods} pods (kwok): pods become Ready, nothing runs in them. The *floor* is what
as many plain Deployments with the same pods took in the same run; *Argo Rollouts* {peer} had as many Rollouts with the
same pods, without the Service and the NetworkPolicy that come with a ModelDeployment. Requests are those that the API
server counted for the controller's service account, Events and watches included.

| | Fairlead | Argo Rollouts | to be reached |
|---|---|---|---|
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
    peer: dict[str, Outcome]
    """The same of Argo Rollouts."""
    outcomes: dict[str, Outcome]


def render(results: Results) -> str:
    machine = f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores"
    introduction = INTRODUCTION.format(
        arguments=" ".join(["", *sys.argv[1:]]),
        day=date.today(),
        machine=machine,
        number=results.number,
        nodes=NODES,
        pods=PODS_PER_NODE,
        peer=peer.VERSION,
    )
    rows = "".join(f"| {' | '.join(row)} |\n" for row in table(results))
    return introduction + rows + breakdown(results)


def table(results: Results) -> list[tuple[str, str, str, str]]:
    """What, ours, the peer's, and what was to be reached."""
    number, (floor_created, floor_changed), outcomes = results.number, results.floor, results.outcomes
    new, change, rest = outcomes["created"], outcomes["changed"], outcomes["at rest"]
    restart, alias, gone = outcomes["restarted"], outcomes["alias moved"], outcomes["deleted"]
    peer_new, peer_change = results.peer["created"], results.peer["changed"]
    minutes = rest.seconds["rest"] / 60
    half = number // 2

    def first(outcome: Outcome) -> str:
        return f"{outcome.seconds['first status']:.0f} s"

    def against(floor: float, outcome: Outcome, milestone: str) -> str:
        return f"{outcome.seconds[milestone]:.0f} s, {outcome.seconds[milestone] / floor:.2f} of the floor"

    def each(outcome: Outcome) -> str:
        return f"{outcome.requests / number:.1f}"

    return [
        ("floor: all created / changed", f"{floor_created:.0f} s / {floor_changed:.0f} s", "", ""),
        ("created: children applied and first status, of all", first(new), first(peer_new), "60 s"),
        (
            "created: all Ready",
            against(floor_created, new, "Ready"),
            against(floor_created, peer_new, "Ready"),
            "1.05",
        ),
        ("created: all UpToDate", against(floor_created, new, "UpToDate"), "", ""),
        ("created: requests an object", each(new), each(peer_new), "10"),
        ("created: processor time, memory at most", _cost(new), _cost(peer_new), "Argo Rollouts'; 150 MiB"),
        (
            "changed to another run: all UpToDate",
            against(floor_changed, change, "UpToDate"),
            against(floor_changed, peer_change, "Ready"),
            "1.1",
        ),
        ("changed: requests an object", each(change), each(peer_change), "12"),
        ("changed: processor time, memory at most", _cost(change), _cost(peer_change), "Argo Rollouts'; 150 MiB"),
        (
            f"at rest, {minutes:.1f} minutes",
            f"{rest.cpu_seconds / rest.seconds['rest']:.2%} of a core, {rest.requests / minutes:.1f} requests a minute",
            "",
            "0.5 %, 30",
        ),
        (
            "the controller restarted",
            f"{restart.writes} writes, {restart.requests:.0f} requests, "
            f"{restart.seconds['looked at all']:.1f} s until it has looked at all, {_cost(restart)}",
            "",
            "0 writes",
        ),
        (
            f"an alias that {half} follow moves (a poll each {ALIAS_POLL_SECONDS:.0f} s)",
            f"{alias.registry_calls:.0f} calls to the registry in {alias.seconds['UpToDate']:.0f} s until all "
            f"serve it, {alias.requests / half:.1f} requests an object",
            "",
            "a call a poll",
        ),
        ("deleted: all gone", f"{gone.seconds['gone']:.0f} s, {gone.requests:.0f} requests, {_cost(gone)}", "", ""),
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
