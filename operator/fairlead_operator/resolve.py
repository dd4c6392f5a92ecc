"""From what the spec refers to, to a model that cannot change: one registry call however many resources ask.

Runs and versions are looked up once and then known for good. What the aliases of a registered model mean is asked by
the first who wants to know and then only by `refresh`, one call for all aliases of the model: by the poll, and when a
webhook says that something happened.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar
from weakref import WeakValueDictionary

from fairlead_operator.api import ModelRef, Reason
from fairlead_operator.breaker import Breaker
from fairlead_operator.metrics import REGISTRY_CALLS, REGISTRY_UP
from fairlead_operator.mlflow import MissingError, UnavailableError
from fairlead_operator.reference import (
    AliasReference,
    FixedReference,
    LoggedModelReference,
    Problem,
    Reference,
    RegisteredModel,
    Resolution,
    Resolved,
    RunReference,
    VersionReference,
)

logger = logging.getLogger(__name__)

REMEMBERED: Final = 10_000
RETRY_UNAVAILABLE_SECONDS: Final = 10.0
RETRY_MISSING_SECONDS: Final = 60.0
"""A run or a version that is not there now may be logged a minute later."""

T = TypeVar("T")


class Registry(Protocol):
    async def registered_model(self, name: str) -> RegisteredModel: ...
    async def version(self, reference: VersionReference) -> ModelRef: ...
    async def logged_model(self, reference: LoggedModelReference) -> ModelRef: ...
    async def run(self, reference: RunReference) -> ModelRef: ...


@dataclass
class _Followed:
    """A registered model some of whose aliases are in use."""

    said: RegisteredModel | Problem | None = None
    """What MLflow last said about it."""
    answers: dict[AliasReference, Resolution] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Resolver:
    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._breaker = Breaker()
        self._names: dict[str, _Followed] = {}
        self._known: OrderedDict[Reference, Resolved] = OrderedDict()
        self._created: dict[str, int] = {}
        """When registered models were made, also of those that nobody follows now: their versions are still known."""
        self._locks: WeakValueDictionary[Reference, asyncio.Lock] = WeakValueDictionary()

    @property
    def pause(self) -> float | None:
        """Seconds until MLflow is asked again after it did not answer; None while it does."""
        return None if self._breaker.reason is None else self._breaker.pause(self._clock())

    async def resolve(self, reference: Reference) -> Resolution:
        """From memory if it is there: good answers about anything, and whatever was last said about an alias."""
        if isinstance(reference, AliasReference):
            return await self._resolve_alias(reference)
        return await self._resolve_fixed(reference)

    async def refresh(self, name: str) -> frozenset[AliasReference]:
        """Asks about a registered model again; returns the aliases in use that mean something else than before. About
        a model nobody uses, nothing is asked."""
        followed = self._names.get(name)
        if followed is None:
            return frozenset()
        async with followed.lock:
            before = dict(followed.answers)
            await self._ask_about(name, followed)
            for reference in before:
                followed.answers[reference] = await self._meaning(reference, followed)
            return frozenset(reference for reference in before if followed.answers[reference] != before[reference])

    def follows(self, name: str) -> bool:
        """Whether anybody uses an alias of this registered model."""
        return name in self._names

    def forget_all_but(self, wanted: Iterable[AliasReference]) -> None:
        """Drops aliases nobody uses any more, so that a later user gets a fresh answer."""
        keep = set(wanted)
        for name, followed in list(self._names.items()):
            for reference in [found for found in followed.answers if found not in keep]:
                del followed.answers[reference]
            if not followed.answers and not followed.lock.locked():
                del self._names[name]

    async def _resolve_alias(self, reference: AliasReference) -> Resolution:
        followed = self._names.setdefault(reference.name, _Followed())
        if (answer := followed.answers.get(reference)) is not None:
            return answer
        async with followed.lock:
            if (answer := followed.answers.get(reference)) is not None:
                return answer
            said = followed.said
            if not isinstance(said, RegisteredModel) or said.version_of(reference.alias) is None:
                await self._ask_about(reference.name, followed)
            answer = followed.answers[reference] = await self._meaning(reference, followed)
            return answer

    async def _ask_about(self, name: str, followed: _Followed) -> None:
        said = followed.said = await self._ask(lambda: self._registry.registered_model(name))
        if not isinstance(said, RegisteredModel):
            return
        before, self._created[name] = self._created.get(name, said.created), said.created
        if before != said.created:
            # Deleted and made again under the same name: its versions count from 1 once more.
            for known in [known for known in self._known if isinstance(known, VersionReference) and known.name == name]:
                del self._known[known]

    async def _meaning(self, reference: AliasReference, followed: _Followed) -> Resolution:
        """Problems carry no time to ask again: `refresh` will."""
        said = followed.said
        if not isinstance(said, RegisteredModel):
            return replace(said or _UNKNOWN, retry_after=None)
        version = said.version_of(reference.alias)
        if version is None:
            return Problem(Reason.MODEL_NOT_FOUND, f"MLflow has no alias {reference}.")
        found = await self._resolve_fixed(VersionReference(reference.name, version))
        if isinstance(found, Problem):
            return replace(found, retry_after=None)
        return Resolved(found.model.model_copy(update={"alias": reference.alias}))

    async def _resolve_fixed(self, reference: FixedReference) -> Resolution:
        """One call at a time for each reference; whoever asks meanwhile waits for the same answer."""
        if known := self._known.get(reference):
            return known
        async with self._locks.setdefault(reference, asyncio.Lock()):
            if known := self._known.get(reference):
                return known
            model = await self._ask(lambda: self._look_up(reference))
            if isinstance(model, Problem):
                return model
            known = self._known[reference] = Resolved(model)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return known

    async def _look_up(self, reference: FixedReference) -> ModelRef:
        if isinstance(reference, RunReference):
            return await self._registry.run(reference)
        if isinstance(reference, LoggedModelReference):
            return await self._registry.logged_model(reference)
        return await self._registry.version(reference)

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T | Problem:
        """The only place where MLflow is asked."""
        if not self._breaker.lets_through(self._clock()):
            return self._down(self._breaker.reason or "")
        try:
            found = await call()
        except MissingError as error:
            self._answered("missing")
            return Problem(Reason.MODEL_NOT_FOUND, str(error), RETRY_MISSING_SECONDS)
        except UnavailableError as error:
            return self._unavailable(error)
        self._answered("found")
        return found

    def _answered(self, outcome: str) -> None:
        REGISTRY_CALLS.labels(outcome).inc()
        REGISTRY_UP.set(1)
        if self._breaker.succeeded():
            logger.info("MLflow answers again")

    def _unavailable(self, error: UnavailableError) -> Problem:
        REGISTRY_CALLS.labels("unavailable").inc()
        if not error.down:
            return Problem(Reason.TRACKING_SERVER_UNAVAILABLE, str(error), RETRY_UNAVAILABLE_SECONDS)
        REGISTRY_UP.set(0)
        if self._breaker.failed(self._clock(), str(error)):
            logger.warning("MLflow is down, it is asked again less and less often: %s", error)
        return self._down(self._breaker.reason or "")

    def _down(self, reason: str) -> Problem:
        wait = max(self._breaker.pause(self._clock()), 1.0)
        return Problem(Reason.TRACKING_SERVER_UNAVAILABLE, reason, wait)


_UNKNOWN: Final = Problem(Reason.MODEL_NOT_FOUND, "MLflow has not been asked.")
