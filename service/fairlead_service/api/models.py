"""`GET /model/info` for both roles, `POST /model/load/{run_id}` for role api."""

import asyncio
import re
import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter

from fairlead_service import errors
from fairlead_service.api.services import Services, Use, client_address
from fairlead_service.errors import NoModel, Problem, openapi_responses
from fairlead_service.inference.engine import NO_MODEL
from fairlead_service.jobs import Limits
from fairlead_service.models.bundle import BundleError
from fairlead_service.models.slot import ModelError, Serving
from fairlead_service.observability import logs
from fairlead_service.schemas import RUN_ID_PATTERN, LoadResponse, ModelInfo

info_router = APIRouter(tags=["model"])
load_router = APIRouter(tags=["model"])

RunId = Annotated[
    str,
    PathParameter(
        description="An MLflow run id, 32 hexadecimal digits",
        json_schema_extra={"pattern": RUN_ID_PATTERN},
        examples=["6f2c1d0e9b3a4c5d8e7f60718293a4b5"],
    ),
]


@info_router.get("/model/info", summary="The model that serves now", responses=openapi_responses(NoModel))
async def info(services: Use) -> ModelInfo:
    """Where it comes from, what it takes and answers, with what it was trained, and what was checked at its load."""
    serving = services.slot.current
    if serving is None:
        raise NoModel(NO_MODEL)
    manifest = serving.manifest
    return ModelInfo.model_validate(
        {
            **manifest.model_dump(),
            "run_id": manifest.identity.run_id,
            "model_uri": manifest.identity.model_uri,
            "model_id": manifest.identity.model_id,
            "model_name": manifest.identity.name,
            "model_version": manifest.identity.version,
            "backend": serving.backend.name,
            "loaded_at": serving.loaded_at,
        }
    )


@load_router.post(
    "/model/load/{run_id}",
    summary="Serve the model of a run",
    responses=openapi_responses(
        errors.ModelNotFound,
        errors.InvalidInput,
        errors.ModelCorrupt,
        errors.ModelRefused,
        errors.ModelUnsupported,
        errors.VersionMismatch,
        errors.SelfTestFailed,
        errors.QueueFull,
        errors.InternalError,
        errors.ChildCrashed,
        errors.LoadFailed,
        errors.TrackingServerUnavailable,
        errors.ShuttingDown,
        errors.ChildTimedOut,
    ),
)
async def load(run_id: RunId, request: Request, services: Use) -> LoadResponse:
    """Fetches the run's model from MLflow, checks and builds it in a process of its own, and serves it.

    The model that served before goes on serving until the new one has answered its own input example, and after that
    if anything of it fails. Loads are done one after the other; loading what already serves does nothing.
    """
    if not re.fullmatch(RUN_ID_PATTERN, run_id):
        raise errors.InvalidInput(f"{run_id[:100]!r} is no run id; send the 32 hexadecimal digits that MLflow shows")
    return await asyncio.shield(asyncio.create_task(_load(services, run_id, client_address(request))))


async def _load(services: Services, run_id: str, client: str) -> LoadResponse:
    started = time.perf_counter()
    try:
        async with services.loads.turn():
            current = services.slot.current
            if current is not None and current.run_id == run_id:
                return _answer("already-loaded", current, run_id, started)
            with services.tracing.span("load", {"fairlead.run_id": run_id}):
                old, new = await _fetch_and_activate(services, run_id)
    except BaseException as error:
        slug = error.slug if isinstance(error, Problem) else errors.InternalError.slug
        services.metrics.load("failed", time.perf_counter() - started)
        logs.audit("load", "failed", client, run_id=run_id, problem=slug)
        raise
    services.metrics.load("succeeded", time.perf_counter() - started)
    logs.audit("load", "succeeded", client, run_id=run_id, previous_run_id=old.run_id if old else None)
    return _answer("loaded", new, old.run_id if old else None, started)


async def _fetch_and_activate(services: Services, run_id: str) -> tuple[Serving | None, Serving]:
    bundle = services.store.new_bundle()
    try:
        await _child(services, run_id, bundle)
        old, new = await services.activate(bundle)
    except (BundleError, ModelError) as error:
        services.store.discard(bundle)
        raise errors.LoadFailed(str(error)) from error
    except BaseException:
        services.store.discard(bundle)
        raise
    return old, new


async def _child(services: Services, run_id: str, bundle: Path) -> None:
    settings = services.settings
    command: list[str | Path] = [*services.commands.load, "--model-uri", f"runs:/{run_id}"]
    command += ["--bundle", bundle, "--run-id", run_id]
    if settings.allow_pickle:
        command.append("--allow-pickle")
    await services.children.run(
        command,
        Limits(
            seconds=settings.load_timeout_seconds,
            grace_seconds=settings.child_grace_seconds,
            niceness=0,  # somebody waits for it, and it is short
            memory_bytes=settings.child_memory_bytes,
        ),
        environment=services.tracing.child_environment(),
    )


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
