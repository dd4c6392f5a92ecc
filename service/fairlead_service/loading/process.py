"""Habits of a short-lived process: somebody waits for both its start and its end.

Importing scikit-learn and MLflow makes hundreds of thousands of objects that all stay. Looking through them for
garbage takes a seventh of the start, and taking them down one by one at the end takes most of a second (measured with
Python 3.11); a process that ends anyway needs neither.
"""

import contextlib
import ctypes
import gc
import signal
import sys
from collections.abc import Mapping
from typing import Final, NoReturn

from fairlead_service.observability import logs

_OBJECTS_BETWEEN_COLLECTIONS: Final = 100_000
_PR_SET_PDEATHSIG: Final = 1


def log(program: str, environment: Mapping[str, str]) -> None:
    """Makes JSON lines on standard error of all that this process says beside the protocol, by `FAIRLEAD_LOG_LEVEL`."""
    level = environment.get("FAIRLEAD_LOG_LEVEL", "").lower()
    logs.configure(level if level in ("debug", "info", "warning", "error") else "info", program, sys.stderr)
    logs.capture_output()


def hurry() -> None:
    """Collects garbage rarely."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 50, 100)


def end_with_parent() -> None:
    """Asks the kernel for a SIGTERM when whoever started this process is gone, however that came about (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def leave(code: int) -> NoReturn:
    """Exits without a last search for garbage; atexit handlers run as ever."""
    gc.freeze()
    sys.exit(code)
