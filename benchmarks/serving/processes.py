"""Starting a server on its core, reading what it writes, and ending it with everything it started.

Servers start children in groups and sessions of their own (Ray has eleven processes), so they are found by a mark in
their environment, which children inherit, and not by their parents.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from benchmarks.serving.paths import BenchError

START_SECONDS: Final = 90
_STOP_SECONDS: Final = 3
_PIPE_BYTES: Final = 2**20
_F_SETPIPE_SZ: Final = 1031


class ServerError(BenchError):
    """A server did not start, or did not answer as it should."""


@dataclass
class Process:
    """A running server and its children."""

    marker: str
    popen: subprocess.Popen[bytes]
    _tail: deque[bytes] = field(default_factory=lambda: deque(maxlen=16))

    def pids(self) -> list[int]:
        """All processes of this server that live."""
        mark, found = f"FAIRLEAD_BENCH={self.marker}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def memory(self) -> tuple[float, float]:
        """Resident and proportional set size of all its processes, in MiB."""
        total = {"Rss:": 0, "Pss:": 0}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    name, _, rest = line.partition(" ")
                    if name in total:
                        total[name] += int(rest.split()[0])
        return total["Rss:"] / 1024, total["Pss:"] / 1024

    def tail(self, lines: int = 15) -> str:
        """The end of what it wrote."""
        text = b"".join(self._tail).decode(errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:]) or "(it wrote nothing)"

    def check(self) -> None:
        """Raises ServerError if it has ended."""
        if (code := self.popen.poll()) is not None:
            time.sleep(0.1)  # its last words are still being read
            raise ServerError(f"ended with code {code}:\n{self.tail()}")

    def drain(self, pipe: IO[bytes]) -> None:
        """Reads its log as a container runtime would, so that it is never held up by a full pipe."""
        with pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                self._tail.append(chunk)

    def stop(self) -> None:
        """Asks it to end, then makes it: all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline and (self.popen.poll() is None or self.pids()):
            time.sleep(0.02)
        while left := self.pids():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self.popen.wait()


@contextmanager
def running(
    command: Sequence[str], environment: Callable[[str], Mapping[str, str]], core: int, directory: Path
) -> Iterator[Process]:
    """A program on one core, with its own process group (Ctrl-C is for us) and its log in a pipe."""
    marker = uuid.uuid4().hex
    popen = subprocess.Popen(
        ["taskset", "--cpu-list", str(core), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment(marker)),
        cwd=directory,
        start_new_session=True,
    )
    process = Process(marker, popen)
    try:
        assert popen.stdout is not None
        _widen(popen.stdout)
        threading.Thread(target=process.drain, args=(popen.stdout,), daemon=True).start()
        yield process
    finally:
        process.stop()


def await_port(process: Process, port: int, seconds: float = START_SECONDS) -> None:
    """Until something listens there. Raises ServerError."""
    deadline = time.monotonic() + seconds
    while True:
        process.check()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise ServerError(f"does not listen after {seconds:.0f} s:\n{process.tail()}")
        time.sleep(0.005)


def free_ports(count: int) -> tuple[int, ...]:
    """Ports that nothing listens on at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory of a short name (Ray puts Unix sockets into it) that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="flb-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _widen(pipe: IO[bytes]) -> None:
    import fcntl

    with contextlib.suppress(OSError):  # a limit of the system; the default holds 64 KiB
        fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, _PIPE_BYTES)
