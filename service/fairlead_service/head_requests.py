"""HEAD wherever there is GET: the same answer with the same headers, without its body (RFC 9110, 9.3.2).

FastAPI's routes take only the methods that they name. Here the application sees GET; metrics and log lines, which are
made around this, see HEAD.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """Around whatever makes an answer's headers, compression among it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, send_without_body)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]


def allowed(methods: str) -> str:
    """A value of `Allow` with HEAD beside GET."""
    names = {name.strip() for name in methods.split(",")}
    return ", ".join(sorted(names | {"HEAD"} if "GET" in names else names))
