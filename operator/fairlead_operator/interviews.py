"""Speaks with pods that swap models, in the background: tells them what to load, asks what they serve, and wakes the
resource. Reconciling a resource never waits for its pods.

One round at a time for each resource, in which pods are told first and asked then: what is known of a pod is never
older than what it was told.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final, Protocol, TypeVar

from fairlead_operator import tracing
from fairlead_operator.api import ModelRef
from fairlead_operator.desired.access import Contact
from fairlead_operator.hotswap import Listener, Round
from fairlead_operator.pods import PodError
from fairlead_operator.reports import Info, Report
from fairlead_operator.store import Key

logger = logging.getLogger(__name__)

T = TypeVar("T")

SECONDS: Final = 2.0
"""For each answer: a pod that hangs must not keep the others waiting."""
AT_A_TIME: Final = 50
"""Pods of one resource."""


class Speakers(Protocol):
    """What pods can be asked."""

    async def info(self, ip: str, contact: Contact) -> Info: ...
    async def load(self, ip: str, model: ModelRef, contact: Contact) -> None: ...


class Interviews:
    """What pods said last is kept until they are told something or asked again."""

    def __init__(self, pods: Speakers, clock: Callable[[], datetime], wake: Callable[[Key], None]) -> None:
        self._pods, self._clock, self._wake = pods, clock, wake
        self._rounds: dict[Key, asyncio.Task[None]] = {}
        self._reports: dict[Key, dict[str, Report]] = {}

    def reports(self, key: Key) -> Mapping[str, Report]:
        """By pod."""
        return dict(self._reports.get(key, {}))

    def begin(self, key: Key, what: Round) -> None:
        """Begins a round, unless one is under way; `wake` is called when it is over."""
        if key in self._rounds:
            return
        kept = {pod.name for pod in what.pods} - {load.pod for load in what.loads}
        reports = {name: report for name, report in self.reports(key).items() if name in kept}
        self._reports[key] = reports
        self._rounds[key] = asyncio.create_task(self._hold(key, what, reports))

    def forget(self, key: Key) -> None:
        """Nobody is interested any more."""
        self._reports.pop(key, None)
        if (task := self._rounds.pop(key, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._rounds.values())
        for key in list(self._rounds):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self, key: Key, what: Round, reports: dict[str, Report]) -> None:
        gate = asyncio.Semaphore(AT_A_TIME)

        async def one(pod: Listener) -> None:
            async with gate:
                reports[pod.name] = await self._speak(what, pod)

        with tracing.work("interview", *key):
            await asyncio.gather(*(one(pod) for pod in what.pods if pod.name in what.asked))
        del self._rounds[key]
        self._wake(key)

    async def _speak(self, what: Round, pod: Listener) -> Report:
        told, refusal = next((load.model for load in what.loads if load.pod == pod.name), None), ""
        if told is not None:
            _, refusal = await _answer(pod, self._pods.load(pod.ip, told, what.contact))
        info, silence = await _answer(pod, self._pods.info(pod.ip, what.contact))
        return Report(pod.restarts, self._clock().replace(microsecond=0), info, silence or refusal, told)


async def _answer(pod: Listener, asked: Awaitable[T]) -> tuple[T | None, str]:
    """What the pod says in time, or why it says nothing."""
    try:
        async with asyncio.timeout(SECONDS):
            return await asked, ""
    except (PodError, TimeoutError) as error:
        return None, str(error) or f"no answer within {SECONDS:.0f} s"
    except Exception:
        logger.exception("Speaking with pod %s failed", pod.name)
        return None, "asking failed; the operator's log says why"
