"""Which of the API groups that a cluster may not have this one has, now: KEDA, prometheus-operator, custom metrics.

One request tells all of them. A group that is there is taken to stay until a request shows otherwise or the next list
of everything; one that is not is asked for again from time to time, because somebody may install it any moment.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final, Protocol

logger = logging.getLogger(__name__)

ASK_AGAIN_SECONDS: Final = 30.0


class Discovery(Protocol):
    async def groups(self) -> frozenset[str]: ...


class Groups:
    def __init__(self, kube: Discovery, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._clock = kube, clock
        self._there: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._asked_at = float("-inf")
        self._missed: set[str] = set()

    async def offers(self, group: str) -> bool:
        """Raises KubeError if that cannot be said."""
        there = self._there[group]
        if not there.is_set() and self._clock() - self._asked_at >= ASK_AGAIN_SECONDS:
            await self.refresh()
        return there.is_set()

    async def appears(self, group: str) -> None:
        """Waits until a request shows that it is there; asks nothing itself."""
        await self._there[group].wait()

    async def refresh(self) -> None:
        found = await self._kube.groups()
        self._asked_at = self._clock()
        for group in {*found, *self._there}:
            (self._there[group].set if group in found else self._there[group].clear)()

    def missed(self, group: str, what: str) -> None:
        """Says once that something is not there."""
        if group not in self._missed:
            self._missed.add(group)
            logger.info("This cluster has no API group %s: %s", group, what)

    def lost(self, group: str) -> None:
        """A request has shown that it is not there any more."""
        self._there[group].clear()
