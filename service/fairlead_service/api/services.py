"""What the routes work with: made once by `create_app`, reached through the request."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request
from starlette.routing import Route

from fairlead_service.access.gate import Access
from fairlead_service.api import cached
from fairlead_service.circuit import Circuit
from fairlead_service.errors import NotReady
from fairlead_service.following import Source
from fairlead_service.inference.admission import Admission
from fairlead_service.inference.body import Headers
from fairlead_service.inference.decoder_process import DecoderProcess
from fairlead_service.inference.engine import Engine
from fairlead_service.inference.raw import Handle, RawEndpoint, Refuse, problem_reply
from fairlead_service.jobs import Children, Lane, Limits
from fairlead_service.ledger import Ledger
from fairlead_service.models.slot import Serving, Slot, prepare
from fairlead_service.models.store import Store
from fairlead_service.models.wanted import LoadState
from fairlead_service.observability import logs
from fairlead_service.observability.metrics import Metrics
from fairlead_service.observability.requests import Observer
from fairlead_service.observability.tracing import Tracing
from fairlead_service.registry import Registry
from fairlead_service.server import Drain
from fairlead_service.settings import Settings
from fairlead_service.tls import Certificates

if TYPE_CHECKING:
    from fairlead_service.api.algorithms import Catalogue
    from fairlead_service.api.docs import Document
    from fairlead_service.api.trainings import Job


@dataclass(frozen=True, slots=True)
class Commands:
    """How children are started; tests put programs of their own here."""

    load: tuple[str, ...] = (sys.executable, "-m", "fairlead_service.loading")
    decode: tuple[str, ...] = (sys.executable, "-m", "fairlead_service.training", "decode")
    train: tuple[str, ...] = (sys.executable, "-m", "fairlead_service.training", "train")
    describe: tuple[str, ...] = (sys.executable, "-m", "fairlead_service.training", "describe")
    interrupted: tuple[str, ...] = (sys.executable, "-m", "fairlead_service.training", "interrupted")


@dataclass
class Services:
    settings: Settings
    commands: Commands
    slot: Slot
    engine: Engine
    trainings: Lane
    loads: Lane
    children: Children
    metrics: Metrics
    tracing: Tracing
    drain: Drain
    observer: Observer
    admission: Admission
    decoder: DecoderProcess
    threads: ThreadPoolExecutor
    catalogue: "Catalogue"
    document: "Document"
    registry: Registry
    access: Access
    certificates: Certificates | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    load_state: LoadState = field(default_factory=LoadState)
    cache_circuit: Circuit = field(default_factory=cached.circuit)
    ledger: Ledger = field(default_factory=lambda: Ledger(None))
    running: dict[str, "Job"] = field(default_factory=dict)
    """Trainings that have not ended, by id."""
    _background: set["asyncio.Task[None]"] = field(default_factory=set)
    _store: Store | None = None
    _activation: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def store(self) -> Store:
        """Where models that are loaded while another serves are; opened by the lifespan."""
        assert self._store is not None, "only role api and predictors that swap have a store, once they have started"
        return self._store

    @property
    def sources(self) -> list[Source]:
        """What changes outside while the server runs."""
        return [*self.access.sources, *([self.certificates] if self.certificates is not None else [])]

    def check_takes_requests(self) -> None:
        """Whatever the model. Raises NotReady."""
        if self.drain.active:
            raise NotReady("the server is leaving; send requests to another one")
        if not self.access.settled:
            raise NotReady("the identity provider has not been asked for its keys yet")

    @property
    def uptime_seconds(self) -> float:
        return round(time.monotonic() - self.started, 3)

    def open_store(self, directory: Path) -> None:
        self._store = Store(directory)

    def open_ledger(self) -> None:
        """Beside the bundles; in memory if the directory is another server's."""
        self.ledger = Ledger(self.store.trainings)

    def limits(self, seconds: float, niceness: int) -> Limits:
        """Of a child process; what the settings say of all children, and these two."""
        settings = self.settings
        return Limits(seconds, settings.child_grace_seconds, niceness, settings.child_memory_bytes)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that nobody waits for, until the server leaves."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def activate(self, directory: Path) -> tuple[Serving | None, Serving]:
        """Serves the bundle in `directory` from the next request on; returns what served before and what serves now.

        One at a time; raises BundleError or ModelError, and then what served goes on serving.
        """
        async with self._activation:
            self.slot.make_room()
            return await self._swap(await asyncio.to_thread(prepare, directory, self.settings.replay_samples))

    async def serve(self, new: Serving) -> tuple[Serving | None, Serving]:
        """As `activate`, with a model that is in memory."""
        async with self._activation:
            return await self._swap(new)

    async def _swap(self, new: Serving) -> tuple[Serving | None, Serving]:
        old = self.slot.swap(new)
        self.metrics.serving(new)
        if self._store is not None:
            await asyncio.to_thread(_remember, self._store, new.bundle.directory)
        return old, new

    async def close(self) -> None:
        """Ends the work that would keep the server from leaving."""
        self.trainings.close()
        self.loads.close()
        await self.children.close()
        ending = [job.task for job in self.running.values() if job.task is not None]
        if ending:
            await asyncio.wait(ending)
        for task in self._background:
            task.cancel()
        self.registry.close()
        if self._store is not None:
            self._store.close()


def _remember(store: Store, directory: Path) -> None:
    """The model serves already, so a full disk costs the next restart its model, not this one its answer."""
    try:
        store.commit(directory)
    except OSError as error:
        logs.error(f"the model will not be served again after a restart: {error}", error)


def raw_route(
    services: Services, path: str, handle: Handle, check: Callable[[Headers], None], refuse: Refuse = problem_reply
) -> Route:
    """A raw endpoint for POST, with the limits of the settings."""
    settings = services.settings
    endpoint = RawEndpoint(
        path,
        handle,
        services.observer,
        limit=settings.max_body_bytes,
        seconds=settings.body_timeout_seconds,
        check=services.access.guarded(check, path),
        admission=services.admission,
        decoder=services.decoder,
        refuse=refuse,
    )
    return Route(path, endpoint, methods=["POST"])


async def services(request: Request) -> Services:
    """Async, because FastAPI runs other dependencies in a thread."""
    return cast(Services, request.app.state.services)


Use = Annotated[Services, Depends(services)]


def client_address(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"
