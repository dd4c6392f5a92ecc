"""Circuit breakers around what the server can do without for a while: MLflow's registry and the bundle cache.

The calls are made elsewhere, in threads and in child processes, and may take long. pybreaker itself holds its lock
during a call, so one that hangs would keep all others waiting: here it is told how a call ended, and asked before one.
"""

import contextlib
import logging
import threading
import time
from typing import Literal

import pybreaker

from fairlead_service.observability import logs

Dependency = Literal["mlflow", "bundle_cache"]


class _FailedError(Exception):
    """A call that was not answered."""


class Circuit:
    """Opens after so many `failures` in a row; then one call each `open_seconds` is let through, until one is answered.
    Safe in threads."""

    def __init__(self, name: Dependency, failures: int, open_seconds: float) -> None:
        self.name = name
        self.open_seconds = open_seconds
        self._breaker = pybreaker.CircuitBreaker(failures, reset_timeout=open_seconds, throw_new_error_on_trip=False)
        self._lock = threading.Lock()
        self._next = 0.0

    def is_open(self) -> bool:
        """Whether the last calls failed and none has been answered since."""
        return self._breaker.current_state != pybreaker.STATE_CLOSED

    def admits(self) -> bool:
        """Whether to call now. Of an open circuit it is True once each `open_seconds`: that call is the trial."""
        with self._lock:
            if not self.is_open():
                return True
            now = time.monotonic()
            if now < self._next:
                return False
            self._next = now + self.open_seconds
            self._breaker.half_open()
            return True

    def note(self, *, answered: bool) -> None:
        """How a call ended."""
        with self._lock:
            was_open = self.is_open()
            with contextlib.suppress(_FailedError, pybreaker.CircuitBreakerError):
                self._breaker.call(_outcome, answered)
            is_open = self.is_open()
            if is_open:
                self._next = time.monotonic() + self.open_seconds
        if is_open and not was_open:
            told = f"{self.name} did not answer {self._breaker.fail_max} times in a row"
            logs.event("log", f"{told}; it is asked every {self.open_seconds:g} s until it does", logging.WARNING)
        elif was_open and not is_open:
            logs.event("log", f"{self.name} answers again")


def _outcome(answered: bool) -> None:
    if not answered:
        raise _FailedError
