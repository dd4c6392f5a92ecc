"""A place for entries that may stall: a Redis that sends a byte now and then, a volume whose server is gone.

Time-outs of sockets bound the time between two pieces of an answer, and a file system has none. What is not done in
time is left to its thread, which ends with the process; a load is one.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TypeVar

from fairlead_service.loading.cache.backend import AwayError, Backend

T = TypeVar("T")


class BoundedBackend:
    """`backend`, whose every answer takes at most `seconds`, or is AwayError."""

    def __init__(self, backend: Backend, seconds: float) -> None:
        self.place = backend.place
        self._backend = backend
        self._seconds = seconds

    def get(self, key: str) -> bytes | None:
        return self._bounded(lambda: self._backend.get(key))

    def put(self, key: str, entry: bytes) -> None:
        self._bounded(lambda: self._backend.put(key, entry))

    def remove(self, key: str) -> None:
        self._bounded(lambda: self._backend.remove(key))

    def lock(self, key: str) -> AbstractContextManager[None] | None:
        return self._bounded(lambda: self._backend.lock(key))

    def _bounded(self, work: Callable[[], T]) -> T:
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(work())
            except BaseException as error:
                outcome.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        try:
            return outcome.result(self._seconds)
        except TimeoutError:
            if outcome.done():
                raise
            raise AwayError(f"{self.place}: not done within {self._seconds:g} s") from None
