"""`create_app`: settings in, an ASGI application out. Everything an application holds is made here."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import cast

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fairlead_service import addresses, contract, errors, patterns, termination
from fairlead_service.access.gate import access
from fairlead_service.api import (
    algorithms,
    docs,
    health,
    infer_v2,
    invocations,
    metrics,
    models,
    openapi,
    plain_port,
    predict,
    registry,
    samples,
    status,
    train,
    trainings,
)
from fairlead_service.api.authorization import guard
from fairlead_service.api.services import Commands, Services
from fairlead_service.api.train_request import from_pydantic
from fairlead_service.compression import Compressed
from fairlead_service.errors import Problem
from fairlead_service.following import follow
from fairlead_service.head_requests import HeadRequests, allowed
from fairlead_service.inference.admission import Admission
from fairlead_service.inference.batcher import Batcher
from fairlead_service.inference.decoder_process import DecoderProcess
from fairlead_service.inference.engine import Engine
from fairlead_service.jobs import Children, Lane
from fairlead_service.models import store
from fairlead_service.models.bundle import BundleError
from fairlead_service.models.slot import ModelError, Slot
from fairlead_service.observability import logs, stalls
from fairlead_service.observability.metrics import Metrics
from fairlead_service.observability.middleware import Observed
from fairlead_service.observability.requests import Observer
from fairlead_service.observability.tracing import Tracing, from_environment
from fairlead_service.registry import Registry
from fairlead_service.server import Drain
from fairlead_service.settings import Settings
from fairlead_service.tls import Certificates

_DESCRIPTION = """Trains scikit-learn models, tracks them in MLflow, and serves them.

Errors are RFC 9457 problem details (`application/problem+json`): what is wrong, where, and what to send instead."""


class StartError(Exception):
    """A predictor can't serve its bundle; the reason is in the termination log."""


def create_app(settings: Settings, *, commands: Commands | None = None, tracing: Tracing | None = None) -> FastAPI:
    """An application of its own, with nothing shared with others in the process.

    `commands` and `tracing` take the place of the real children and of the environment's exporter in tests.
    """
    services = _services(settings, commands or Commands(), tracing or from_environment(f"fairlead-{settings.role}"))
    services.metrics.watch(services.registry.circuit, services.cache_circuit)
    app = Application(
        title="Fairlead",
        version=version("fairlead"),
        description=_DESCRIPTION,
        lifespan=_lifespan(services),
        openapi_url=None,  # api/docs.py
        redirect_slashes=False,
        dependencies=[Depends(guard)],
        # The spans, metrics and logs here are made by hand: FastAPI's own cost more and know less.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.services = services
    documented = [route for raw in (predict, infer_v2, invocations) for route in raw.documented.routes]
    app.openapi = lambda: openapi.document(app, documented)  # type: ignore[method-assign]
    for router in (
        health.router, models.info_router, metrics.router, infer_v2.router, invocations.router, docs.router,
    ):  # fmt: skip
        app.include_router(router)
    if settings.role == contract.ROLE_API:
        app.include_router(algorithms.router)
        app.include_router(registry.router)
        app.include_router(train.router)
        services.metrics.expect_trainings(entry_points(group=train.ALGORITHMS).names)
    if settings.role == contract.ROLE_API or settings.hot_swap:
        app.include_router(models.load_router)
    if settings.replay_samples:
        app.include_router(samples.router)
    app.add_route("/", status.page, include_in_schema=False)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Compressed)
    app.add_middleware(HeadRequests)
    app.add_middleware(Observed, observer=services.observer)  # outermost
    for raw in (predict, infer_v2, invocations):
        app.mount_raw(raw.routes(services))
    if services.certificates is not None:
        app.plain = plain_port.refusal(services)
    return app


class Application(FastAPI):
    """FastAPI, with a way around its middleware and routing for requests that are many: they are observed like all
    others, but go to their raw endpoint at once, which saves half of the time of a prediction of one row."""

    plain: ASGIApp | None = None
    """Answers what came without TLS and may not."""

    def mount_raw(self, routes: Sequence[Route]) -> None:
        """Adds routes whose endpoints are raw. They are in the routing, too, for the answers to other methods."""
        self.router.routes.extend(routes)
        for route in routes:
            if route.param_convertors:
                self._templates.append(route)
            else:
                self._paths |= {(method, route.path): route.endpoint for method in route.methods or ()}

    @cached_property
    def _paths(self) -> dict[tuple[str, str], ASGIApp]:
        return {}

    @cached_property
    def _templates(self) -> list[Route]:
        return []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self.plain is not None and plain_port.refused(scope):
                await self.plain(scope, receive, send)
                return
            endpoint = self._paths.get((scope["method"], scope["path"])) or self._by_template(scope)
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def _by_template(self, scope: Scope) -> ASGIApp | None:
        for route in self._templates:
            match, child_scope = route.matches(scope)
            if match is Match.FULL:
                scope.update(child_scope)
                return cast(ASGIApp, route.endpoint)
        return None


