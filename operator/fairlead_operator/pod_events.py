"""Why a pod does not start, where its own status does not say: the newest Warning Event about it.

A Secret or ConfigMap that is missing, a volume that cannot be mounted or a container that the node refuses to create
leave nothing in a pod's status. Events are read only of pods that have been starting for a while, one request per
resource and half a minute.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

from fairlead_operator.api import Manifest
from fairlead_operator.kube import KubeError
from fairlead_operator.observe import MAX_MESSAGE, Observed, PodView

logger = logging.getLogger(__name__)

SILENT_SECONDS: Final = 20.0
"""Pods may take so long to start without anybody asking why."""
AGAIN_SECONDS: Final = 30.0
RECENT: Final = timedelta(seconds=300)
"""Older Events are about something that has passed: the kubelet repeats what has not."""


class Warnings(Protocol):
    async def warnings(self, namespace: str, pod: str) -> list[Manifest]: ...


class _Read(NamedTuple):
    at: datetime
    text: str


class PodEvents:
    def __init__(self, kube: Warnings, clock: Callable[[], datetime]) -> None:
        self._kube, self._clock = kube, clock
        self._read: dict[tuple[str, str], _Read] = {}
        self._refused = False

    async def explain(self, namespace: str, seen: Observed) -> Observed:
        """`seen`, with what keeps its oldest silent pod from starting."""
        now = self._clock()
        pod = next(iter(silent(seen, now, SILENT_SECONDS)), None)
        text = await self._last(namespace, pod.name, now) if pod is not None else ""
        return seen.with_waiting(pod.name, text) if pod is not None and text else seen

    def check_after(self, seen: Observed) -> float | None:
        """Seconds until a pod that is silent now is worth asking about."""
        now = self._clock()
        ages = [(now - pod.created).total_seconds() for pod in silent(seen, now, 0) if pod.created]
        if not ages:
            return None
        return AGAIN_SECONDS if max(ages) >= SILENT_SECONDS else SILENT_SECONDS - max(ages)

    async def _last(self, namespace: str, pod: str, now: datetime) -> str:
        known = self._read.get((namespace, pod))
        if known is not None and (now - known.at).total_seconds() < AGAIN_SECONDS:
            return known.text
        try:
            found = await self._kube.warnings(namespace, pod)
        except KubeError as error:  # the status is written without it
            if not self._refused:
                logger.warning("Events of pods cannot be read, so statuses do not say why pods do not start: %s", error)
            self._refused = True
            found = []
        else:
            self._refused = False
        self._read = {place: read for place, read in self._read.items() if now - read.at < RECENT}
        text = newest(found, now)
        self._read[namespace, pod] = _Read(now, text)
        return text


def silent(seen: Observed, now: datetime, seconds: float) -> list[PodView]:
    """Pods that have been starting for so long and do not say why, the oldest first."""
    found = [
        pod
        for pod in seen.pods
        if not (pod.ready or pod.proven or pod.failure or pod.waiting)
        and pod.created is not None
        and (now - pod.created).total_seconds() >= seconds
    ]
    return sorted(found, key=lambda pod: (pod.created, pod.name))


def newest(events: Iterable[Manifest], now: datetime) -> str:
    """`FailedMount: secret "x" not found`; empty if nothing has happened lately."""
    dated = [(at, event) for event in events if (at := _last_seen(event)) is not None and now - at < RECENT]
    if not dated:
        return ""
    _, event = max(dated, key=lambda pair: pair[0])
    return f"{event.get('reason', 'Warning')}: {event.get('message', '')}".rstrip(": ")[:MAX_MESSAGE]


def _last_seen(event: Manifest) -> datetime | None:
    """Each writer of Events fills in other fields."""
    series: dict[str, Any] = event.get("series") or {}
    text = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return datetime.fromisoformat(text) if text else None
