"""A load through the cache: look, else fetch once for all who wait, else go on alone. The cache fails no load.

An entry is used without asking MLflow: its key pins the run, runs do not change, and a pod must start while MLflow is
down. Before it is used it passes what a bundle that lies in a restarted pod has to pass.
"""

import contextlib
import random
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fairlead_service.loading import loader, reference
from fairlead_service.loading.cache import entry, question
from fairlead_service.loading.cache.backend import AwayError, Backend, CacheError
from fairlead_service.loading.cache.entry import CorruptError
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.source import Source
from fairlead_service.models import bundle
from fairlead_service.models.bundle import Bundle
from fairlead_service.observability.stages import stage
from fairlead_service.wire import CacheOutcome

Report = Callable[[CacheOutcome, str], None]
"""Called with what became of a request to the cache, and a sentence."""
Load = Callable[[str, LoadOptions], Bundle]
"""Fetches the model of that URI from MLflow and writes its bundle to the destination. Raises LoadError."""

_POLL_SECONDS: Final = 0.1


class BundleCache:
    """The cache as one load sees it. After its first error it is not asked again: time-outs would add up."""

    def __init__(
        self,
        backend: Backend,
        report: Report,
        signing_key: str | None = None,
        wait_seconds: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend, self._report, self._signing_key = backend, report, signing_key
        self._wait_seconds, self._pause, self._clock = wait_seconds, pause, clock
        self._signer = entry.signer(signing_key)
        self._works = True

    def load(self, uri: str, destination: Path, options: LoadOptions, fetch: Load) -> Bundle:
        """The bundle at `destination`, from the cache or by `fetch`. Raises what `fetch` raises, nothing else.

        `uri` is one that `question.pinned` says yes to.
        """
        asked = _Asked(uri, destination, options, question.key(uri, options, self._signer))
        if found := self._take(asked):
            return found
        with contextlib.ExitStack() as held:
            lease = self._lease_or_bundle(asked)
            if isinstance(lease, Bundle):
                return lease
            if lease is not None:
                held.enter_context(lease)
                if found := self._take(asked):  # written between the look and the lock
                    return found
            if self._works:
                self._report("miss", f"{self._backend.place} has no bundle of {uri} for this image")
            made = fetch(uri, options)
            self._keep(asked, made)
            return made

    def _lease_or_bundle(self, asked: "_Asked") -> AbstractContextManager[None] | Bundle | None:
        """The right to fetch, or what its holder has written meanwhile; None after waiting in vain."""
        deadline = self._clock() + self._wait_seconds
        while self._works:
            try:
                lease = self._backend.lock(asked.key)
            except Exception as error:  # of a cache that may say anything
                self._fail(error)
                return None
            if lease is not None:
                return lease
            if self._clock() >= deadline:
                waited = f"{self._wait_seconds:g} s"
                self._report("error", f"another loader has been fetching {asked.uri} for {waited}; not waiting for it")
                return None
            self._pause(_POLL_SECONDS * random.uniform(0.5, 1.5))
            if found := self._take(asked):
                return found
        return None

    def _take(self, asked: "_Asked") -> Bundle | None:
        if not self._works:
            return None
        try:
            with stage("cache"):
                blob = self._backend.get(asked.key)
            if blob is None:
                return None
            found = self._unpacked(asked, blob)
        except CorruptError as error:
            self._remove(asked, str(error))
            return None
        except Exception as error:
            self._fail(error)
            return None
        self._report("hit", f"{asked.uri} from {self._backend.place}; nothing is fetched")
        return found

    def _unpacked(self, asked: "_Asked", blob: bytes) -> Bundle:
        manifest, contents = entry.decode(asked.key, blob, self._signing_key)
        bundle.write(asked.destination, manifest, contents)
        found = loader.reuse(asked.uri, asked.destination, asked.options)
        if found is None:
            shutil.rmtree(asked.destination, ignore_errors=True)
            raise CorruptError("it is of another model, or of one that may not be loaded here")
        return found

    def _keep(self, asked: "_Asked", made: Bundle) -> None:
        if not self._works:
            return
        try:
            with stage("cache"):
                self._backend.put(asked.key, entry.encode(asked.key, made, self._signing_key))
        except Exception as error:
            self._fail(error)
        else:
            self._report("stored", f"the bundle of {asked.uri} is in {self._backend.place}")

    def _remove(self, asked: "_Asked", why: str) -> None:
        self._report("corrupt", f"the bundle of {asked.uri} in {self._backend.place} is removed: {why}")
        try:
            self._backend.remove(asked.key)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._works = False
        outcome: CacheOutcome = "unavailable" if isinstance(error, AwayError) else "error"
        shown = str(error) if isinstance(error, CacheError) else f"{type(error).__name__}: {str(error)[:200]}"
        self._report(outcome, f"the load goes on without the cache: {shown}")


@dataclass(frozen=True)
class _Asked:
    uri: str
    destination: Path
    options: LoadOptions
    key: str


def version_of(uri: str, options: LoadOptions, source: Source) -> tuple[str, LoadOptions] | None:
    """An alias, or a version without its run, as a question that has one answer for ever: MLflow is asked.

    None if the model has neither a run nor an id of its own. Raises LoadError.
    """
    with stage("resolve"):
        found = source.resolve(reference.parse(uri))
    if not (found.name and found.version and found.identity):
        return None
    wanted = replace(options, run_id=options.run_id or found.identity)
    return f"models:/{found.name}/{found.version}", wanted
