"""Where log lines go: standard output, without anybody waiting for it.

A pipe whose reader is slow blocks whoever writes to it. So lines are gathered in memory, and a thread writes what has
come together every few milliseconds, in one call. When the reader stays away for long, lines are dropped, and counted.
"""

import atexit
import contextlib
import os
import threading
from collections import deque
from typing import Final, Protocol, TextIO

INTERVAL_SECONDS: Final = 0.02
MAX_PENDING: Final = 100_000
"""Lines; about 30 MB."""


class Lines(Protocol):
    """Takes whole lines, each with its line break."""

    def write(self, line: bytes) -> None: ...
    def flush(self) -> None:
        """Returns when what was written before has left the process."""


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

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending: deque[bytes] = deque()
        self._dropped = 0
        self._some = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._run, name="log-lines", daemon=True).start()
        atexit.register(self.flush)

    def write(self, line: bytes) -> None:
        if len(self._pending) >= MAX_PENDING:
            self._dropped += 1
            return
        self._pending.append(line)
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        with self._writing:
            content = self._take()
            with contextlib.suppress(OSError):  # nobody reads any more; there is nowhere to say so
                while content:
                    content = content[os.write(self._descriptor, content) :]

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._some.wait()
            pause.wait(INTERVAL_SECONDS)
            self._some.clear()
            self.flush()

    def _take(self) -> bytes:
        lines = [self._pending.popleft() for _ in range(len(self._pending))]
        if self._dropped:
            lines.append(b'{"level":"warning","event":"log","message":"%d log lines dropped"}\n' % self._dropped)
            self._dropped = 0
        return b"".join(lines)
