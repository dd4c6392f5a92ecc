"""One request and its answer, with uvicorn on the other side.

ASGI passes an answer as two messages of dictionaries and lists, which uvicorn checks header by header: a third of the
time of a small answer. uvicorn's own object for the exchange, which stands behind `receive`, can be written to
directly, and knows whether the body has arrived and whether the client has left. Under any other server, ASGI it is.
"""

from starlette.types import Receive, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from fairlead_service.inference.body import Headers, read_body


class Exchange:
    __slots__ = ("_cycle", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send) -> None:
        cycle = getattr(receive, "__self__", None)
        self._cycle = cycle if isinstance(cycle, RequestResponseCycle) else None
        self._receive = receive
        self._send = send

    def gone(self) -> bool:
        """Whether the client is known to have left."""
        return self._cycle is not None and self._cycle.disconnected

    async def body(self, headers: Headers, *, limit: int, seconds: float) -> bytes:
        """As `read_body`; without a timer when all of the body is there."""
        cycle = self._cycle
        if cycle is not None and not cycle.more_body and not cycle.disconnected and len(cycle.body) <= limit:
            body = bytes(cycle.body)
        else:
            body = await read_body(headers, self._receive, limit=limit, seconds=seconds)
        if cycle is not None and cycle.flow.read_paused:  # as after 64 KiB of a body
            cycle.flow.resume_reading()  # or nobody would know when the client leaves
        return body

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Sends the whole answer; `headers` are without the body's length."""
        cycle = self._cycle
        if cycle is None or cycle.flow.write_paused or cycle.response_started or cycle.access_log:
            headers = [*headers, (b"content-length", b"%d" % len(body))]
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})
        elif not cycle.disconnected:
            _write(cycle, status, headers, body)


def _write(cycle: RequestResponseCycle, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """What the cycle's own `send` does for the two messages of a whole answer of known length."""
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    head = [STATUS_LINE[status]]
    for name, value in cycle.default_headers:
        head += (name, b": ", value, b"\r\n")
    for name, value in headers:
        head += (name, b": ", value, b"\r\n")
        if name == b"connection":
            cycle.keep_alive = False
    if not cycle.keep_alive and (b"connection", b"close") not in headers:
        head.append(b"connection: close\r\n")
    head.append(b"content-length: %d\r\n\r\n" % len(body))
    head.append(body)
    cycle.transport.write(b"".join(head))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
