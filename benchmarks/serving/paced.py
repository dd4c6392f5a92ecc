"""Requests at a given rate, whatever the server does: latency at half load, which full load can't show.

An open loop: requests arrive at random moments (a Poisson process of a fixed seed), and latency counts from the moment
a request should have been sent, so that one the server holds up is not forgotten for those behind it. Raw sockets and
a loop that spins, on a core of its own, because a sleeping client's own delays would be what is measured.
"""

import argparse
import json
import random
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final

_SPIN_SECONDS: Final = 0.002
_PATIENCE_SECONDS: Final = 10.0


class Client:
    """A pool of connections to one port; each has at most one request under way."""

    def __init__(self, port: int, connections: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._received: dict[int, bytearray] = {}
        self._due: dict[int, float] = {}
        self._free: deque[int] = deque()
        self.latencies: list[float] = []
        self.failures = 0
        for _ in range(connections):
            self._connect()

    def run(self, arrivals: list[float]) -> None:
        """Sends a request at each of these moments (seconds from now), and waits for what is under way."""
        began, waiting, at = time.perf_counter(), deque[float](), 0
        while at < len(arrivals) or waiting or self._due:
            now = time.perf_counter() - began
            while at < len(arrivals) and arrivals[at] <= now:
                waiting.append(began + arrivals[at])
                at += 1
            while waiting and self._free:
                self._send(self._free.popleft(), waiting.popleft())
            if at == len(arrivals) and now > (arrivals[-1] if arrivals else 0) + _PATIENCE_SECONDS:
                self.failures += len(waiting) + len(self._due)
                return
            pause = arrivals[at] - now - _SPIN_SECONDS if at < len(arrivals) else _SPIN_SECONDS
            for number, _ in self._poll.poll(max(0.0, pause) if not self._due else 0):
                self._receive(number)

    def _connect(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        number = connection.fileno()
        self._sockets[number], self._received[number] = connection, bytearray()
        self._poll.register(number, select.EPOLLIN)
        self._free.append(number)

    def _send(self, number: int, due: float) -> None:
        self._due[number] = due
        try:
            self._sockets[number].sendall(self._request)
        except OSError:
            self._fail(number)

    def _receive(self, number: int) -> None:
        try:
            chunk = self._sockets[number].recv(262144)
        except OSError:
            chunk = b""
        if not chunk:
            self._fail(number)
            return
        received = self._received[number]
        received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        lower = bytes(head).lower()
        _, found, after = lower.partition(b"content-length:")
        if not found or len(body) < int(after.split(b"\r\n", 1)[0]):
            return
        due = self._due.pop(number)
        if head.split(b" ", 2)[1] == b"200":
            self.latencies.append(time.perf_counter() - due)
        else:
            self.failures += 1
        if b"connection: close" in lower:
            self._replace(number)
        else:
            received.clear()
            self._free.append(number)

    def _fail(self, number: int) -> None:
        """A connection that ends with a request under way is a failure; an idle one may be closed at any time."""
        if self._due.pop(number, None) is not None:
            self.failures += 1
        else:
            self._free.remove(number)
        self._replace(number)

    def _replace(self, number: int) -> None:
        self._poll.unregister(number)
        self._sockets.pop(number).close()
        self._connect()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--body", type=Path, help="a file; without it the requests are GETs")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args(arguments)
    client = Client(options.port, options.connections, _request(options.path, options.body))
    chance, at, arrivals = random.Random(0), 0.0, []
    while (at := at + chance.expovariate(options.rate)) < options.seconds:
        arrivals.append(at)
    client.run(arrivals)
    ordered = sorted(client.latencies) or [float("nan")]
    quantiles = {name: 1000 * ordered[int(share * (len(ordered) - 1))] for name, share in (("p50", 0.5), ("p99", 0.99))}
    print(json.dumps({**quantiles, "max": 1000 * ordered[-1], "requests": len(arrivals), "failed": client.failures}))
    return 0


def _request(path: str, file: Path | None) -> bytes:
    body = file.read_bytes() if file else b""
    head = f"{'POST' if file else 'GET'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if file:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
