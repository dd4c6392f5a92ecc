"""`kubectl fairlead logs`: JSON lines of pods (docs/logs.md) as people read them. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.text import Text

from fairlead_kubectl.reading import printable

_PREFIX: Final = re.compile(r"^\[pod/(?P<pod>[^/]+)/(?P<container>[^\]]+)\] ?(?P<line>.*)$", re.DOTALL)
_STYLES: Final = {"debug": "dim", "info": "green", "warning": "yellow", "error": "red", "critical": "bold red"}
_TOLD: Final = frozenset(
    {"timestamp", "level", "event", "message", "service", "logger", "exception", "trace_id", "span_id", "request_id"}
)
_REQUEST: Final = ("method", "path", "status", "duration_ms")


def pretty(line: str) -> Text:
    """One line as `kubectl logs --prefix` prints it. What is no JSON stays what it is."""
    found = _PREFIX.match(line.rstrip("\n"))
    pod, container, said = (found["pod"], found["container"], found["line"]) if found else ("", "", line.rstrip("\n"))
    where = Text(f"{pod} {container}  " if pod else "", style="cyan")
    try:
        record = json.loads(said)
    except ValueError:
        return where.append(printable(said), style="not bold default")
    record = printable(record)
    if not isinstance(record, dict):
        return where.append(printable(said), style="not bold default")
    return Text.assemble(
        (_clock(str(record.get("timestamp", ""))), "dim"),
        " ",
        _level(str(record.get("level", ""))),
        " ",
        where,
        (_message(record), ""),
        (_rest(record), "dim"),
        (_exception(record), "red"),
    )


def in_order(printed: Iterable[str]) -> list[str]:
    """kubectl prints one pod after the other; here all lines are by their time, and one without stays behind its
    container's last."""
    keyed: list[tuple[str, str]] = []
    last: dict[tuple[str, str], str] = {}
    for line in printed:
        found = _PREFIX.match(line)
        source = (found["pod"], found["container"]) if found else ("", "")
        last[source] = _time(found["line"] if found else line) or last.get(source, "")
        keyed.append((last[source], line))
    return [line for _, line in sorted(keyed, key=lambda pair: pair[0])]


def _time(said: str) -> str:
    try:
        return str(json.loads(said).get("timestamp", ""))
    except (ValueError, AttributeError):
        return ""


def _clock(timestamp: str) -> str:
    """`12:00:01.123` of an RFC 3339 time."""
    return timestamp[11:23] or "-"


def _level(level: str) -> Text:
    return Text(f"{level.upper():<7}", style=_STYLES.get(level, ""))


def _message(record: Mapping[str, Any]) -> str:
    if record.get("event") == "request":
        method, path, status, took = (record.get(key) for key in _REQUEST)
        return f"{method} {path} {status} in {took} ms"
    event = record.get("event", "log")
    return (
        str(record.get("message", ""))
        if event in ("log", "error", "started")
        else f"{event}: {record.get('message', '')}"
    )


def _rest(record: Mapping[str, Any]) -> str:
    hidden = _TOLD | ({*_REQUEST, "route"} if record.get("event") == "request" else set())
    rest = {key: value for key, value in record.items() if key not in hidden and value is not None}
    return "".join(f" {key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in rest.items())


def _exception(record: Mapping[str, Any]) -> str:
    return f"\n{record['exception']}" if record.get("exception") else ""
