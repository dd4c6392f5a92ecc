"""Puts the parts together: store, queue, workers, alias poll, resync. Knows nothing of Kopf."""

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Protocol

from fairlead_operator import owned, reference, tracing
from fairlead_operator.analysis import Analyst, Replays, Traffic
from fairlead_operator.api import Manifest, read_status
from fairlead_operator.apply import Children
from fairlead_operator.drift import CONDITION as DRIFT
from fairlead_operator.drift_poll import DriftPoll, Readings
from fairlead_operator.groups import Discovery, Groups
from fairlead_operator.interviews import Interviews, Speakers
from fairlead_operator.kinds import MODEL_DEPLOYMENT, OWNED, Kind
from fairlead_operator.kube import KubeError, Page
from fairlead_operator.metrics import (
    CANDIDATES,
    PREDICTOR_PODS,
    PROBLEMS,
    QUEUE_DEPTH,
    QUEUE_OLDEST,
    RECONCILE_SECONDS,
    RECONCILES,
    RESOURCES,
)
from fairlead_operator.pod_events import PodEvents
from fairlead_operator.reconcile import Cluster, Reconciler, UnfinishedError
from fairlead_operator.reference import AliasReference
from fairlead_operator.registrar import Registrar, Tags
from fairlead_operator.resolve import Registry, Resolver
from fairlead_operator.settings import Settings
from fairlead_operator.spec import ModelSource
from fairlead_operator.store import Key, Store
from fairlead_operator.workqueue import RetryError, WorkQueue

logger = logging.getLogger(__name__)

LIST_AGAIN_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
STUCK_LOOP_SECONDS = 30.0
STUCK_QUEUE_SECONDS = 300.0
SHORTEST_PAUSE = 1.0
"""Seconds between two polls while MLflow is down, when somebody else is asking it just now."""


Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Lists(Cluster, Discovery, owned.Streams, Protocol):
    """What the controller needs of the API server beside what reconciling does."""

    def pages(self, kind: Kind, namespace: str) -> AsyncIterator[Page]: ...


class ModelRegistry(Registry, Tags, Protocol):
    """What the controller needs of MLflow."""


class Measured(Traffic, Readings, Protocol):
    """What the controller needs of Prometheus."""


class PredictorPods(Replays, Speakers, Protocol):
    """What the controller needs of serving pods."""


