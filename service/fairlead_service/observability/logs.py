"""One JSON object a line on standard output: our own events, uvicorn's and every library's alike, in the form of
docs/logs.schema.json.

Values of features never come here, nor request bodies. JSON escapes line breaks, so nothing a client sends can forge
a line. Events: `request` (one an HTTP request), `error`, `audit` (who trained or loaded what, with which outcome),
`started` (with the port), `log` (everything else).
"""

import io
import itertools
import logging
import sys
import time
import traceback
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from opentelemetry import trace

from fairlead_service.observability.form import encode, level_name, line
from fairlead_service.observability.lines import BufferedLines, DirectLines, Lines

LOGGER: Final = logging.getLogger("fairlead")
request_id: ContextVar[str] = ContextVar("request_id", default="")
subject: ContextVar[str | None] = ContextVar("subject", default=None)
"""Whose credential the request carries; tasks that a request begins inherit it."""

_FIELDS: Final = "fairlead_fields"
_NOISY: Final = ("asyncio", "opentelemetry", "urllib3", "httpx")


_MOST_PARTS: Final = 1000
"""That a log of requests keeps: of routes and statuses there are few, of methods that a client may think of, many."""
_PROCESS: Final = uuid.uuid4().hex[:20]
_numbers: Final = itertools.count()


def new_request_id() -> str:
    """32 hexadecimal digits, unlike any other process's: the first 20 are this process's own, the rest count."""
    return f"{_PROCESS}{next(_numbers):012x}"


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON. `service` is the value of the field of that name."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        found = line(record.created, record.levelno, "log", record.getMessage(), self._service, record.name)
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            found["trace_id"] = trace.format_trace_id(span.trace_id)
            found["span_id"] = trace.format_span_id(span.span_id)
        if current := request_id.get():
            found["request_id"] = current
        found.update(getattr(record, _FIELDS, {}))
        if record.exc_info and record.exc_info[1] is not None:
            found["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        return encode(found).decode()


class _Handler(logging.Handler):
    """Hands lines on; a warning and what is worse leaves the process at once, if the reader takes it."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.write(self.format(record).encode() + b"\n")
            if record.levelno >= logging.WARNING:
                self._lines.flush()
        except Exception:
            self.handleError(record)


class RequestLog:
    """One line a request, put together from parts that seldom change: `logging` costs ten times as much."""

    def __init__(self) -> None:
        self._second = 0
        self._prefix = b""
        self._parts: dict[tuple[int, str, str, int], tuple[bytes, bytes]] = {}

    def write(
        self,
        level: int,
        method: str,
        path: str,
        route: str,
        status: int,
        seconds: float,
        client: str | None,
        request_id: str,
        trace_id: str | None,
    ) -> None:
        """`client` is an address without port, or what a proxy says is one; `trace_id` 32 hexadecimal digits."""
        if _target is None or not LOGGER.isEnabledFor(level):
            return
        lines, service = _target
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = datetime.fromtimestamp(second, UTC).strftime('{"timestamp":"%Y-%m-%dT%H:%M:%S.').encode()
        parts = self._parts.get((level, method, route, status)) if path == route else None
        if parts is None:
            parts = self._make(level, method, path, route, status, service)
        trace = b"" if trace_id is None else b'","trace_id":"%b' % trace_id.encode()
        lines.write(
            b'%b%03d%b%.3f,"client":%b,"request_id":"%b%b%b'
            % (
                self._prefix,
                int((now - second) * 1000),
                parts[0],
                seconds * 1000,
                encode(client),
                request_id.encode(),
                trace,
                parts[1],
            )
        )

    def _make(self, level: int, method: str, path: str, route: str, status: int, service: str) -> tuple[bytes, bytes]:
        """What stands before the duration and after the ids; kept where the path is no variable."""
        first = {
            "level": level_name(level),
            "event": "request",
            "message": f"{method} {route} {status}",
            "method": method,
            "path": path[:200],
            "route": route,
            "status": status,
        }
        last = {"service": service, "logger": LOGGER.name}
        made = (
            b'+00:00",' + encode(first)[1:-1] + b',"duration_ms":',
            b'",' + encode(last)[1:] + b"\n",
        )
        if path == route and len(self._parts) < _MOST_PARTS:
            self._parts[level, method, route, status] = made
        return made


_target: tuple[Lines, str] | None = None
"""Where request lines go, and the name of this service; None until `configure`."""


def configure(level: str, service: str, stream: TextIO | None = None) -> None:
    """Makes the root logger write JSON lines; uvicorn's loggers, which it starts without handlers, end there too.

    Lines go to standard output from a thread of their own, or to `stream` at once.
    """
    global _target

    def dropped(count: int) -> bytes:
        said = line(time.time(), logging.WARNING, "log", f"{count} log lines dropped", service, LOGGER.name)
        return encode(said) + b"\n"

    lines: Lines = DirectLines(stream) if stream is not None else BufferedLines(sys.stdout.fileno(), dropped)
    _target = (lines, service)
    handler = _Handler(lines)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    for name in ("fairlead", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def event(name: str, message: str, /, level: int = logging.INFO, **fields: Any) -> None:
    """Logs `message` as an event with fields of its own."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, "%s", message, extra={_FIELDS: {"event": name, **fields}})


def error(message: str, /, exception: BaseException | None = None, **fields: Any) -> None:
    """Logs an error, with its traceback if there is one."""
    LOGGER.error("%s", message, exc_info=exception, extra={_FIELDS: {"event": "error", **fields}})


def audit(action: str, outcome: str, client: str, /, **fields: Any) -> None:
    """Logs who (network address, and subject where keys are asked for) did what to which model, and how it ended."""
    by = subject.get()
    who: dict[str, Any] = {} if by is None else {"subject": by}
    event("audit", f"{action}: {outcome}", action=action, outcome=outcome, client=client, **who, **fields)


def capture_output() -> None:
    """Makes lines of what this process prints, and of the exception that ends it. After `configure`, which has to be
    given the stream that lines go to."""
    sys.stdout, sys.stderr = _Printed("stdout"), _Printed("stderr")
    sys.excepthook = lambda _, error, __: LOGGER.critical(
        "ended by %s", type(error).__name__, exc_info=error, extra={_FIELDS: {"event": "error"}}
    )


class _Printed(io.TextIOBase):
    """A text stream whose lines are events."""

    encoding = "utf-8"

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = ""

    def write(self, text: str) -> int:
        *whole, self._rest = (self._rest + text).split("\n")
        for said in filter(str.strip, whole):
            event("log", said.rstrip(), stream=self._name)
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Of the process's standard error, for libraries that go around Python's streams."""
        return 2
