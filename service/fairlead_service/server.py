"""uvicorn, with the two things a rolling update needs of it: leaving without a failed request, and connections that
do not live for ever.

Leaving. A pod gets SIGTERM at about the moment its address is taken out of the load balancers, some seconds before
the last of them knows. So the first SIGTERM only starts a drain: readiness answers 503, every answer carries
`Connection: close`, and new connections are still served. When the drain is over, uvicorn's own graceful shutdown
finishes the requests in flight. A second signal, or Ctrl-C, skips the drain. No preStop hook is needed.

Age. A client that pools connections stays on the pod it first met: new pods get no traffic, and shares of a canary
mean nothing. So a connection over its age is closed with the next answer on it, as gRPC's MAX_CONNECTION_AGE does.
"""

import asyncio
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairlead_service import errors
from fairlead_service.observability import logs

_EXPIRES: Final = "fairlead.connection_expires"
_JITTER: Final = 0.2


class Drain:
    """Whether the server is leaving. The server writes it, the application reads it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until: float | None = None

    @property
    def active(self) -> bool:
        return self._until is not None

    @property
    def over(self) -> bool:
        return self._until is not None and time.monotonic() >= self._until

    def begin(self) -> None:
        """Starts it; later calls do nothing. Safe in a signal handler."""
        if self._until is None:
            self._until = time.monotonic() + self.seconds


class Server(uvicorn.Server):
    """`before_shutdown` is awaited after the drain, before requests in flight are waited for."""

    def __init__(
        self, config: uvicorn.Config, drain: Drain, before_shutdown: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._before_shutdown = before_shutdown
        self._announced = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
        elif sig == signal.SIGTERM and not self._drain.active and self.started:
            self._drain.begin()
        else:
            self._drain.begin()
            self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            logs.event("started", f"serving on {host} port {port}", port=port)

    async def on_tick(self, counter: int) -> bool:
        if self._drain.active and not self._announced:  # here, because a signal handler must not log
            self._announced = True
            logs.event("log", f"leaving: still serving for {self._drain.seconds:g} s, but closing connections")
        return await super().on_tick(counter) or self._drain.over

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.should_exit = True
        if self._before_shutdown is not None:
            await self._before_shutdown()
        forced = self.force_exit
        await super().shutdown(sockets)
        if forced or self.force_exit:  # uvicorn skips it then, but child processes must not outlive the server
            await self.lifespan.shutdown()


def protocol_with_age(seconds: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol whose connections expire after `seconds`, give or take a fifth; 0 means never."""

    class Protocol(HttpToolsProtocol):
        expires = float("inf")

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if seconds > 0:
                self.expires = time.monotonic() + seconds * random.uniform(1 - _JITTER, 1 + _JITTER)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope[_EXPIRES] = self.expires  # type: ignore[typeddict-unknown-key]

        def send_400_response(self, msg: str) -> None:
            body = errors.MalformedRequest(f"{msg} Send HTTP/1.1.").body(logs.new_request_id())
            head = (
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
                % (errors.MEDIA_TYPE.encode(), len(body))
            )
            self.transport.write(head + body)
            self.transport.close()

    return Protocol


def connection_expired(scope: Scope) -> bool:
    """Whether the request's connection is over its age (never, under other servers)."""
    expires: float = scope.get(_EXPIRES, float("inf"))
    return time.monotonic() >= expires
