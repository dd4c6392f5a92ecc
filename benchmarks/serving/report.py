"""benchmarks/RESULTS.md and its picture, from the samples. Pure: samples in, text out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.serving import cases, picture, results, servers
from benchmarks.serving.cases import Case
from benchmarks.serving.environments import SHOWN
from benchmarks.serving.models import TITLES
from benchmarks.serving.report_text import METHOD, NOT_RUN

_PICTURED = "rf-1x8"
_SHOWN = (("rate", 1), ("p50", 2), ("p99", 2))
"""What of a sample, with how many digits."""
_SERVERS = {server.name: server for server in servers.ALL}


def text(found: dict[str, Any], picture_link: str | None) -> str:
    """The whole report."""
    machine = found["machine"]
    parts = [
        "# How fast it serves",
        "Written by `make bench` from [results.json](results.json), which has every sample. Not edited by hand.",
        f"{machine.get('cpu')}, {machine.get('cores')} cores, {machine.get('kernel')}, Python {machine.get('python')}.",
        METHOD,
    ]
    if picture_link:
        parts.append(f"![Fairlead's rate over each peer's, one row at a time]({picture_link})")
    parts += [_case(case, found["cases"][case.name]) for case in cases.ALL if case.name in found["cases"]]
    parts += [_observability(found["cases"]), _start(found), _half_load(found), _health(found), _memory(found)]
    parts += [_versions(found), "## What was not run, and why", NOT_RUN, *_failures(found["cases"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def drawing(found: dict[str, Any]) -> str | None:
    """The picture; None if its case was not measured."""
    case = found["cases"].get(_PICTURED, {"servers": {}})
    ratios = {
        server.title: ratio.median
        for server in servers.ALL
        if server not in (servers.OURS, servers.FLOOR, servers.MINIMAL)
        and (ratio := results.ratio(case, server.name)) is not None
    }
    title = "Fairlead's requests a second over each server's: forest of 100 trees, 1 row a request, 8 connections"
    return picture.draw(title, ratios) if ratios else None


def _case(case: Case, found: dict[str, Any]) -> str:
    rows: list[Sequence[str]] = []
    for name, cell in found["servers"].items():
        if name == servers.MINIMAL.name:
            continue
        server = _SERVERS[name]
        title = f"**{server.title}** ({found['backend']})" if server is servers.OURS else server.title
        if not cell["samples"]:
            rows.append((title, "failed", "", "", "", _target(case, name, None)))
            continue
        ratio = None if server is servers.OURS else results.ratio(found, name)
        numbers = [f"{results.median(cell, key):.{digits}f}" for key, digits in _SHOWN]
        if not results.sound(cell):
            numbers[0] += " (with errors)"
        spread = (
            f"{picture.shown(ratio.median)} ({picture.shown(ratio.least)} to {picture.shown(ratio.most)})"
            if ratio
            else ""
        )
        rows.append((title, *numbers, spread, _target(case, name, ratio)))
    head = ("server", "req/s", "p50 ms", "p99 ms", "ours / theirs (least to most)", "target")
    about = f"{TITLES[case.model]}. {found['plan']}, {_moment(found['moment'])}."
    return f"## {case.title}\n\n{about}\n\n{_table(head, rows)}"


def _target(case: Case, name: str, ratio: results.Ratio | None) -> str:
    if name not in case.targets:
        return ""
    wanted = f"≥ {case.targets[name]:g}"
    return wanted if ratio and ratio.median >= case.targets[name] else f"{wanted} **not reached**"


def _observability(found: Mapping[str, Any]) -> str:
    rows = []
    for case in cases.ALL:
        cells = found.get(case.name, {"servers": {}})
        ratio = results.ratio(cells, servers.MINIMAL.name)
        if ratio:
            rates = [f"{results.median(cells['servers'][name], 'rate'):.0f}" for name in ("ours", servers.MINIMAL.name)]
            rows.append((case.title, *rates, picture.shown(ratio.median), _target(case, servers.MINIMAL.name, ratio)))
    head = ("case", "req/s with", "req/s without", "with / without", "target")
    about = "Request log, traces and metrics at their defaults, and without any of the three."
    return f"## What observability costs\n\n{about}\n\n{_table(head, rows)}" if rows else ""


def _start(found: dict[str, Any]) -> str:
    if "start" not in found:
        return ""
    head = ("server", "model", "seconds", "RSS MiB", "PSS MiB", "target")
    rows = []
    for row in found["start"]["rows"]:
        target = "≤ 0.6 s, ≤ 70 MiB" if row["backend"] == "native" else ""
        if target and (row["seconds"] > 0.6 or row["rss"] > 70):
            target += " **not reached**"
        rows.append(
            (_who(row), row["model"], f"{row['seconds']:.2f}", f"{row['rss']:.0f}", f"{row['pss']:.0f}", target)
        )
    about = "From the start of the process to its first answered row, on one core; memory one second after."
    return f"## Start\n\n{about} Medians; {_moment(found['start']['moment'])}.\n\n{_table(head, rows)}"


def _half_load(found: dict[str, Any]) -> str:
    if "half_load" not in found:
        return ""
    rows = [
        (row["server"], f"half of {row['half_of']}: {row['rate']:.0f}", *_paced(row))
        for row in found["half_load"]["rows"]
    ]
    about = (
        "rf, one row a request, arriving at random moments (an open loop of raw sockets, `paced.py`); latency counts "
        f"from the moment a request was due. Medians of the rounds; {_moment(found['half_load']['moment'])}."
    )
    return f"## Latency at half load\n\n{about}\n\n{_table(('server', 'req/s', 'p50 ms', 'p99 ms', 'failed'), rows)}"


def _health(found: dict[str, Any]) -> str:
    if "health" not in found:
        return ""
    rows = [
        (_who(row), row["model"], "1024 rows x 4" if row["loaded"] else "none", *_paced(row))
        for row in found["health"]["rows"]
    ]
    about = f"`GET /health/live`, 50 a second; {_moment(found['health']['moment'])}."
    head = ("server", "model", "load", "p50 ms", "p99 ms", "failed")
    return f"## Health checks while batches run\n\n{about}\n\n{_table(head, rows)}"


def _memory(found: dict[str, Any]) -> str:
    if "memory" not in found:
        return ""
    run = found["memory"]
    return (
        f"## Memory\n\n{run['minutes']:g} minutes of full load on rf, single rows and every fourth time 1024 "
        f"({_moment(run['moment'])}). After the first fifth, RSS goes from {run['start']:.1f} to {run['end']:.1f} MiB: "
        f"{run['slope']:+.3f} MiB a minute by least squares."
    )


def _versions(found: dict[str, Any]) -> str:
    rows = [
        (peer, versions.get(peer, ""), *(versions.get(name, "-") for name in SHOWN))
        for peer, versions in found["versions"].items()
    ]
    return f"## Versions\n\n{_table(('environment', 'version', *SHOWN), rows)}"


def _failures(found: Mapping[str, Any]) -> Iterable[str]:
    for case, cells in found.items():
        for name, cell in cells["servers"].items():
            errors = [sample["errors"] for sample in cell["samples"] if "errors" in sample]
            if "failure" in cell:
                yield f"- {case}, {name}: {cell['failure'].splitlines()[0]}"
            elif errors:
                yield f"- {case}, {name}: errors under load: {errors}"


def _who(row: Mapping[str, Any]) -> str:
    return f"{row['server']} ({row['backend']})" if row["server"] == "ours" else str(row["server"])


def _paced(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return f"{row['p50']:.2f}", f"{row['p99']:.2f}", str(row["failed"])


def _moment(moment: Mapping[str, Any]) -> str:
    changed = " with changes" if moment["changed"] else ""
    return f"{moment['at']}, commit {moment['commit']}{changed}, load average before {moment['load']}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
