"""Bundles and job files on the disk of role api, or beside a predictor's bundle, and which bundle served last, so that
a restart serves it again."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import uuid
from pathlib import Path
from typing import Final

from fairlead_service.models.bundle import MANIFEST
from fairlead_service.observability import logs

_CURRENT: Final = "current.json"
_SWAPS: Final = "swaps-"


def beside(bundle: Path) -> Path:
    """Where a predictor keeps what it swaps to: beside the bundle that the loader wrote, and only as long as that is
    the same. The containers of a pod may be started again without the loader, and then the model that served last
    shall serve; a loader that has written another one knows better. Stores of other bundles are removed."""
    digest = hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()[:16]
    own = bundle.parent / f"{_SWAPS}{digest}"
    for path in bundle.parent.glob(f"{_SWAPS}*"):
        if path != own:
            shutil.rmtree(path, ignore_errors=True)
    return own


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class Store:
    """`bundles/NAME/` and `jobs/NAME/` under one directory; `current.json` names current and previous bundle.

    Two servers on one directory would remove each other's bundles, so only the first one there ever removes any.
    """

    def __init__(self, directory: Path) -> None:
        self._root = directory.absolute()
        self._bundles = self._root / "bundles"
        self._jobs = self._root / "jobs"
        for path in (self._bundles, self._jobs):
            path.mkdir(parents=True, exist_ok=True)
        self._lock: int | None = None
        self._owner = self._take_lock()
        if self._owner:
            shutil.rmtree(self._jobs)
            self._jobs.mkdir()
            self._remove_leftovers()

    @property
    def trainings(self) -> Path | None:
        """Where records of trainings are kept; None if another server keeps its own there."""
        return self._root / "trainings" if self._owner else None

    def current(self) -> Path | None:
        """The bundle that served last, if any."""
        kept = self._kept()
        return self._bundles / kept[0] if kept else None

    def new_bundle(self) -> Path:
        """A path for a bundle that does not exist yet."""
        return self._bundles / uuid.uuid4().hex

    def adopt(self, bundle: Path) -> Path:
        """The bundle as one of the store's own, without a second copy of its files where the disk has links."""
        path = self.new_bundle()
        shutil.copytree(bundle, path, copy_function=_link)
        return path

    def new_job(self) -> Path:
        """An empty directory for one job's files."""
        path = self._jobs / uuid.uuid4().hex
        path.mkdir()
        return path

    def commit(self, bundle: Path) -> None:
        """Makes `bundle` the current one and removes the one before the previous."""
        before = self._kept()
        kept = [bundle.name, *(name for name in before[:1] if name != bundle.name)]
        staging = self._root / f".{_CURRENT}.{os.getpid()}"
        staging.write_text(json.dumps(kept))
        staging.replace(self._root / _CURRENT)
        if self._owner:
            for name in set(before) - set(kept):
                self.discard(self._bundles / name)

    def discard(self, path: Path) -> None:
        """Removes a bundle that was not taken, or a job's directory, and what a killed child has half written of it."""
        shutil.rmtree(path, ignore_errors=True)
        for half in path.parent.glob(f".{path.name}.*"):
            shutil.rmtree(half, ignore_errors=True)

    def close(self) -> None:
        """Lets another server own the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _kept(self) -> list[str]:
        try:
            names = json.loads((self._root / _CURRENT).read_text())
        except (OSError, ValueError):
            return []
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def _remove_leftovers(self) -> None:
        kept = self._kept()
        for path in self._bundles.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _take_lock(self) -> bool:
        lock = os.open(self._root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        self._lock = lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            logs.event("log", f"another server uses {self._root}: nothing will be removed there", level=logging.WARNING)
            return False
        return True
