"""Logs: one JSON object a line on stdout, ours and the libraries' alike."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_KOPF: Final = frozenset({"k8s_ref", "k8s_skip", "settings"})


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD | _KOPF}
        if about := getattr(record, "k8s_ref", None):
            line["object"] = about
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _tells(record: logging.LogRecord) -> bool:
    """Kopf leaves its watches to the ending event loop, which, on a busy machine, reports that as an error."""
    message = record.getMessage()
    return not ("closing of asynchronous generator" in message and "infinite_watch" in message)


def configure(level: str) -> None:
    """Once, at start."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # A line for every request to MLflow and for every watch event tells nothing at rest.
    logging.getLogger("httpx").setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("asyncio").addFilter(_tells)
    logging.getLogger("kopf.objects").setLevel(max(logging.WARNING, logging.getLogger().level))
