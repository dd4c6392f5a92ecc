"""Logs: one JSON object a line on stdout, ours and the libraries' alike, in the form that the service's lines have.

Required are `timestamp`, `level`, `event`, `message`, `service` and `logger`. Events: `audit` (what became of a model,
and at whose word), `error`, `started` (with the ports), `log` (everything else).
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from fairlead_operator import tracing

SERVICE: Final = "fairlead-operator"
LEVELS: Final = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_KOPF: Final = frozenset({"k8s_ref", "k8s_skip", "settings"})
_audit: Final = logging.getLogger("fairlead.audit")


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        more = {name: value for name, value in vars(record).items() if name not in _STANDARD | _KOPF}
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": next((name for least, name in LEVELS if record.levelno >= least), "debug"),
            "event": "error" if record.levelno >= logging.ERROR else "log",
            "message": record.getMessage(),
            "service": SERVICE,
            "logger": record.name,
        }
        line |= tracing.identity() | more
        if about := getattr(record, "k8s_ref", None):
            line["object"] = about
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, separators=(",", ":"))


def audit(action: str, message: str, /, namespace: str, name: str, **fields: object) -> None:
    """Says what happened to a ModelDeployment; fields that are None are left out. `by` is who said so, where that is
    known."""
    known = {field: value for field, value in fields.items() if value is not None}
    about = {"event": "audit", "action": action, "namespace": namespace, "modeldeployment": name}
    _audit.info("%s", message, extra=about | known)


def _tells(record: logging.LogRecord) -> bool:
    """Kopf leaves its watches to the ending event loop, which, on a busy machine, reports that as an error."""
    message = record.getMessage()
    return not ("closing of asynchronous generator" in message and "infinite_watch" in message)


def configure(level: str) -> None:
    """Once, at start."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # A line for every request to MLflow and for every watch event tells nothing at rest.
    logging.getLogger("httpx").setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("asyncio").addFilter(_tells)
    logging.getLogger("kopf.objects").setLevel(max(logging.WARNING, logging.getLogger().level))
