"""What every log line has, whoever writes it; docs/logs.schema.json is the whole form. Pure."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

_LEVELS = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)


def line(now: float, level: int, event: str, message: str, service: str, logger: str) -> dict[str, Any]:
    """The fields that are required. `now` is in seconds since 1970; `level` one of logging's numbers, or between."""
    return {
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "level": level_name(level),
        "event": event,
        "message": message,
        "service": service,
        "logger": logger,
    }


def level_name(level: int) -> str:
    """Of a library's own level, the next one below."""
    return next((name for least, name in _LEVELS if level >= least), "debug")


def encode(found: Any) -> bytes:
    """As JSON, whatever is in it; what JSON has not, as text."""
    try:
        return orjson.dumps(found, default=str)
    except TypeError:  # lone surrogates, integers over 64 bits, keys that are no strings
        return orjson.dumps(_plain(found))


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {_text(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case None | bool() | float():
            return value
        case int() if -(2**63) <= value < 2**64:
            return int(value)
    return _text(value)


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
