"""File locks between processes that tell the person who waits what they wait for."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.localcluster import progress
from tools.localcluster.progress import Say


@contextmanager
def held(file: Path, waiting: str, say: Say, state: Callable[[], str] = str) -> Iterator[None]:
    """Holds the lock; while another process does, `waiting` is a stage of progress with `state()` as its detail."""
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.stage(waiting, say, state):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
