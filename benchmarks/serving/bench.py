"""A running server of the benchmark: started, proven to answer right, and ready to be measured."""

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.serving import environments, processes, servers
from benchmarks.serving.models import Rows, SavedModel
from benchmarks.serving.paths import APPS
from benchmarks.serving.processes import Process, ServerError
from benchmarks.serving.servers import Place, Server

CHECKED_ROWS: Final = 64
_CONNECTIONS: Final = 8


@dataclass(frozen=True)
class Bench:
    """What all servers share."""

    server_core: int
    client_core: int
    sink: int
    sizes: dict[tuple[str, int], int]
    """(model, rows) → bytes of our answer, which the constant answer copies."""


@dataclass(frozen=True)
class Running:
    server: Server
    model: SavedModel
    process: Process
    port: int
    sizes: dict[tuple[str, int], int]

    def path(self, rows: int) -> str:
        """Where a request of so many rows goes."""
        if self.server.protocol is not None:
            return self.server.protocol.path
        return f"/{self.sizes.get((self.model.name, rows), 100)}"

    def body(self, rows: Rows) -> bytes:
        return (self.server.protocol or servers.OURS.protocol).body(rows)  # type: ignore[union-attr]

    def ask(self, rows: Rows) -> bytes:
        """The body of one answer. Raises ServerError unless it is a 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=processes.START_SECONDS)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", self.path(len(rows)), self.body(rows), headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"no answer: {error}\n{self.process.tail()}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise ServerError(f"status {response.status}: {body[:500].decode(errors='replace')}")
        return body

    def check(self, batches: list[int]) -> None:
        """Asks for labels, as single rows at once and as batches. Raises ServerError unless all are scikit-learn's."""
        places = [(at, at + 1) for at in range(CHECKED_ROWS)] + [(0, rows) for rows in batches if rows > 1]
        with ThreadPoolExecutor(_CONNECTIONS) as threads:
            for wrong in threads.map(lambda place: self._wrong(*place), places):
                if wrong:
                    raise ServerError(wrong)

    def _wrong(self, start: int, end: int) -> str | None:
        rows, wanted = self.model.rows[start:end], self.model.labels[start:end]
        body = self.ask(rows)
        if self.server.protocol is None:
            return None
        try:
            labels = self.server.protocol.labels(body)
        except (ValueError, KeyError, TypeError) as error:
            return f"an answer that can't be read ({type(error).__name__}: {error}): {body[:200]!r}"
        return None if labels == wanted else f"wrong labels for rows {start} to {end}: {labels[:5]}…, not {wanted[:5]}…"


@contextmanager
def started(bench: Bench, server: Server, model: SavedModel) -> Iterator[Running]:
    """A server that has answered one row. Raises ServerError if it does not within 90 s."""
    with processes.scratch() as directory:
        ports = processes.free_ports(3)
        place = Place(environments.python(server.peer), model, ports, directory, bench.sink)
        launch = server.launch(place)
        environment = partial(servers.environment, launch)
        with processes.running(launch.command, environment, bench.server_core, directory) as process:
            running = Running(server, model, process, ports[0], bench.sizes)
            _await_answer(running)
            yield running


@contextmanager
def benched(server_core: int, client_core: int) -> Iterator[Bench]:
    """With the sink of traces, on the client's core."""
    (port,) = processes.free_ports(1)
    launch = servers.Launch(
        (str(environments.python(environments.OURS)), str(APPS / "constant.py")), {"BENCH_PORT": str(port)}
    )
    with processes.scratch() as directory:
        environment = partial(servers.environment, launch)
        with processes.running(launch.command, environment, client_core, directory) as process:
            processes.await_port(process, port)
            yield Bench(server_core, client_core, port, {})


def _await_answer(running: Running) -> None:
    deadline = time.monotonic() + processes.START_SECONDS
    processes.await_port(running.process, running.port)
    while True:
        try:
            running.ask(running.model.rows[:1])
            return
        except ServerError as error:
            running.process.check()
            if time.monotonic() > deadline:
                raise ServerError(f"does not answer after {processes.START_SECONDS} s: {error}") from error
            time.sleep(0.005)
