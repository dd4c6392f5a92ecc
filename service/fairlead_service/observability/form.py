"""What every log line has, whoever writes it; docs/logs.schema.json is the whole form. Pure."""

import logging
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

_UNSEEN: Final = ("Cc", "Cf", "Zl", "Zp")
"""Unicode's controls, formats (marks of direction, joiners, tags), and separators of lines."""
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
    """As JSON, whatever is in it; what JSON has not, as text. Characters that steer a terminal, or turn the order of
    what is read around, are escaped: JSON's readers see no difference, and people see what is there."""
    try:
        encoded = orjson.dumps(found, default=str)
    except TypeError:  # lone surrogates, integers over 64 bits, keys that are no strings
        encoded = orjson.dumps(_plain(found))
    text = encoded.decode()
    return encoded if text.isprintable() else "".join(map(_seen, text)).encode()


def _seen(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


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
