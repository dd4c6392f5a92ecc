"""Rates under full load: rounds in which each server has its turn, so that what changes on the machine meets all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.serving import load, models, servers
from benchmarks.serving.bench import Bench, started
from benchmarks.serving.cases import Case
from benchmarks.serving.models import SavedModel
from benchmarks.serving.processes import ServerError
from benchmarks.serving.servers import Server


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: float
    warm_up: float
    first_warm_up: float
    """Of a server that has just been started: past what servers do once, some seconds after their first answers."""

    @property
    def label(self) -> str:
        return f"{self.rounds} round{'s' * (self.rounds > 1)} of {self.seconds:g} s"


def measure(bench: Bench, cases: Sequence[Case], chosen: Sequence[Server], plan: Plan) -> dict[str, Any]:
    """Case → server → its samples, one a round, or why there are none.

    A server is started for each model and round, proven to answer right, and ended before the next one is started:
    nothing but the one that is measured runs.
    """
    found: dict[str, Any] = {
        case.name: {server.name: {"samples": []} for server in chosen if case.takes(server)} for case in cases
    }
    saved = {name: models.saved(name) for name in dict.fromkeys(case.model for case in cases)}
    learn_sizes(bench, saved.values(), cases)
    for number in range(plan.rounds):
        for name, model in saved.items():
            for server in _rotated(chosen, number):
                cells = {
                    case: found[case.name][server.name]
                    for case in cases
                    if case.model == name and server.name in found[case.name]
                }
                if cells and not any("failure" in cell for cell in cells.values()):
                    _visit(bench, server, model, cells, plan, f"round {number + 1}/{plan.rounds}")
    return found


def learn_sizes(bench: Bench, saved: Iterable[SavedModel], cases: Sequence[Case]) -> None:
    """How long our answers are, so that the constant answer is as long."""
    for model in saved:
        with started(bench, servers.OURS, model) as running:
            for case in cases:
                if case.model == model.name:
                    bench.sizes[model.name, case.rows] = len(running.ask(model.rows[: case.rows]))


def _visit(
    bench: Bench, server: Server, model: SavedModel, cells: dict[Case, dict[str, Any]], plan: Plan, label: str
) -> None:
    sizes = sorted({case.rows for case in cells})
    try:
        with started(bench, server, model) as running:
            running.check(sizes)
            for number, (case, cell) in enumerate(cells.items()):
                warm_up = plan.warm_up if number else plan.first_warm_up
                load.drive(running, case.rows, case.connections, warm_up, bench.client_core)
                sample = load.drive(running, case.rows, case.connections, plan.seconds, bench.client_core)
                cell["samples"].append(sample)
                print(f"{label}  {case.name:<11} {server.name:<18} {_shown(sample)}", flush=True)
            running.check(sizes)
    except ServerError as error:
        for case, cell in cells.items():
            cell["failure"] = str(error)
            print(f"{label}  {case.name:<11} {server.name:<18} FAILED: {error}", flush=True)


def _shown(sample: dict[str, Any]) -> str:
    errors = f"  ERRORS {sample['errors']}" if "errors" in sample else ""
    return f"{sample['rate']:>9.1f} req/s  p50 {sample['p50']:.2f} ms  p99 {sample['p99']:.2f} ms{errors}"


def _rotated(chosen: Sequence[Server], number: int) -> list[Server]:
    """Another order each round: what comes after a heavy server is not always the same one."""
    at = number * 5 % len(chosen)
    return [*chosen[at:], *chosen[:at]]
