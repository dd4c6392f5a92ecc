"""Documents as text: with colours and as wide as the terminal, or plain and as wide as need be when piped."""

import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fairlead_kubectl import status as about
from fairlead_kubectl.reading import Json, age, model, short
from fairlead_kubectl.why import Diagnosis, Link

MARKS: Final = {
    "ok": ("✓", "green"),
    "waiting": ("…", "yellow"),
    "attention": ("!", "yellow"),
    "warning": ("!", "yellow"),
    "unknown": ("?", "yellow"),
    "skipped": ("-", "dim"),
    "bad": ("✗", "red"),
    "unhealthy": ("✗", "red"),
}
_UNBOUNDED: Final = 10_000
_BRIEF: Final = 160


def console(stream: TextIO) -> Console:
    """A terminal's own width and colours (`NO_COLOR` is respected); else one that never wraps."""
    if stream.isatty():
        return Console(file=stream, highlight=False)
    return Console(file=stream, highlight=False, width=_UNBOUNDED, color_system=None, legacy_windows=False)


def show(out: Console, *parts: RenderableType) -> None:
    """Prints; without the blanks that tables leave at the ends of lines."""
    if out.is_terminal:
        out.print(*parts, sep="\n")
        return
    plain = console(io.StringIO())
    plain.print(*parts, sep="\n")
    written = plain.file
    assert isinstance(written, io.StringIO)
    out.file.write("".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines()))
    out.file.flush()


def mark(state: str, text: str = "") -> Text:
    sign, style = MARKS[state]
    return Text.assemble((sign, style), f" {text}" if text else "")


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """As kubectl's: no lines, headers in capitals."""
    found = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for header in headers:
        found.add_column(header.upper(), overflow="fold", no_wrap=header != headers[-1])
    for row in rows:
        found.add_row(
            *(cell if isinstance(cell, Text) else Text("-" if cell in (None, "") else str(cell)) for cell in row)
        )
    return found


def section(title: str, body: RenderableType) -> Group:
    return Group(Text(), Text(title, style="bold"), Padding(body, (0, 0, 0, 2)))


def screen(document: Json, now: datetime) -> Group:
    """`status`: everything about one resource."""
    head = Table.grid(padding=(0, 2))
    head.add_row(Text("wants"), Text(f"{document['wants']}, strategy {document['strategy']}"))
    serving = document["serving"]
    since = f", for {age(serving.get('since'), now)}" if serving else ""
    head.add_row(Text("serving"), Text(about.heading(serving) + since))
    if document["url"]:
        head.add_row(Text("url"), Text(document["url"]))
    title = Text.assemble(mark(document["health"]), " ", (f"{document['namespace']}/{document['name']}", "bold"))
    parts: list[RenderableType] = [title.append(f"  {document['reason']}: {_brief(document['summary'])}"), head]
    if document["candidate"]:
        parts.append(_candidate(document["candidate"], now))
    parts.append(section("Pods", _pods(document["pods"], now)))
    if document["lastFailure"]:
        parts.append(section("Last failure", _failure(document["lastFailure"], now)))
    if document["history"]:
        parts.append(section("History", history_table(document["history"], now)))
    return Group(*parts)


def _candidate(candidate: Json, now: datetime) -> Group:
    line = Text(f"{about.heading(candidate)}: {about.stage(candidate)}")
    failures = candidate.get("failures")
    if failures:
        line.append(f", {failures} failed checks", style="red")
    states = {True: "ok", False: "bad", None: "unknown"}
    rows = [
        (mark(states[check.get("ok")]), check["name"], check.get("value"), check.get("threshold"))
        for check in candidate.get("checks") or []
    ]
    checked = f" (checked {age(candidate['checkedAt'], now)} ago)" if candidate.get("checkedAt") else ""
    body = Group(line, table(("", "check", "value", "must be"), rows)) if rows else Group(line)
    return section(f"Candidate{checked}", body)


def _pods(pods: list[Json], now: datetime) -> RenderableType:
    if not pods:
        return Text("none")
    rows = []
    for pod in sorted(pods, key=lambda pod: (pod["track"], pod["name"])):
        trouble = pod["trouble"]
        text = f"{pod['text']}: {_brief(trouble['message'])}" if trouble and trouble["message"] else pod["text"]
        rows.append(
            (
                mark(pod["state"]),
                pod["name"],
                pod["track"],
                short(pod["run_id"]),
                pod["restarts"],
                age(pod["created"], now),
                text,
            )
        )
    return table(("", "pod", "track", "run", "restarts", "age", "state"), rows)


def _brief(text: str) -> str:
    """`why` has all of it."""
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]} …"


def _failure(failure: Json, now: datetime) -> Text:
    where = f" in pod {failure['pod']}" if failure.get("pod") else ""
    run = f", run {short(failure['runID'])}" if failure.get("runID") else ""
    return Text(f"{failure['reason']}{where}{run}, {age(failure.get('at'), now)} ago: {failure.get('message', '')}")


def history_table(rows: list[Json], now: datetime, whole: bool = False) -> Table:
    """With whole run IDs where they are wanted for copying."""
    cells = []
    for row in rows:
        until = age(row["to"], now) + " ago" if row.get("to") else "now"
        verdict = f"{row['verdict']}: {row['message']}" if row.get("message") else row["verdict"]
        run = row["runID"] if whole else short(row["runID"])
        cells.append((row.get("modelVersion"), run, age(row.get("from"), now) + " ago", until, verdict))
    return table(("version", "run", "from", "to", "verdict"), cells)


def explanation(diagnosis: Diagnosis) -> Group:
    """`why`: the chain, the cause, what to do."""
    chain = Group(*(Padding(_link(link), (0, 0, 0, 2 * link.depth)) for link in diagnosis.chain))
    cause = diagnosis.cause
    parts: list[RenderableType] = [chain, Text(), mark(cause.health, cause.likely)]
    if cause.evidence:
        parts.append(Text(f"  {cause.reason}: {cause.evidence}"))
    if cause.steps:
        parts.append(Text("\nWhat to do", style="bold"))
    for step in cause.steps:
        parts.append(Text(f"  - {step.text}{':' if step.command else ''}"))
        if step.command:
            parts.append(Text(f"      {step.command}", style="cyan"))
    return Group(*parts)


def _link(link: Link) -> Table:
    """What it says hangs beside its mark where it takes several lines."""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(mark(link.state), Text(f"{link.subject}: {link.text}", overflow="fold"))
    return grid


def predictions(answer: Json) -> Group:
    """One line a row, and who answered."""
    more = [name for name in ("probabilities", "scores") if answer.get(name) is not None]
    rows = [
        (index, value, *(_numbers(answer[name][index]) for name in more))
        for index, value in enumerate(answer["predictions"])
    ]
    who = model({"runID": answer["run_id"], "modelName": answer["model_name"], "modelVersion": answer["model_version"]})
    return Group(table(("row", "prediction", *more), rows), Text(f"by {who}"))


def _numbers(found: Any) -> str:
    return " ".join(f"{value:.4g}" for value in found) if isinstance(found, list) else f"{found:.4g}"
