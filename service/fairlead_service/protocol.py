"""uvicorn's HTTP protocol, with what it lacks for clients that are slow, greedy, broken or gone.

Age. A client that pools connections stays on the pod it first met: new pods get no traffic, and shares of a canary
mean nothing. So a connection over its age is closed with the next answer on it, as gRPC's MAX_CONNECTION_AGE does.

Patience. uvicorn waits for ever for the rest of a head, for the rest of a body that was refused, and for a client that
does not read its answer. Here the server looks at its connections once a second, and gives up those.

Limits. Heads and trailers are bounded; nothing more is read from a client that pipelines while its requests wait.

Heads. What proxies read in different ways is refused (`request_head`).

Order. What is no HTTP is answered after the requests before it. An offer to upgrade (Java's client offers HTTP/2 with
its first request) is passed over; uvicorn would drop the request's body. Of a lost connection every request is told.
"""

import random
import time
from asyncio import Transport
from collections import deque
from typing import Any, Final

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from fairlead_service import errors
from fairlead_service.errors import Problem
from fairlead_service.observability import logs
from fairlead_service.request_head import problem_of

HEAD_BYTES: Final = 2**16
"""Most of a head, a trailer or a chunk's framing, beyond the segment in which it began."""
_EXPIRES: Final = "fairlead.connection_expires"
HEADERS: Final = "fairlead.headers"
"""In a request's scope: its headers by their names."""
_JITTER: Final = 0.2
_AT_REST: Final = ("first byte", "next request")
_UPGRADE: Final = (b"upgrade", b"http2-settings")


class Flow(FlowControl):
    """Does not read on while requests of the same client wait, nor after what is no HTTP."""

    def __init__(self, transport: Transport, waiting: "deque[Any]") -> None:
        super().__init__(transport)
        self._waiting = waiting
        self.stopped = False

    def resume_reading(self) -> None:
        if self.read_paused and not self._waiting and not self.stopped:
            self.read_paused = False
            self._transport.resume_reading()


