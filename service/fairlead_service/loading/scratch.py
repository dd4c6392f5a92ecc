"""Where a load keeps its files meanwhile, so that a loader that is killed leaves nothing for long.

A server gives its loaders a directory and removes it when they have ended, however that came about. An init container
has no parent: there each scratch directory is locked by its loader, the kernel gives the lock back when that ends, and
the next loader removes what nobody holds.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PREFIX: Final = ".fairlead-load-"


@contextlib.contextmanager
def directory(given: Path | None, beside: Path) -> Iterator[Path]:
    """An empty directory below `given`, or beside the bundle; it is removed at the end."""
    if given is None:
        remove_abandoned(beside)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=given or beside, ignore_cleanup_errors=True) as made:
        lock = os.open(made, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(made)
        finally:
            os.close(lock)


def remove_abandoned(parent: Path) -> None:
    """Removes the scratch directories in `parent` whose loaders have ended."""
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another loader removes them as well
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
