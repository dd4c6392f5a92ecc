"""Servers as processes of their own: `python -m fairlead_service` on a free port."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.service.support import tree, write_bundle

PATIENCE = 60.0
"""Seconds that a server may take to start or to end on a busy machine."""


@dataclass
class ServerProcess:
    """A running server. `lines` collects what it logs."""

    process: subprocess.Popen[bytes]
    lines: list[dict[str, Any]] = field(default_factory=list)
    _events: "queue.SimpleQueue[dict[str, Any] | None]" = field(default_factory=queue.SimpleQueue)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE)

    def follow(self) -> None:
        """Reads the log to its end; every line must be JSON."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            parsed = json.loads(line)
            self.lines.append(parsed)
            self._events.put(parsed)
        self._events.put(None)

    def wait_for(self, **fields: Any) -> dict[str, Any]:
        """The next line with these fields."""
        while (line := self._events.get(timeout=PATIENCE)) is not None:
            if fields.items() <= line.items():
                return line
        raise AssertionError(f"the server ended without {fields}: {self.lines[-5:]}")

    def wait_for_end(self) -> None:
        """Until `lines` has all that the server will ever say."""
        while self._events.get(timeout=PATIENCE) is not None:
            pass

    def ended(self) -> int:
        return self.process.wait(PATIENCE)


StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decision tree, compiled, as most servers here have it."""
    return write_bundle(tmp_path_factory.mktemp("tree") / "bundle", tree()).directory


def start_process(**settings: object) -> subprocess.Popen[bytes]:
    """A server on a free port, its log in a pipe that somebody has to read."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FAIRLEAD_", "OTEL_"))}
    defaults = {"FAIRLEAD_HOST": "127.0.0.1", "FAIRLEAD_PORT": "0"}
    environment = inherited | defaults | {key.upper(): str(value) for key, value in settings.items()}
    return subprocess.Popen([sys.executable, "-m", "fairlead_service"], stdout=subprocess.PIPE, env=environment)


@pytest.fixture(scope="module")
def launch_server() -> Iterator[StartServer]:
    """Starts a server with the settings given without waiting for it; what still runs at the module's end is killed."""
    servers: list[tuple[ServerProcess, threading.Thread]] = []

    def launch(**settings: object) -> ServerProcess:
        server = ServerProcess(start_process(**settings))
        reader = threading.Thread(target=server.follow)
        reader.start()
        servers.append((server, reader))
        return server

    yield launch
    for server, reader in servers:
        server.process.kill()
        server.process.wait()
        reader.join()
        assert server.process.stdout is not None
        server.process.stdout.close()


@pytest.fixture(scope="module")
def start_server(launch_server: StartServer) -> StartServer:
    """Starts a server with the settings given and waits until it serves."""

    def start(**settings: object) -> ServerProcess:
        server = launch_server(**settings)
        server.port = server.wait_for(event="started")["port"]
        return server

    return start
