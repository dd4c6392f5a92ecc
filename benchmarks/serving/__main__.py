"""`make bench`: everything, or one part of it: `make bench BENCH="rates --cases rf-1x8"`."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.serving import aside, cases, environments, load, machine, models, rates, report, results, servers
from benchmarks.serving.bench import Bench, benched, started
from benchmarks.serving.cases import Case
from benchmarks.serving.paths import BenchError
from benchmarks.serving.processes import ServerError
from benchmarks.serving.rates import Plan
from benchmarks.serving.servers import Server

COMMANDS: Final = {
    "all": "peers, then rates, start, half-load and health (about half an hour)",
    "peers": "make the peers' environments",
    "check": "start every server once and compare its answers",
    "rates": "requests a second under full load",
    "start": "seconds to the first answer, and memory",
    "half-load": "latency at half load",
    "health": "latency of health checks while batches run",
    "memory": "memory over --minutes of load",
    "report": "write the report again from the samples",
}
_BUSY: Final = 0.3
_WARM_UP: Final = 1.0
_FIRST_WARM_UP: Final = 7.0
"""OpenTelemetry sends its first spans after five seconds, and what sends them is loaded then."""


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended
    try:
        _run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    chosen, wanted = _servers(options.peers), _cases(options.cases)
    output = results.output(trial=options.quick or bool(options.peers))
    found = results.read(output.data)
    if options.command == "report":
        _write(output, found)
        return
    environments.make(dict.fromkeys(server.peer for server in chosen))
    if options.command == "peers":
        return
    load.ensure_tools()
    moment = machine.moment()
    if moment["load"] > _BUSY:
        print(f"note: the machine is busy (load average {moment['load']}): the figures say little", flush=True)
    plan = Plan(1, 1, 1, 1) if options.quick else Plan(options.rounds, options.seconds, _WARM_UP, _FIRST_WARM_UP)
    with benched(*machine.cores()) as bench:
        if options.command == "check":
            _check(bench, chosen)
            return
        found["machine"] = machine.describe()
        found["versions"] |= {peer: _shown_versions(peer) for peer in dict.fromkeys(server.peer for server in chosen)}
        if options.command in ("all", "rates"):
            for name, cells in rates.measure(bench, wanted, chosen, plan).items():
                (case,) = (case for case in wanted if case.name == name)
                backend = models.backend(models.saved(case.model))
                found["cases"][name] = {
                    "moment": moment,
                    "plan": plan.label,
                    "backend": backend,
                    "servers": cells,
                }
            _write(output, found)
        parts: dict[str, Callable[[Bench, Plan], list[dict[str, Any]]]] = {
            "start": aside.start,
            "half-load": aside.half_load,
            "health": aside.health,
        }
        for part, measure in parts.items():
            if options.command in ("all", part):
                found[part.replace("-", "_")] = {"moment": moment, "rows": measure(bench, plan)}
                _write(output, found)
        if options.command == "memory":
            found["memory"] = {"moment": moment, **aside.memory(bench, options.minutes)}
            _write(output, found)
    print(f"report: {os.path.relpath(output.report)}", flush=True)


def _check(bench: Bench, chosen: Sequence[Server]) -> None:
    """Every server on every model that it is measured with. Raises BenchError if one is wrong."""
    failed = 0
    for name in models.NAMES:
        model = models.saved(name)
        for server in chosen:
            sizes = [case.rows for case in cases.ALL if case.model == name and case.takes(server)]
            if not sizes:
                continue
            try:
                with started(bench, server, model) as running:
                    running.check(sizes)
                    print(f"check  {name:<4} {server.name:<18} right", flush=True)
            except ServerError as error:
                failed += 1
                print(f"check  {name:<4} {server.name:<18} FAILED: {error}", flush=True)
    if failed:
        raise BenchError(f"{failed} of the servers above failed")


def _write(output: results.Output, found: dict[str, Any]) -> None:
    results.write(output.data, found)
    drawing = report.drawing(found)
    link = None
    if drawing is not None:
        output.picture.parent.mkdir(parents=True, exist_ok=True)
        output.picture.write_text(drawing)
        link = os.path.relpath(output.picture, output.report.parent)
    output.report.write_text(report.text(found, link))


def _shown_versions(peer: str) -> dict[str, str]:
    installed = environments.versions(peer)
    name = {"ours": "fairlead", "naive": "fastapi"}.get(peer, peer)
    return {peer: installed[name], **{name: installed[name] for name in environments.SHOWN if name in installed}}


def _servers(names: Sequence[str]) -> list[Server]:
    """Those of these names or environments, and ours; all without names."""
    known = {server.name for server in servers.ALL} | {server.peer for server in servers.ALL}
    if unknown := set(names) - known:
        raise BenchError(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    return [s for s in servers.ALL if not names or s is servers.OURS or s.name in names or s.peer in names]


def _cases(names: Sequence[str]) -> list[Case]:
    if unknown := set(names) - {case.name for case in cases.ALL}:
        known = ", ".join(case.name for case in cases.ALL)
        raise BenchError(f"no such case: {', '.join(sorted(unknown))}; there are {known}")
    return [case for case in cases.ALL if not names or case.name in names]


def _parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="all", metavar="command")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--minutes", type=float, default=10, help="of load, for `memory`")
    parser.add_argument("--cases", nargs="+", default=[], help="only these; the others' results stay")
    parser.add_argument("--peers", nargs="+", default=[], help="only these and ours; not published")
    parser.add_argument("--quick", action="store_true", help="one round of a second, to see it work; not published")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