class Controller:
    def __init__(
        self,
        settings: Settings,
        kube: Lists,
        registry: ModelRegistry,
        measured: Measured | None,
        pods: PredictorPods,
        clock: Clock = _now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._kube = settings, kube
        self.started = False
        """Whether everything has been listed, and changes are worked on."""
        self.store = Store()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.resolver = Resolver(registry, monotonic)
        self.analyst = Analyst(measured, pods, clock, self.queue.add)
        self.interviews = Interviews(pods, clock, self.queue.add)
        self.drift = DriftPoll(measured, self.store.owner, self._reported, self.queue.add, monotonic)
        self.groups = Groups(kube)
        self.reconciler = Reconciler(
            kube=kube,
            store=self.store,
            resolver=self.resolver,
            children=Children(kube, self.store, self.groups),
            analyst=self.analyst,
            interviews=self.interviews,
            registrar=Registrar(registry, monotonic),
            pod_events=PodEvents(kube, clock),
            defaults=settings.pods,
            surroundings=settings.surroundings,
            clock=clock,
            drift=self.drift.about,
        )
        self._notices: WorkQueue[str] = WorkQueue()
        self._beat: float | None = None
        """None until it works."""
        QUEUE_DEPTH.set_function(lambda: len(self.queue))
        QUEUE_OLDEST.set_function(lambda: self.queue.oldest_seconds)
        RESOURCES.set_function(lambda: len(self.store.resources()))
        CANDIDATES.set_function(lambda: self.store.census.rolling)
        PREDICTOR_PODS.set_function(lambda: self.store.census.pods)
        PROBLEMS.set_function(lambda: self.store.census.problems)

    def observed(self, kind: Kind, event: str | None, obj: Manifest) -> None:
        """Takes in a watch event, or an object of a list (no event); what it changes is reconciled. What somebody asks
        for comes before what follows from it: with a thousand new resources, each is answered before all are done."""
        key = self.store.key_of(kind, obj)
        changed = self.store.remove(kind, obj) if event == "DELETED" else self.store.put(kind, obj)
        if changed and (key := key or self.store.key_of(kind, obj)):
            self.queue.add(key, ahead=kind is MODEL_DEPLOYMENT and _unanswered(obj))

    def noticed(self, name: str) -> None:
        """Somebody says that a registered model changed. MLflow is asked what it means now: once, however often it is
        said meanwhile, and never about a model that nobody uses."""
        if self.resolver.follows(name):
            self._notices.add(name)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lists everything first: a decision made on half a picture would be a wrong one. Then works until left."""
        versions = await self._list_at_last()
        for key in self.store.resources():
            self.queue.add(key)
        tasks = [
            asyncio.create_task(job, name=name)
            for name, job in (
                ("workers", self.queue.run(self._process, self._settings.workers)),
                ("aliases", self._poll_aliases()),
                ("drift", self._poll_drift()),
                ("notices", self._notices.run(self._look_again, 1)),
                ("resync", self._resync()),
                ("heartbeat", self._heartbeat()),
                *(
                    (f"{kind.plural} {namespace}", self._follow(kind, namespace, versions.get((kind, namespace), "")))
                    for kind, namespace in itertools.product(OWNED, self._namespaces)
                ),
            )
        ]
        await asyncio.sleep(0)  # all have begun: Kopf would take a task that appears later for its own, and hung
        try:
            self.started = True
            yield
        finally:
            self.started = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.analyst.close()
            await self.interviews.close()

    async def _list_at_last(self) -> dict[tuple[Kind, str], str]:
        """As `list_all`; waits for an API server that is busy, as it is with a kind that was defined just now (429)."""
        while True:
            try:
                return await self.list_all()
            except KubeError as error:
                if error.status != HTTPStatus.TOO_MANY_REQUESTS and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
                logger.warning("Resources cannot be listed yet, which is tried again: %s", error)
            await asyncio.sleep(LIST_AGAIN_SECONDS)

    async def list_all(self) -> dict[tuple[Kind, str], str]:
        """Puts the store right, and what was news is reconciled. Returns the version of each list: of every kind that
        is there, in each namespace."""
        await self.groups.refresh()
        kinds = [kind for kind in OWNED if not kind.optional or await self.groups.offers(kind.group)]
        asked = itertools.product((MODEL_DEPLOYMENT, *kinds), self._namespaces)
        return {(kind, namespace): await self._list(kind, namespace) for kind, namespace in asked}

    async def _list(self, kind: Kind, namespace: str) -> str:
        """A page at a time: objects as they come take many times the memory of what is kept of them."""
        listed: set[Key] = set()
        version = "0"
        async for page in self._kube.pages(kind, namespace):
            version = page.version
            for obj in page.items:
                listed.add(Key.of(obj))
                self.observed(kind, None, obj)
        for obj in self.store.prune(kind, namespace, listed, int(version)):
            if key := self.store.key_of(kind, obj):
                self.queue.add(key)
        return version

    @property
    def _namespaces(self) -> tuple[str, ...]:
        """An empty one is all of them."""
        return self._settings.watch_namespaces or ("",)

    async def _follow(self, kind: Kind, namespace: str, since: str) -> None:
        await owned.follow(kind, namespace, self._kube, self.groups, self._list, self.observed, since)

    def health(self) -> str | None:
        """Why this process should be restarted, or None. Called from another thread."""
        now = time.monotonic()
        if self._beat is not None and now - self._beat > STUCK_LOOP_SECONDS:
            return f"the event loop has been stuck for {now - self._beat:.0f} s"
        if self.queue.busy and now - self.queue.last_progress > STUCK_QUEUE_SECONDS:
            return f"no reconcile has ended for {now - self.queue.last_progress:.0f} s"
        return None

    async def _process(self, key: Key) -> float | None:
        with RECONCILE_SECONDS.time(), tracing.work("reconcile", *key):
            try:
                again = await self.reconciler.reconcile(key)
            except KubeError as error:
                RECONCILES.labels("error").inc()
                within = error.within if isinstance(error, UnfinishedError) else None
                raise RetryError(str(error), within) from error
            except Exception:
                RECONCILES.labels("error").inc()
                raise
        RECONCILES.labels("ok").inc()
        return again

    def _aliases(self) -> dict[AliasReference, list[Key]]:
        """The aliases in use, and by whom."""
        users: defaultdict[AliasReference, list[Key]] = defaultdict(list)
        for key in self.store.resources():
            obj = self.store.get(MODEL_DEPLOYMENT, *key) or {}
            with contextlib.suppress(ValueError):
                wanted = reference.parse(ModelSource.model_validate(obj.get("spec", {}).get("model", {})))
                if isinstance(wanted, AliasReference):
                    users[wanted].append(key)
        return users

    async def poll(self) -> None:
        """Asks the registry about every name in use."""
        users = self._aliases()
        self.resolver.forget_all_but(users)
        for name in {alias.name: None for alias in users}:
            await self._refresh(name, users)

    async def _look_again(self, name: str) -> None:
        await self._refresh(name, self._aliases())

    async def _refresh(self, name: str, users: Mapping[AliasReference, list[Key]]) -> None:
        for alias in await self.resolver.refresh(name):
            for key in users.get(alias, []):
                self.queue.add(key)

    async def _poll_aliases(self) -> None:
        while True:
            pause = self.resolver.pause
            await asyncio.sleep(self._settings.alias_poll_seconds if pause is None else max(pause, SHORTEST_PAUSE))
            try:
                await self.poll()
            except Exception:  # nothing else would follow an alias any more
                logger.exception("The poll of the registry failed")

    def _reported(self, key: Key) -> tuple[str | None, bool]:
        """The run that serves by a resource's status, and whether its data has drifted."""
        status = read_status((self.store.get(MODEL_DEPLOYMENT, *key) or {}).get("status"))
        drifted = status.condition(DRIFT)
        run_id = status.serving.run_id if status.serving else None
        return run_id, drifted is not None and drifted.status == "True"

    async def _poll_drift(self) -> None:
        while True:
            try:
                await self.drift.poll()
            except Exception:  # nothing else would ever look again
                logger.exception("The poll of the drift failed")
            await asyncio.sleep(self._settings.drift_poll_seconds)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_seconds * random.uniform(0.9, 1.1))
            try:
                await self.list_all()
            except KubeError as error:
                logger.warning("Resync is skipped: %s", error)
            for key in self.store.resources():
                self.queue.add(key)

    async def _heartbeat(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(HEARTBEAT_SECONDS)


def _unanswered(obj: Manifest) -> bool:
    """Whether the status is about an older spec, or there is none."""
    generation: int = obj["metadata"].get("generation", 1)
    observed: int = obj.get("status", {}).get("observedGeneration", 0)
    return generation != observed
