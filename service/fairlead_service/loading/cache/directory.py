"""Entries as files of a directory: a volume that pods share, or one that outlives a container.

Files are written beside their place and renamed into it, read whole, and their modification time is when they were last
used. The right to fetch is `flock` on one of 256 files, which the kernel gives back when its holder ends. On NFS that
needs a lock manager; without one, each node locks for itself and each node fetches once.
"""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Final

from fairlead_service.loading.cache.backend import CacheError, Held, victims

_SUFFIX: Final = ".bundle"
_HALF: Final = ".half-"
_ABANDONED_SECONDS: Final = 3600
"""Age of a half-written file whose writer must have ended."""


class DirectoryBackend:
    def __init__(self, root: Path, max_bytes: int) -> None:
        self.place = f"directory {root}"
        self._root = root
        self._locks = root / "locks"
        self._max_bytes = max_bytes

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        with self._errors():
            try:
                blob = path.read_bytes()
            except FileNotFoundError:
                return None
        with contextlib.suppress(OSError):  # a volume that is mounted read-only still answers
            os.utime(path)
        return blob

    def put(self, key: str, entry: bytes) -> None:
        if len(entry) > self._max_bytes:
            raise CacheError(f"the bundle has {len(entry)} bytes, the whole cache may have {self._max_bytes}")
        with self._errors():
            self._root.mkdir(parents=True, exist_ok=True)
            self._make_room(key, self._max_bytes - len(entry))
            descriptor, half = tempfile.mkstemp(prefix=_HALF, dir=self._root)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(entry)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(half, 0o640)
                os.replace(half, self._path(key))
            except BaseException:
                Path(half).unlink(missing_ok=True)
                raise

    def remove(self, key: str) -> None:
        with self._errors():
            self._path(key).unlink(missing_ok=True)

    def lock(self, key: str) -> AbstractContextManager[None] | None:
        with self._errors():
            self._locks.mkdir(parents=True, exist_ok=True)
            file = (self._locks / key[:2]).open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return None
            except BaseException:
                file.close()
                raise
        return _closing(file)

    def _path(self, key: str) -> Path:
        return self._root / f"{key}{_SUFFIX}"

    def _make_room(self, key: str, room: int) -> None:
        """Evicts before writing, so that a volume of just that size is enough."""
        held = []
        for path in self._root.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another loader makes room as well
                stat = path.stat()
                if path.suffix == _SUFFIX and path.stem != key:
                    held.append(Held(path.stem, stat.st_size, stat.st_mtime))
                elif path.name.startswith(_HALF) and stat.st_mtime < time.time() - _ABANDONED_SECONDS:
                    path.unlink()
        for victim in victims(held, room):
            self._path(victim).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(f"{self.place}: {error}") from error


@contextlib.contextmanager
def _closing(file: IO[bytes]) -> Iterator[None]:
    with file:
        yield
