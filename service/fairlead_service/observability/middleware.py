"""Around every request that FastAPI routes: what `requests` does, and the answer to whatever escaped. Pure ASGI,
because Starlette's `BaseHTTPMiddleware` costs ten times as much.
"""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead_service import errors
from fairlead_service.hardening import missing
from fairlead_service.inference.body import DisconnectError
from fairlead_service.observability import logs
from fairlead_service.observability.metrics import UNMATCHED
from fairlead_service.observability.requests import CLIENT_GONE, REQUEST_ID, Observer, Seen

_NO_TEMPLATE: Final = frozenset({"/", "/docs", "/openapi.json"})
_CLOSE: Final = (b"connection", b"close")


class Observed:
    """The outermost layer of FastAPI's."""

    def __init__(self, app: ASGIApp, *, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = self._observer.begin(scope)
        scope.setdefault("state", {})["request_id"] = seen.request_id
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": self._headers(seen, message)}
            await send(message)

        try:
            await self._app(scope, receive, send_more)
        except DisconnectError:
            status = CLIENT_GONE
        except Exception as error:
            logs.error(f"{scope['method']} {_template(scope)} failed", error)
            if status != 0:
                raise  # the answer is under way: uvicorn cuts the connection
            await _answer_500(send_more, seen.request_id)
        finally:
            self._observer.finish(seen, _template(scope), status)

    def _headers(self, seen: Seen, message: Message) -> list[tuple[bytes, bytes]]:
        own = message.get("headers", ())
        headers = [*own, (REQUEST_ID, seen.request_id.encode()), *missing(own)]
        if _CLOSE not in headers and self._observer.last_on_connection(seen.scope):
            headers.append(_CLOSE)
        return headers


def _template(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    return scope["path"] if scope["path"] in _NO_TEMPLATE else UNMATCHED


async def _answer_500(send: Send, request_id: str) -> None:
    body = errors.InternalError(errors.UNEXPECTED).body(request_id)
    headers = [(b"content-type", errors.MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
