"""What is known of every request: its id, its span, its metrics and its log line.

Used by the two ways through the application: `middleware` around FastAPI's routes, and `inference.raw`. Nothing is done
here for a request that need not be, because this is on the path of every prediction.
"""

import logging
import re
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from opentelemetry.trace import Span
from starlette.types import Scope

from fairlead_service.inference.body import Headers
from fairlead_service.observability import logs
from fairlead_service.observability.metrics import Metrics
from fairlead_service.observability.sampling import trace_id_of
from fairlead_service.observability.summary import QUIET
from fairlead_service.observability.tracing import Tracing
from fairlead_service.protocol import HEADERS, connection_expired
from fairlead_service.server import Drain

REQUEST_ID: Final = b"x-request-id"
CLIENT_GONE: Final = 499
"""What nginx calls a client that left before its answer; seen in metrics and logs only."""
_ACCEPTED_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True, eq=False)
class Seen:
    """One request from its headers to its answer."""

    scope: Scope
    headers: Headers
    request_id: str
    started: float
    """By `time.perf_counter`."""
    quiet: bool
    """A probe or a scrape: not in flight, and logged only for debugging."""
    trace_id: str | None
    span: Span | None = None
    entered: AbstractContextManager[Span] | None = None


class Observer:
    """One an application."""

    def __init__(self, metrics: Metrics, tracing: Tracing, drain: Drain) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._drain = drain
        self._log = logs.RequestLog()

    def begin(self, scope: Scope) -> Seen:
        """To be followed by `finish`, in the same task."""
        headers = scope.get(HEADERS) or dict(scope["headers"])
        sent = headers.get(REQUEST_ID)
        request_id = sent.decode() if sent is not None and _ACCEPTED_ID.fullmatch(sent) else logs.new_request_id()
        logs.request_id.set(request_id)
        quiet = scope["path"].startswith(QUIET)
        if not quiet:
            self._metrics.in_progress += 1
        seen = Seen(scope, headers, request_id, time.perf_counter(), quiet, None)
        parent = headers.get(b"traceparent")
        if self._tracing.sample(parent):
            self._trace(seen)
        elif parent is not None:
            seen.trace_id = trace_id_of(parent)
        return seen

    def finish(self, seen: Seen, template: str, status: int) -> None:
        """Counts and logs the request; `template` is its route's, or UNMATCHED."""
        seconds = time.perf_counter() - seen.started
        scope = seen.scope
        method = scope["method"]
        if not seen.quiet:
            self._metrics.in_progress -= 1
        self._metrics.request(method, template, status, seconds, seen.trace_id if seen.span is not None else None)
        level = logging.DEBUG if seen.quiet and status < 500 else logging.INFO
        client = scope.get("client")
        self._log.write(
            level, method, scope["path"], template, status, seconds, client[0] if client else None, seen.request_id,
            seen.trace_id,
        )  # fmt: skip
        if seen.span is not None and seen.entered is not None:
            seen.span.update_name(f"{method} {template}")
            seen.span.set_attributes({"http.route": template, "http.response.status_code": status})
            seen.entered.__exit__(None, None, None)

    def last_on_connection(self, scope: Scope) -> bool:
        """Whether the answer should close its connection: the server is leaving, or the connection is old."""
        return self._drain.active or connection_expired(scope)

    def _trace(self, seen: Seen) -> None:
        method = seen.scope["method"]
        attributes = {"http.request.method": method, "url.path": seen.scope["path"]}
        entered = self._tracing.request_span(method, seen.headers, attributes)
        seen.entered, seen.span = entered, entered.__enter__()
        seen.trace_id = f"{seen.span.get_span_context().trace_id:032x}"
