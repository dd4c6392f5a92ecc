"""From what the spec refers to, to a model that cannot change: one registry call however many resources ask.

Runs and versions are looked up once and then known for good. An alias is looked up by the first who asks and then only
by the poll (`refresh`), which says when its meaning changed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Protocol

from fairlead_operator.api import ModelRef, Reason
from fairlead_operator.metrics import REGISTRY_CALLS
from fairlead_operator.mlflow import MissingError, UnavailableError
from fairlead_operator.reference import (
    AliasReference,
    Problem,
    Reference,
    Resolution,
    Resolved,
    RunReference,
    VersionReference,
)

REMEMBERED: Final = 10_000
PAUSE_SECONDS: Final = 5.0
"""After MLflow did not answer, nobody else waits for its time-out: they get the same answer at once."""
RETRY_UNAVAILABLE_SECONDS: Final = 10.0
RETRY_MISSING_SECONDS: Final = 60.0
"""A run or a version that is not there now may be logged a minute later."""


class Registry(Protocol):
    async def alias(self, reference: AliasReference) -> ModelRef: ...
    async def version(self, reference: VersionReference) -> ModelRef: ...
    async def run(self, reference: RunReference) -> ModelRef: ...


class Resolver:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: OrderedDict[Reference, Resolution] = OrderedDict()
        self._asked: dict[Reference, asyncio.Task[Resolution]] = {}
        self._paused_until = 0.0
        self._pause_reason = ""

    async def resolve(self, reference: Reference) -> Resolution:
        """From memory if it is there: good answers about anything, and whatever the poll last said about an alias."""
        known = self._known.get(reference)
        if isinstance(known, Resolved) or (known is not None and isinstance(reference, AliasReference)):
            return known
        return await self._ask(reference)

    async def refresh(self, reference: AliasReference) -> bool:
        """Asks about an alias again; says whether the answer is another one than before."""
        before = self._known.get(reference)
        return await self._ask(reference) != before

    def forget_all_but(self, wanted: Iterable[AliasReference]) -> None:
        """Drops aliases nobody uses any more, so that a later user gets a fresh answer."""
        keep = set(wanted)
        for reference in [found for found in self._known if isinstance(found, AliasReference) and found not in keep]:
            del self._known[reference]

    async def _ask(self, reference: Reference) -> Resolution:
        """One call at a time for each reference; whoever asks meanwhile waits for the same answer."""
        task = self._asked.get(reference)
        if task is None:
            task = asyncio.create_task(self._call(reference))
            self._asked[reference] = task
            task.add_done_callback(lambda _: self._asked.pop(reference, None))
        answer = await asyncio.shield(task)
        self._known[reference] = answer
        self._known.move_to_end(reference)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return answer

    async def _call(self, reference: Reference) -> Resolution:
        polled, clock = isinstance(reference, AliasReference), asyncio.get_running_loop().time
        try:
            if clock() < self._paused_until:
                raise UnavailableError(self._pause_reason)
            model = await self._look_up(reference)
        except MissingError as error:
            REGISTRY_CALLS.labels("missing").inc()
            return Problem(Reason.MODEL_NOT_FOUND, str(error), None if polled else RETRY_MISSING_SECONDS)
        except UnavailableError as error:
            REGISTRY_CALLS.labels("unavailable").inc()
            if clock() >= self._paused_until:
                self._paused_until, self._pause_reason = clock() + PAUSE_SECONDS, str(error)
            return Problem(
                Reason.TRACKING_SERVER_UNAVAILABLE, str(error), None if polled else RETRY_UNAVAILABLE_SECONDS
            )
        REGISTRY_CALLS.labels("found").inc()
        return Resolved(model)

    async def _look_up(self, reference: Reference) -> ModelRef:
        if isinstance(reference, AliasReference):
            return await self._registry.alias(reference)
        if isinstance(reference, RunReference):
            return await self._registry.run(reference)
        return await self._registry.version(reference)
