"""One JSON object a line on standard output: our own events, uvicorn's and every library's alike.

Values of features never come here, nor request bodies. JSON escapes line breaks, so nothing a client sends can forge
a line. Events: `request` (one an HTTP request), `error`, `audit` (who trained or loaded what, with which outcome),
`started` (with the port), `log` (everything else).
"""

import logging
import sys
import traceback
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson
from opentelemetry import trace

LOGGER: Final = logging.getLogger("fairlead")
request_id: ContextVar[str] = ContextVar("request_id", default="")

_FIELDS: Final = "fairlead_fields"
_NOISY: Final = ("asyncio", "opentelemetry", "urllib3", "httpx")


def new_request_id() -> str:
    return uuid.uuid4().hex


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON. `service` is the value of the field of that name."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": "log",
            "message": record.getMessage(),
            "service": self._service,
            "logger": record.name,
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = trace.format_trace_id(span.trace_id)
            line["span_id"] = trace.format_span_id(span.span_id)
        if current := request_id.get():
            line["request_id"] = current
        line.update(getattr(record, _FIELDS, {}))
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        return _encode(line)


def configure(level: str, service: str, stream: TextIO | None = None) -> None:
    """Makes the root logger write JSON lines; uvicorn's loggers, which it starts without handlers, end there too."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stdout)
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
    """Logs who (network address) did what to which model, and how it ended."""
    event("audit", f"{action}: {outcome}", action=action, outcome=outcome, client=client, **fields)


def _encode(line: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str).decode()
    except TypeError:  # lone surrogates, integers over 64 bits
        return orjson.dumps({key: _plain(value) for key, value in line.items()}).decode()


def _plain(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
