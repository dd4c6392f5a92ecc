"""Loading another model while one serves: a child fetches, checks, compiles and proves it, then the slot swaps.

Loads are done one at a time. Those that somebody waits for are done in the order they came. Those that nobody waits
for (the operator asks again and again what became of them) give way: the last one asked for is what shall serve.
"""

import asyncio
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from fairlead_service import contract, errors, wire
from fairlead_service.api.cached import CacheUse
from fairlead_service.api.services import Services
from fairlead_service.errors import Problem
from fairlead_service.models.bundle import BundleError
from fairlead_service.models.slot import ModelError, Serving
from fairlead_service.models.wanted import SERVE, FailedLoad, Wanted
from fairlead_service.observability import logs
from fairlead_service.schemas import LoadResponse


async def load(services: Services, wanted: Wanted, client: str) -> LoadResponse:
    """Serves the wanted model, however long that takes and whether or not the client stays. Raises Problem."""
    return await asyncio.shield(asyncio.create_task(_load(services, wanted, client)))


async def begin(services: Services, wanted: Wanted, client: str) -> LoadResponse | None:
    """Begins to load it, in place of what was begun before and nobody waits for. Asking again changes nothing.

    Returns the answer if the model is at hand, None if it has to be fetched: `services.load_state` says how far it is.
    Raises Problem if it can't even begin.
    """
    state = services.load_state
    task = state.task
    if task is None or not state.pending or state.begun != wanted:
        services.loads.check_place()
        if task is not None and state.stoppable:
            task.cancel()
        task = state.task = asyncio.create_task(_load_after(task, services, wanted, client))
        state.begun = wanted
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # told by load_state
    held = (services.slot.current, services.slot.previous)
    if any(model is not None and wanted.is_of(model.manifest.identity) for model in held):
        await asyncio.wait({task})
        return None if task.cancelled() else task.result()
    return None


async def _load_after(
    before: "asyncio.Task[LoadResponse] | None", services: Services, wanted: Wanted, client: str
) -> LoadResponse:
    if before is not None:
        await asyncio.wait({before})
    return await _load(services, wanted, client)


async def _load(services: Services, wanted: Wanted, client: str) -> LoadResponse:
    started, state = time.perf_counter(), services.load_state
    try:
        async with services.loads.turn():
            state.running, state.stage, state.failed = wanted, "fetch", None
            try:
                status, old, new = await _serve(services, wanted)
            finally:
                state.running = None
    except asyncio.CancelledError:
        logs.audit("load", "superseded", client, run_id=wanted.run_id)
        raise
    except BaseException as error:
        slug = error.slug if isinstance(error, Problem) else errors.InternalError.slug
        message = error.detail if isinstance(error, Problem) else errors.UNEXPECTED
        state.failed = FailedLoad(wanted.run_id, errors.failure_reason(error), message, datetime.now(UTC))
        services.metrics.load("failed", time.perf_counter() - started)
        logs.audit("load", "failed", client, run_id=wanted.run_id, problem=slug)
        raise
    previous = old.run_id if old is not None else None
    if status != "already-loaded":
        services.metrics.load("succeeded", time.perf_counter() - started)
        logs.audit("load", "succeeded", client, run_id=wanted.run_id, previous_run_id=previous)
    return _answer(status, new, previous, started)


async def _serve(services: Services, wanted: Wanted) -> tuple[str, Serving | None, Serving]:
    """What was done, what served before, what serves now."""
    current, previous = services.slot.current, services.slot.previous
    if current is not None and wanted.is_of(current.manifest.identity):
        return "already-loaded", current, current
    with services.tracing.span("load", {"fairlead.run_id": wanted.run_id}):
        if previous is not None and wanted.is_of(previous.manifest.identity):
            services.load_state.stage = SERVE
            return "swapped-back", *await services.serve(previous)
        return "loaded", *await _fetch_and_activate(services, wanted)


async def _fetch_and_activate(services: Services, wanted: Wanted) -> tuple[Serving | None, Serving]:
    bundle = services.store.new_bundle()
    try:
        with errors.disk():
            scratch = await asyncio.to_thread(services.store.new_job)
        try:
            await _child(services, wanted, bundle, scratch)
        finally:
            await asyncio.shield(asyncio.to_thread(services.store.discard, scratch))
        services.load_state.stage = SERVE
        return await services.activate(bundle)
    except (BundleError, ModelError) as error:
        services.store.discard(bundle)
        raise errors.LoadFailed(str(error)) from error
    except BaseException:
        services.store.discard(bundle)
        raise


async def _child(services: Services, wanted: Wanted, bundle: Path, scratch: Path) -> None:
    settings, state = services.settings, services.load_state
    cache = CacheUse(services.cache_circuit, services.metrics.cache)

    def follow(progress: wire.Progress) -> None:
        state.stage = progress.stage
        if progress.cache is not None:
            cache.heard(progress.cache)
            if progress.level > logging.INFO:
                logs.event("log", progress.message, progress.level)

    command: list[str | Path] = [*services.commands.load, "--model-uri", wanted.uri]
    command += ["--bundle", bundle, "--scratch", scratch, "--run-id", wanted.run_id]
    # Said even if there is none: a predictor's environment may name the model it started with.
    command += ["--name", wanted.name or "", "--version", wanted.version or ""]
    if settings.allow_pickle:
        command.append("--allow-pickle")
    try:
        await services.children.run(
            command,
            # Users of a predictor come first; with role api somebody waits for the load, and it is short.
            services.limits(
                settings.load_timeout_seconds,
                niceness=settings.child_nice if settings.role == contract.ROLE_PREDICTOR else 0,
            ),
            # The container's last word is the server's, which goes on.
            environment={
                **services.tracing.child_environment(),
                **cache.environment(),
                contract.ENV_TERMINATION_LOG: os.devnull,
            },
            on_progress=follow,
        )
    finally:
        cache.ended()


def _answer(status: str, serving: Serving, previous: str | None, started: float) -> LoadResponse:
    identity = serving.manifest.identity
    return LoadResponse.model_validate(
        {
            "status": status,
            "run_id": identity.run_id,
            "model_name": identity.name,
            "model_version": identity.version,
            "backend": serving.backend.name,
            "previous_run_id": previous,
            "duration_seconds": round(time.perf_counter() - started, 3),
        }
    )
