"""Asks Prometheus about the drift of all models, in one query a period, and wakes the resources of which there is
something else to tell than before."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from fairlead_operator import drift
from fairlead_operator.drift import Judgement, Reading, Unknown
from fairlead_operator.prometheus import PrometheusError
from fairlead_operator.store import Key

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 300.0
"""How long what was last read counts while Prometheus does not answer."""


class Readings(Protocol):
    async def drift(self) -> Mapping[tuple[str, str], Reading]:
        """By namespace and name of the children."""
        ...


class DriftPoll:
    """Holds what is to be told until the next answer says otherwise."""

    def __init__(
        self,
        readings: Readings | None,
        owner: Callable[[str, str], Key | None],
        reported: Callable[[Key], tuple[str | None, bool]],
        wake: Callable[[Key], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`owner` finds the resource whose children have a name; `reported` reads from a resource's status the run that
        serves, and whether it has drifted."""
        self._readings, self._owner, self._reported, self._wake = readings, owner, reported, wake
        self._clock = clock
        self._found: dict[Key, Judgement] = {}
        self._answered_at = clock()
        self._answered = False
        self._down = False

    def about(self, key: Key) -> Judgement | Unknown:
        if (found := self._found.get(key)) is not None:
            return found
        waits = self._readings is not None and not self._answered
        return "unanswered" if waits else "unmeasured"

    async def poll(self) -> None:
        """Never raises because of Prometheus: it is away for a while, or for good."""
        if self._readings is None:
            return
        try:
            self._take(await self._readings.drift())
        except PrometheusError as error:
            if not self._down:
                logger.warning("Drift is not known until Prometheus answers: %s", error)
            self._down = True
            if self._clock() - self._answered_at > PATIENCE_SECONDS:
                self._take({})
        else:
            if self._down:
                logger.info("Prometheus answers again")
            self._down, self._answered_at = False, self._clock()

    def _take(self, readings: Mapping[tuple[str, str], Reading]) -> None:
        before = self._found
        self._answered, self._found = True, {}
        for place, reading in readings.items():
            if (key := self._owner(*place)) is not None:
                run_id, drifted = self._reported(key)
                known = before.get(key)
                same = known if known is not None and known.run_id == run_id else None
                self._found[key] = replace(drift.judge(same, reading, drifted), run_id=run_id)
        for key in self._found.keys() | before.keys():
            if self._found.get(key) != before.get(key):
                self._wake(key)
