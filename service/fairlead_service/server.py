"""uvicorn, leaving without a failed request, and with `protocol`'s connections looked after.

A pod gets SIGTERM at about the moment its address is taken out of the load balancers, some seconds before
the last of them knows. So the first SIGTERM only starts a drain: readiness answers 503, every answer carries
`Connection: close`, and new connections are still served. When the drain is over, uvicorn's own graceful shutdown
finishes the requests in flight. A second signal, or Ctrl-C, skips the drain. No preStop hook is needed.
"""

import asyncio
import signal
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairlead_service.observability import logs
from fairlead_service.protocol import Protocol
from fairlead_service.tls import HANDSHAKE_SECONDS

_LOOK_TICKS: Final = 10
"""Ticks of 0.1 s between two looks at the connections."""


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
    """`before_shutdown` is awaited after the drain, before requests in flight are waited for. `secure` is a second
    socket, which speaks TLS; uvicorn itself has one way for all its sockets."""

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        before_shutdown: Callable[[], Awaitable[None]] | None = None,
        secure: tuple[socket.socket, ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._before_shutdown = before_shutdown
        self._secure = secure
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
            if self._secure is not None:
                await self._serve_tls(*self._secure)
            for server, how in zip(self.servers, ("", " by TLS"), strict=False):
                host, port = server.sockets[0].getsockname()[:2]
                logs.event("started", f"serving on {host} port {port}{how}", port=port)

    async def _serve_tls(self, taken: socket.socket, context: ssl.SSLContext) -> None:
        connection: Callable[[], asyncio.Protocol] = partial(
            cast(type[HttpToolsProtocol], self.config.http_protocol_class),
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self.servers.append(
            await asyncio.get_running_loop().create_server(
                connection, sock=taken, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        )

    async def on_tick(self, counter: int) -> bool:
        if self._drain.active and not self._announced:  # here, because a signal handler must not log
            self._announced = True
            logs.event("log", f"leaving: still serving for {self._drain.seconds:g} s, but closing connections")
        if counter % _LOOK_TICKS == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.look(now)
        return await super().on_tick(counter) or self._drain.over

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.should_exit = True
        if self._before_shutdown is not None:
            await self._before_shutdown()
        forced = self.force_exit
        await super().shutdown(sockets)
        if forced or self.force_exit:  # uvicorn skips it then, but child processes must not outlive the server
            await self.lifespan.shutdown()
