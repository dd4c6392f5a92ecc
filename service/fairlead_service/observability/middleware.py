"""Around every request: its id, its span, its metrics, its log line, the end of old connections, and the answer to
whatever escaped. Pure ASGI, because Starlette's `BaseHTTPMiddleware` costs ten times as much, and with nothing done for
a request that need not be: this is on the path of every prediction.
"""

import logging
import re
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead_service import contract, errors
from fairlead_service.inference.body import DisconnectError
from fairlead_service.inference.raw import ROUTE
from fairlead_service.observability import logs
from fairlead_service.observability.metrics import UNMATCHED, Metrics
from fairlead_service.observability.tracing import Tracing, trace_id_of
from fairlead_service.server import Drain, connection_expired

REQUEST_ID: Final = b"x-request-id"
_ACCEPTED_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_QUIET: Final = ("/health", contract.METRICS_PATH)
_NO_TEMPLATE: Final = frozenset({"/", "/docs", "/openapi.json"})
_CLOSE: Final = (b"connection", b"close")
_CLIENT_GONE: Final = 499
"""What nginx calls a client that left before its answer; seen in metrics and logs only."""


class Observed:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, tracing: Tracing, drain: Drain) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._drain = drain
        self._log = logs.RequestLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(REQUEST_ID))
        logs.request_id.set(request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        quiet = scope["path"].startswith(_QUIET)
        counted = not quiet
        self._metrics.in_progress += counted
        try:
            method = scope["method"]
            span = self._tracing.request_span(
                method, headers, {"http.request.method": method, "url.path": scope["path"]}
            )
            if span is None:
                trace_id = trace_id_of(headers.get(b"traceparent"))
                await self._request(scope, receive, send, request_id, quiet, trace_id, sampled=False)
                return
            with span as current:
                trace_id = f"{current.get_span_context().trace_id:032x}"
                try:
                    status = await self._request(scope, receive, send, request_id, quiet, trace_id, sampled=True)
                    current.set_attribute("http.response.status_code", status)
                finally:
                    current.update_name(f"{method} {_template(scope)}")
                    current.set_attribute("http.route", _template(scope))
        finally:
            self._metrics.in_progress -= counted

    async def _request(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_id: str,
        quiet: bool,
        trace_id: str | None,
        *,
        sampled: bool,
    ) -> int:
        """Answers; returns the status that was sent."""
        started = time.perf_counter()
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [(REQUEST_ID, request_id.encode())]
                headers = message.get("headers", ())
                if (self._drain.active or connection_expired(scope)) and _CLOSE not in headers:
                    more.append(_CLOSE)
                message = {**message, "headers": [*headers, *more]}
            await send(message)

        try:
            await self._app(scope, receive, send_more)
        except DisconnectError:
            status = _CLIENT_GONE
        except Exception as error:
            logs.error(f"{scope['method']} {_template(scope)} failed", error)
            if status != 0:
                raise  # the answer is under way: uvicorn cuts the connection
            await _answer_500(send_more, request_id)
        finally:
            seconds = time.perf_counter() - started
            template = _template(scope)
            self._metrics.request(scope["method"], template, status, seconds, trace_id if sampled else None)
            client = scope.get("client")
            self._log.write(
                logging.DEBUG if quiet and status < 500 else logging.INFO,
                trace_id,
                {
                    "message": f"{scope['method']} {template} {status}",
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "route": template,
                    "status": status,
                    "duration_ms": round(seconds * 1000, 3),
                    "client": client[0] if client else None,
                    "request_id": request_id,
                },
            )
        return status


def _template(scope: Scope) -> str:
    raw = scope.get(ROUTE)
    if raw is not None:
        return str(raw)
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    return scope["path"] if scope["path"] in _NO_TEMPLATE else UNMATCHED


def _request_id(sent: bytes | None) -> str:
    if sent is not None and _ACCEPTED_ID.fullmatch(sent):
        return sent.decode()
    return logs.new_request_id()


async def _answer_500(send: Send, request_id: str) -> None:
    body = errors.InternalError("an unexpected error; it is in the server's log under this request's id").body(
        request_id
    )
    headers = [(b"content-type", errors.MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