class Protocol(HttpToolsProtocol):
    """One connection. Subclasses by `protocol` have the settings."""

    max_age: float
    """Seconds, give or take a fifth; 0: for ever."""
    patience: float
    """Seconds for a head, for the rest of a refused body, and without progress in writing an answer."""
    idle: float
    """Seconds for the first byte, and between an answer and the next request."""

    expires = float("inf")
    running: RequestResponseCycle | None = None
    """The request that is being answered, or was last; those behind it are in the pipeline."""
    _wrong_head: Problem | None = None
    """Of the request whose head is being read."""
    _refusal: Problem | None = None
    """Told when the requests before it are answered."""
    _requests = 0
    _part: object = None
    _part_bytes = 0
    """How much has come without completing a head or adding to a body, of the request `_part`."""
    _stalled: tuple[object, float] | None = None
    """What is awaited of the client, and since when."""

    # What the event loop and the parser call:
    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        if self.max_age > 0:
            self.expires = time.monotonic() + self.max_age * random.uniform(1 - _JITTER, 1 + _JITTER)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.pipeline.clear()
        if self.running is not None and not self.running.response_complete:
            self.running.disconnected = True
            self.running.message_event.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(self._wrong_head or errors.MalformedRequest("Invalid HTTP request received. Send HTTP/1.1."))
            return
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.scope is not self.scope:
            self._received_part(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._requests += 1
        self.scope[_EXPIRES] = self.expires  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        known = self.scope[HEADERS] = dict(self.headers)  # type: ignore[typeddict-unknown-key]
        self._wrong_head = problem_of(self.headers, known, self.parser.get_http_version())
        if self._wrong_head is not None:
            raise httptools.HttpParserError(self._wrong_head.detail)
        super().on_headers_complete()

    # What uvicorn calls:
    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._answer(self._refusal)
        # uvicorn would set a timer for the next request, and end it with the next: `look` does without

    def _should_upgrade(self) -> bool:
        return True  # so that uvicorn leaves the request to `_feed`

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                if self.parser.get_method() == b"CONNECT":
                    raise httptools.HttpParserError("this is no proxy") from None
                data = self._without_upgrade() + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _without_upgrade(self) -> bytes:
        """The head that was read, as if the client had offered nothing."""
        line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        head = [line]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(token for token in value.split(b",") if token.strip().lower() not in _UPGRADE)
            if name not in _UPGRADE:
                head.append(b"%b: %b\r\n" % (name, value))
        return b"".join((*head, b"\r\n"))

    def _received_part(self, size: int) -> None:
        """Counts what has brought a request no further, or only some of its body."""
        cycle = self.cycle
        in_body = cycle is not None and cycle.scope is self.scope
        if self._part is not self.scope or (in_body and (cycle.body or cycle.response_complete)):
            self._part, self._part_bytes = self.scope, 0
            return
        self._part_bytes += size
        if self._part_bytes > HEAD_BYTES:
            self._refuse(errors.HeadTooLarge(f"a head of more than {HEAD_BYTES} bytes; send fewer and shorter headers"))

    def _refuse(self, problem: Problem) -> None:
        """Answers what is no request, after the requests before it, and closes the connection."""
        self.flow.stopped = True  # type: ignore[attr-defined]
        if self.pipeline and self.cycle.more_body:
            self.pipeline.popleft()  # it is the one that is broken
        due = self.running is not None and not self.running.response_complete
        if due and (self.pipeline or self.running is not self.cycle or not self.cycle.more_body):
            self._refusal = problem
            self.flow.pause_reading()
        elif not self.transport.is_closing():
            self._answer(problem)

    def _answer(self, problem: Problem) -> None:
        request_id = logs.new_request_id()
        client = self.client[0] if self.client else None
        logs.event("log", f"closed a connection: {problem.detail}", client=client, problem=problem.slug)
        body = problem.body(request_id)
        self.transport.write(
            b"%bcontent-type: %b\r\nx-request-id: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[problem.status], errors.MEDIA_TYPE.encode(), request_id.encode(), len(body), body)
        )
        self.transport.close()

    # What `server` calls:
    def look(self, now: float) -> None:
        """To be called about once a second: gives up the connection if its client keeps it waiting for too long."""
        awaited = self._awaited()
        if awaited is None:
            self._stalled = None
        elif self._stalled is None or self._stalled[0] != awaited:
            self._stalled = (awaited, now)
        elif now - self._stalled[1] >= (self.idle if awaited[0] in _AT_REST else self.patience):
            self._stalled = None
            self._give_up(awaited[0])

    def _awaited(self) -> tuple[str, *tuple[int, ...]] | None:
        """What only the client can do now."""
        unread = self.transport.get_write_buffer_size()
        if unread > 0:
            return ("reading", unread)
        busy = self.running is not None and not self.running.response_complete
        if busy or self.transport.is_closing():
            return None  # the server's turn
        if self.scope is None:
            return ("first byte",)
        if self.cycle is None or self.cycle.scope is not self.scope:
            return ("head", self._requests)
        return ("rest of a body" if self.cycle.more_body else "next request", self._requests)

    def _give_up(self, awaited: str) -> None:
        if awaited == "reading":
            self.transport.abort()
        elif awaited == "head":
            self._refuse(errors.HeadTimeout(f"the head did not arrive in {self.patience:g} s"))
        else:
            self.transport.close()


def protocol(*, max_age: float, patience: float, idle: float) -> type[Protocol]:
    """The class that uvicorn is given."""
    return type("Protocol", (Protocol,), {"max_age": max_age, "patience": patience, "idle": idle})


def connection_expired(scope: Scope) -> bool:
    """Whether the request's connection is over its age (never, under other servers)."""
    expires: float = scope.get(_EXPIRES, float("inf"))
    return time.monotonic() >= expires
