"""Around every request: its id, its span, its metrics, its log line, the end of old connections, and the answer to
whatever escaped. Pure ASGI, because Starlette's `BaseHTTPMiddleware` costs ten times as much.
"""

import logging
import re
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead_service import contract, errors
from fairlead_service.inference.body import DisconnectError
from fairlead_service.observability import logs
from fairlead_service.observability.metrics import UNMATCHED, Metrics
from fairlead_service.observability.tracing import Tracing
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        logs.request_id.set(request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        quiet = scope["path"].startswith(_QUIET)
        if not quiet:
            self._metrics.in_progress.inc()
        try:
            await self._request(scope, receive, send, request_id, quiet)
        finally:
            if not quiet:
                self._metrics.in_progress.dec()

    async def _request(self, scope: Scope, receive: Receive, send: Send, request_id: str, quiet: bool) -> None:
        started = time.perf_counter()
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                headers.append((REQUEST_ID, request_id.encode()))
                if (self._drain.active or connection_expired(scope)) and _CLOSE not in headers:
                    headers.append(_CLOSE)
                message = {**message, "headers": headers}
            await send(message)

        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with self._tracing.request_span(scope["method"], scope["headers"], attributes) as span:
            try:
                await self._app(scope, receive, send_more)
            except DisconnectError:
                status = _CLIENT_GONE
            except Exception as error:
                logs.error(f"{scope['method']} {_template(scope)} failed", error)
                if status == 0:
                    await _answer_500(send_more, request_id)
                else:
                    raise  # the answer is under way: uvicorn cuts the connection
            finally:
                seconds = time.perf_counter() - started
                template = _template(scope)
                if span.is_recording():
                    span.update_name(f"{scope['method']} {template}")
                    span.set_attributes({"http.route": template, "http.response.status_code": status})
                self._metrics.request(scope["method"], template, status, seconds)
                _log(scope, template, status, seconds, quiet)


def _template(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    return scope["path"] if scope["path"] in _NO_TEMPLATE else UNMATCHED


def _log(scope: Scope, template: str, status: int, seconds: float, quiet: bool) -> None:
    client = scope.get("client")
    logs.event(
        "request",
        f"{scope['method']} {template} {status}",
        level=logging.DEBUG if quiet and status < 500 else logging.INFO,
        method=scope["method"],
        path=scope["path"][:200],
        route=template,
        status=status,
        duration_ms=round(seconds * 1000, 3),
        client=client[0] if client else None,
    )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _ACCEPTED_ID.fullmatch(value):
            return str(value.decode())
    return logs.new_request_id()


async def _answer_500(send: Send, request_id: str) -> None:
    body = errors.InternalError("an unexpected error; it is in the server's log under this request's id").body(
        request_id
    )
    headers = [(b"content-type", errors.MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
