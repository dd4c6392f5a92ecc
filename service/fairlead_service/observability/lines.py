"""Where log lines go: standard output, without anybody waiting for it.

A pipe whose reader is slow blocks whoever writes to it. So lines are gathered in memory, and a thread writes what has
come together every few milliseconds, in one call. When the reader stays away for long, lines are dropped, and counted.
"""

import atexit
import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TextIO

INTERVAL_SECONDS: Final = 0.02
MAX_PENDING: Final = 100_000
"""Lines; about 30 MB."""
EXIT_SECONDS: Final = 1.0
"""How long the end of the process waits for the reader."""
_TAKEN: Final = 10_000
"""Most lines in one write."""


class Lines(Protocol):
    """Takes whole lines, each with its line break."""

    def write(self, line: bytes) -> None: ...
    def flush(self) -> None:
        """Hands on at once what was written before, as far as that takes no waiting."""


class DirectLines:
    """Writes each line at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: bytes) -> None:
        self._stream.write(line.decode())

    def flush(self) -> None:
        self._stream.flush()


class BufferedLines:
    """Writes to a file descriptor from a thread of its own; `write` may be called from any thread."""

    def __init__(self, descriptor: int, tell: Callable[[int], bytes]) -> None:
        """`tell` makes a line that says how many were dropped."""
        self._descriptor = descriptor
        self._tell = tell
        self._pending: deque[bytes] = deque()
        self._rest = b""
        """Taken from the pending lines, but not written yet."""
        self._dropped = 0
        self._some = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._run, name="log-lines", daemon=True).start()
        atexit.register(self.flush, EXIT_SECONDS)

    def write(self, line: bytes) -> None:
        if len(self._pending) >= MAX_PENDING:
            self._dropped += 1
            return
        self._pending.append(line)
        if not self._some.is_set():
            self._some.set()

    def flush(self, seconds: float = 0.0) -> None:
        """Writes what is pending, unless the thread is writing or the reader takes nothing for so many seconds.

        A pipe that can be written to takes PIPE_BUF bytes without blocking, but perhaps not more.
        """
        if not self._writing.acquire(timeout=seconds):
            return
        try:
            self._write(seconds)
        except OSError:  # nobody reads any more; there is nowhere to say so
            self._rest = b""
        finally:
            self._writing.release()

    def _write(self, seconds: float) -> None:
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        self._rest = self._rest or self._take()
        while self._rest and ready.poll(seconds * 1000):
            self._rest = self._rest[os.write(self._descriptor, self._rest[: select.PIPE_BUF]) :] or self._take()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._some.wait()
            pause.wait(INTERVAL_SECONDS)
            self._some.clear()
            with self._writing:
                while content := self._rest or self._take():
                    self._rest = b""
                    with contextlib.suppress(OSError):
                        while content:
                            content = content[os.write(self._descriptor, content) :]

    def _take(self) -> bytes:
        lines = [self._pending.popleft() for _ in range(min(len(self._pending), _TAKEN))]
        if self._dropped:
            lines.append(self._tell(self._dropped))
            self._dropped = 0
        return b"".join(lines)
