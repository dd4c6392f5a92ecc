"""`POST /train`: data in, a run in MLflow and a served model out."""

import asyncio
import logging
import time
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request

from fairlead_service import errors
from fairlead_service.api.openapi import json_body
from fairlead_service.api.services import Services, Use, client_address
from fairlead_service.api.train_request import TrainInput, decode_train
from fairlead_service.errors import BODY_PROBLEMS, Problem, openapi_responses
from fairlead_service.inference.body import check_json, read_body
from fairlead_service.jobs import Limits
from fairlead_service.models.bundle import BundleError
from fairlead_service.models.slot import ModelError
from fairlead_service.observability import logs
from fairlead_service.schemas import TrainRequest, TrainResponse

ALGORITHMS: Final = "fairlead.algorithms"
"""Entry point group. The server reads names only: loading an entry point would import scikit-learn."""

router = APIRouter(tags=["training"])


@router.post(
    "/train",
    summary="Train a model, track it in MLflow, and serve it",
    response_model_exclude_none=True,
    responses=openapi_responses(
        *BODY_PROBLEMS,
        errors.TooManyRows,
        errors.UnknownAlgorithm,
        errors.InvalidHyperparameter,
        errors.InvalidData,
        errors.QueueFull,
        errors.ChildCrashed,
        errors.TrainingFailed,
        errors.TrackingServerUnavailable,
        errors.ShuttingDown,
        errors.ChildTimedOut,
    ),
    openapi_extra=json_body(TrainRequest),
)
async def train(request: Request, services: Use) -> TrainResponse:
    """Trains in a process of its own, one at a time; predictions go on meanwhile.

    The answer comes when the training is done. A client that leaves earlier does not end it: the run is in MLflow,
    and the model is served if that was asked for. `evaluation` says how the metrics came about.
    """
    settings = services.settings
    services.trainings.check_place()
    headers = dict(request.scope["headers"])
    check_json(headers)
    body = await read_body(
        headers, request.receive, limit=settings.max_train_body_bytes, seconds=settings.body_timeout_seconds
    )
    algorithms = entry_points(group=ALGORITHMS).names
    training = await asyncio.to_thread(decode_train, body, settings.max_train_rows, algorithms)
    del body  # the matrix is enough to hold while it waits for its turn
    return await asyncio.shield(asyncio.create_task(_train(services, training, client_address(request))))


async def _train(services: Services, training: TrainInput, client: str) -> TrainResponse:
    options = training.options
    fields = {"algorithm": options.algorithm, "model_name": options.model_name, "rows": len(training.matrix)}
    try:
        async with services.trainings.turn():
            answer = await _run(services, training)
    except Problem as problem:
        logs.audit("train", "failed", client, **fields, problem=problem.slug)
        raise
    except BaseException:
        logs.audit("train", "failed", client, **fields, problem=errors.InternalError.slug)
        raise
    logs.audit("train", "succeeded", client, **fields, run_id=answer.run_id, loaded=answer.loaded)
    return answer


async def _run(services: Services, training: TrainInput) -> TrainResponse:
    """One training from its files on disk to its model in the slot."""
    store = services.store
    job, bundle = store.new_job(), store.new_bundle()
    try:
        await asyncio.to_thread(_write, job, training)
        result = await _child(services, training.options.algorithm, job, bundle)
        loaded, warning = await _serve(services, bundle) if training.options.load else (False, None)
        return TrainResponse.model_validate({**result, "loaded": loaded, "warning": warning})
    finally:
        store.discard(job)
        current = services.slot.current
        if current is None or current.bundle.directory != bundle:
            store.discard(bundle)


async def _child(services: Services, algorithm: str, job: Path, bundle: Path) -> Mapping[str, Any]:
    settings = services.settings
    started = time.perf_counter()
    outcome = "failed"
    with services.tracing.span("train", {"fairlead.algorithm": algorithm}):
        try:
            result = await services.children.run(
                [*services.commands.train, "--request", job, "--bundle", bundle],
                Limits(
                    seconds=settings.train_timeout_seconds,
                    grace_seconds=settings.child_grace_seconds,
                    niceness=settings.child_nice,
                    memory_bytes=settings.child_memory_bytes,
                ),
                environment=services.tracing.child_environment(),
            )
            outcome = "succeeded"
            return result
        finally:
            services.metrics.training(algorithm, outcome, time.perf_counter() - started)


async def _serve(services: Services, bundle: Path) -> tuple[bool, str | None]:
    """The run is in MLflow by now, so a model that can't be served here is a warning in the answer, not an error."""
    try:
        await services.activate(bundle)
    except (BundleError, ModelError) as error:
        logs.event("log", f"the trained model is not served: {error}", logging.WARNING)
        return False, f"trained and tracked, but not served: {error}"
    return True, None


def _write(job: Path, training: TrainInput) -> None:
    np.save(job / "data.npy", training.matrix, allow_pickle=False)
    (job / "request.json").write_bytes(training.to_json())
