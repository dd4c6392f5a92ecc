"""A queue of keys, as client-go's: a key waits at most once, is worked on by one worker at a time, may be added with a
delay or ahead of others, and comes back later and later while it fails. Knows nothing of Kubernetes."""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
Process = Callable[[K], Awaitable[float | None]]
"""Works on a key; returns seconds until it wants to see it again, or None. Raising means: again, later each time."""


class RetryError(Exception):
    """An expected failure, of something outside: logged in one line. Any other exception is a bug and logged whole."""

    def __init__(self, message: str, within: float | None = None) -> None:
        """`within`: seconds by which the key has to be worked on again, however often it has failed."""
        super().__init__(message)
        self.within = within


class WorkQueue(Generic[K]):
    def __init__(self, first_delay: float = 0.5, longest_delay: float = 300.0, seed: int | None = None) -> None:
        """Delays in seconds; the longest wait after a failure is `longest_delay`."""
        self._first_delay, self._longest_delay = first_delay, longest_delay
        self._random = random.Random(seed)
        self._ahead: OrderedDict[K, float] = OrderedDict()
        self._behind: OrderedDict[K, float] = OrderedDict()
        """What waits, and since when (monotonic clock)."""
        self._active: set[K] = set()
        self._again: dict[K, bool] = {}
        """What is to be worked on once more, and whether ahead."""
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._available = asyncio.Semaphore(0)
        self.last_progress = time.monotonic()
        """When a key was last finished, or the queue last ran empty (monotonic clock)."""

    def add(self, key: K, ahead: bool = False) -> None:
        """Queues a key, `ahead` of all that are not. While it is being worked on, it is queued once more, to be taken
        after that."""
        if key in self._active:
            self._again[key] = ahead or self._again.get(key, False)
            return
        if key in self._ahead or (key in self._behind and not ahead):
            return
        since = self._behind.pop(key, None)
        (self._ahead if ahead else self._behind)[key] = time.monotonic() if since is None else since
        if since is None:
            self._available.release()

    def add_after(self, key: K, seconds: float) -> None:
        """Queues a key later. Of several delays the shortest counts; taking the key for any reason ends them all."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= when:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def failed(self, key: K, within: float | None = None) -> float:
        """Queues a key that failed; returns the delay in seconds: doubled at each failure in a row, and jittered, but
        at most `within`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self._first_delay * 2.0 ** min(failures, 30), self._longest_delay)
        delay *= self._random.uniform(0.5, 1.0)
        delay = delay if within is None else min(delay, within)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        """The next failure counts as the first."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key, which is then being worked on until `done`."""
        await self._available.acquire()
        key, _ = (self._ahead or self._behind).popitem(last=False)
        self._active.add(key)
        if timer := self._timers.pop(key, None):
            timer.cancel()
        return key

    def done(self, key: K) -> None:
        """Ends the work on a key."""
        self._active.discard(key)
        self.last_progress = time.monotonic()
        if (ahead := self._again.pop(key, None)) is not None:
            self.add(key, ahead)

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._ahead) + len(self._behind)

    @property
    def oldest_seconds(self) -> float:
        """How long the first keys have waited for a worker; 0 if none waits. May be read from another thread."""
        try:
            firsts = [next(iter(waiting.values())) for waiting in (self._ahead, self._behind) if waiting]
        except (StopIteration, RuntimeError):  # taken in this very moment
            return 0.0
        return time.monotonic() - min(firsts) if firsts else 0.0

    @property
    def busy(self) -> bool:
        """Whether anything waits or is worked on. A key that is only due later does not count."""
        return bool(self._ahead or self._behind or self._active)

    async def run(self, process: Process[K], workers: int) -> None:
        """Works on keys, `workers` at a time, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(workers):
                tasks.create_task(self._work(process))

    async def _work(self, process: Process[K]) -> None:
        while True:
            key = await self.get()
            try:
                again = await process(key)
            except RetryError as error:
                delay = self.failed(key, error.within)
                logger.warning("%s; again in %.1f s", error, delay, extra={"key": str(key)})
            except Exception:
                logger.exception("Failed; again in %.1f s", self.failed(key), extra={"key": str(key)})
            else:
                self.succeeded(key)
                if again is not None:
                    self.add_after(key, again)
            finally:
                self.done(key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