def _services(settings: Settings, commands: Commands, tracing: Tracing) -> Services:
    slot, measured = Slot(keeps_previous=settings.hot_swap), Metrics()
    environment = _environment(settings)
    threads = ThreadPoolExecutor(settings.predict_threads, thread_name_prefix="predict")
    drain = Drain(settings.drain_seconds)
    batcher = Batcher(
        threads,
        threads=settings.predict_threads,
        batch_rows=settings.max_batch_rows,
        waiting_rows=settings.max_waiting_rows,
        observe=measured.prediction,
        refused=measured.shed,
    )
    return Services(
        settings=settings,
        commands=commands,
        slot=slot,
        engine=Engine(slot, batcher, tracing, measured.extra_columns),
        trainings=Lane("training", settings.train_queue),
        loads=Lane("load", settings.load_queue),
        children=Children(environment),
        metrics=measured,
        tracing=tracing,
        drain=drain,
        observer=Observer(measured, tracing, drain),
        admission=Admission(settings.max_in_flight, measured.shed),
        decoder=DecoderProcess(environment),
        threads=threads,
        catalogue=algorithms.Catalogue(),
        document=docs.Document(),
        registry=Registry(environment, measured.mlflow_call),
        access=access(settings),
        certificates=_certificates(settings),
    )


def _lifespan(services: Services) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if services.settings.role == contract.ROLE_PREDICTOR:
            await _start_predictor(services)
        else:
            await _start_api(services)
        services.spawn(stalls.sample(services.metrics.stall))
        for source in services.sources:
            services.spawn(follow(source))
        try:
            yield
        finally:
            await services.close()
            services.threads.shutdown(wait=False, cancel_futures=True)
            services.decoder.close()
            await asyncio.to_thread(services.tracing.close)

    return lifespan


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return Certificates(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)


def _environment(settings: Settings) -> dict[str, str]:
    """Of children, who run what may be other people's code: they are not told the token. In traces they have names of
    their own."""
    own = (contract.ENV_LOAD_TOKEN, "OTEL_SERVICE_NAME")
    inherited = {name: value for name, value in os.environ.items() if name not in own}
    told = {**inherited, contract.ENV_TRACKING_URI: settings.tracking_uri}
    return {**told, **addresses.apart(told)}


async def _start_predictor(services: Services) -> None:
    directory, started = services.settings.bundle_dir, time.perf_counter()
    try:
        if directory is None:
            raise BundleError(f"no bundle: set {contract.ENV_BUNDLE_DIR} to the directory that the loader wrote")
        if services.settings.hot_swap:
            await _start_swapping(services, directory)
        else:
            await services.activate(directory)
    except BundleError as error:
        raise _start_failed(services.settings, contract.FailureReason.MODEL_CORRUPT, error) from None
    except ModelError as error:
        raise _start_failed(services.settings, contract.FailureReason.SELF_TEST_FAILED, error) from None
    services.metrics.load("succeeded", time.perf_counter() - started)


async def _start_swapping(services: Services, loaded: Path) -> None:
    """Serves what served last, if the container was started again; else what the loader has written."""
    try:
        await asyncio.to_thread(lambda: services.open_store(store.beside(loaded)))
        last = services.store.current()
        if last is not None:
            try:
                await services.activate(last)
                return
            except (BundleError, ModelError) as error:
                logs.event("log", f"the model of before the restart is not served: {error}", logging.WARNING)
        await services.activate(await asyncio.to_thread(services.store.adopt, loaded))
    except OSError as error:
        raise BundleError(f"hot swap needs a bundle in a directory that can be written: {error}") from error


async def _start_api(services: Services) -> None:
    await asyncio.to_thread(services.open_store, services.settings.data_dir)
    await asyncio.to_thread(services.open_ledger)
    await trainings.take_over(services)
    directory = services.store.current()
    if directory is None:
        return
    try:
        await services.activate(directory)
    except (BundleError, ModelError) as error:
        logs.event("log", f"the model of before the restart is not served: {error}", logging.WARNING)


def _start_failed(settings: Settings, reason: contract.FailureReason, error: Exception) -> StartError:
    logs.error(f"the server does not start: {error}", reason=reason.value)
    if not termination.write(settings.termination_log, reason, str(error)):
        logs.event("log", f"no termination log at {settings.termination_log}", logging.DEBUG)
    return StartError(str(error))


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    request_id = getattr(request.state, "request_id", "")
    return Response(error.body(request_id), error.status, headers=error.headers, media_type=errors.MEDIA_TYPE)


async def _validation(request: Request, error: Exception) -> Response:
    """FastAPI's own findings, which start with `path`, `query` or `body`, in the form of ours."""
    assert isinstance(error, RequestValidationError)
    found = [(tuple(item["loc"]), patterns.message(item)) for item in error.errors()]
    return await _problem(request, from_pydantic(found))


async def _http(request: Request, error: Exception) -> Response:
    """What Starlette raises by itself: no such path, no such method."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == errors.MethodNotAllowed.status:
        found = allowed((error.headers or {}).get("Allow", ""))
        detail = f"{path} does not take {request.method[:20]}; send {found}"
        return await _problem(request, errors.MethodNotAllowed(detail, headers={"Allow": found}))
    if error.status_code == errors.NotFound.status:
        return await _problem(request, errors.NotFound(f"there is no {path}; /docs lists what there is"))
    logs.error(f"unexpected HTTP exception {error.status_code}", error)
    return await _problem(request, errors.InternalError("an unexpected error; it is in the server's log"))
