"""Tells the model registry what became of models, without ever keeping a roll-out waiting for it.

What cannot be told now stays in the resource's status (`untold`) and comes again with later reconciles. Told is before
the status is written, so that an operator that ends in between tells again rather than never. Should the status then
not be written and the next decision be another one, what was told is put right (`corrections`).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from fairlead_operator.api import LOGGED_MODEL, ModelVerdict, Status
from fairlead_operator.breaker import Breaker
from fairlead_operator.metrics import VERDICTS
from fairlead_operator.mlflow import MissingError, UnavailableError
from fairlead_operator.store import Key
from fairlead_operator.verdicts import corrections, outbox, place, tag_key, verdicts

logger = logging.getLogger(__name__)

TELL_SECONDS: Final = 2.0
"""The longest that one reconcile waits."""
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 300.0
"""Nobody waits for a verdict, and rights that are missing stay so for long."""


class Tags(Protocol):
    async def tag_version(self, name: str, version: str, key: str, value: str) -> None: ...
    async def tag_run(self, run_id: str, key: str, value: str) -> None: ...
    async def tag_logged_model(self, model_id: str, key: str, value: str) -> None: ...


class Registrar:
    def __init__(self, tags: Tags, clock: Callable[[], float] = time.monotonic) -> None:
        self._tags, self._clock = tags, clock
        self._breaker = Breaker(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, TELL_SECONDS + 1.0)
        self._unwritten: dict[Key, tuple[ModelVerdict, ...]] = {}
        """What was told of statuses that are not known to be written."""

    async def tell(self, key: Key, old: Status, new: Status) -> Status:
        """Tells what is news in `new`, and what was left over before; returns it with what is left over now."""
        news = (*corrections(self._unwritten.get(key, ()), new), *verdicts(old, new))
        waiting = outbox(old.untold, news)
        untold = await self._tell(key, waiting)
        if told := [verdict for verdict in waiting if verdict not in untold]:
            self._unwritten[key] = outbox(self._unwritten.get(key, ()), told)
        return new.model_copy(update={"untold": untold})

    def settled(self, key: Key) -> None:
        """The status that `tell` returned is written, or there is no resource any more."""
        self._unwritten.pop(key, None)

    def retry_after(self, status: Status) -> float | None:
        """Seconds until what this status has left over is worth telling again."""
        return max(self._breaker.pause(self._clock()), 1.0) if status.untold else None

    async def _tell(self, key: Key, waiting: tuple[ModelVerdict, ...]) -> tuple[ModelVerdict, ...]:
        if not waiting or not self._breaker.lets_through(self._clock()):
            return waiting
        left = list(waiting)
        try:
            async with asyncio.timeout(TELL_SECONDS):
                while left:
                    await self._tag(tag_key(*key), left[0])
                    del left[0]
        except (UnavailableError, TimeoutError) as error:
            VERDICTS.labels("failed").inc()
            if self._breaker.failed(self._clock(), str(error)):
                logger.warning("MLflow takes no verdicts, they wait in the resources' status: %s", error or "time-out")
        except Exception as error:  # a tag must not keep a status from being written
            VERDICTS.labels("failed").inc()
            self._breaker.failed(self._clock(), str(error))
            logger.exception("Telling MLflow a verdict failed")
        else:
            if self._breaker.succeeded():
                logger.info("MLflow takes verdicts again")
        return tuple(left)

    async def _tag(self, key: str, verdict: ModelVerdict) -> None:
        name, version = place(verdict)
        try:
            if name:
                await self._tags.tag_version(name, version, key, verdict.text)
            elif verdict.run_id.startswith(LOGGED_MODEL):
                await self._tags.tag_logged_model(verdict.run_id, key, verdict.text)
            else:
                await self._tags.tag_run(verdict.run_id, key, verdict.text)
        except MissingError as error:
            VERDICTS.labels("dropped").inc()
            logger.warning("A verdict is dropped: %s", error, extra={"tag": key, "verdict": verdict.text})
        else:
            VERDICTS.labels("told").inc()
