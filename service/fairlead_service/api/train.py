"""`POST /train`: data in, a run in MLflow and a served model out; `/train/jobs`: what becomes of it meanwhile."""

import asyncio
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter

from fairlead_service import errors, patterns
from fairlead_service.api import train_body, train_files, trainings, upload
from fairlead_service.api.openapi import train_body as described_body
from fairlead_service.api.services import Services, Use, client_address
from fairlead_service.api.train_request import decode_options, decode_train
from fairlead_service.errors import BODY_PROBLEMS, openapi_responses
from fairlead_service.inference.body import check_identity, check_json
from fairlead_service.schemas_train import JobState, TrainingJob, TrainingJobs, TrainOptions, TrainResponse

ALGORITHMS: Final = "fairlead.algorithms"
"""Entry point group. The server reads names only: loading an entry point would import scikit-learn."""

_BEGUN: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": TrainingJob, "description": "It is queued; the header Location says where to follow it"}
}
router = APIRouter(tags=["training"])

Wait = Annotated[bool, Query(description="Whether to answer only when the model is trained")]
JobId = Annotated[str, PathParameter(description="As `POST /train` answered", pattern=patterns.RUN_ID)]
State = Annotated[JobState | None, Query(description="Only jobs in this state")]
Limit = Annotated[int, Query(ge=1, le=200, description="Most jobs to list")]


@router.post(
    "/train",
    summary="Train a model, track it in MLflow, and serve it",
    response_model=TrainResponse,
    response_model_exclude_none=True,
    responses=_BEGUN
    | openapi_responses(
        *BODY_PROBLEMS,
        errors.TrainingCancelled,
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
        errors.DiskFull,
    ),
    openapi_extra=described_body(),
)
async def train(request: Request, services: Use, wait: Wait = True) -> TrainResponse | Response:
    """Trains in a process of its own, one at a time; predictions go on meanwhile.

    The data are a matrix in the JSON body, a CSV or Parquet file beside it (`multipart/form-data` with the parts
    `request` and `file`), or a file among MLflow's artifacts (`data_uri`). The answer comes when the training is done,
    or at once with `wait=false`. A client that leaves earlier does not end it: the run is in MLflow, the job under
    `/train/jobs`, and the model is served if that was asked for. `evaluation` says how the metrics came about.
    """
    job = await _begin(request, services)
    if wait:
        return await trainings.outcome(job)
    location = {"Location": f"train/jobs/{job.record.id}"}  # relative: a proxy may have taken a prefix off the path
    return Response(job.record.model_dump_json(exclude_none=True), 202, location, "application/json")


@router.get(
    "/train/jobs",
    summary="The trainings that were asked for",
    response_model_exclude_none=True,
    responses=openapi_responses(errors.InvalidInput),
)
async def jobs(services: Use, state: State = None, limit: Limit = 50) -> TrainingJobs:
    """Those of this server, the newest first: all that have not ended, and the last that have."""
    found = [job for job in services.ledger.all() if state is None or job.state is state]
    return TrainingJobs(jobs=found[:limit])


@router.get(
    "/train/jobs/{job_id}",
    summary="How far a training is, or how it ended",
    response_model_exclude_none=True,
    responses=openapi_responses(errors.JobNotFound, errors.InvalidInput),
)
async def job(job_id: JobId, services: Use) -> TrainingJob:
    """`result` or `problem` is what a client that waited got. It is known after a restart of the server, too; a job
    that had not ended by then is `Interrupted`, and so is its run in MLflow."""
    return _found(services, job_id)


@router.delete(
    "/train/jobs/{job_id}",
    summary="Cancel a training",
    response_model_exclude_none=True,
    responses=openapi_responses(errors.JobNotFound, errors.JobEnded, errors.InvalidInput),
)
async def cancel(job_id: JobId, services: Use) -> TrainingJob:
    """Answers when its process has ended. Its run in MLflow is KILLED, and whoever waits for it is told."""
    record = _found(services, job_id)
    running = services.running.get(job_id)
    if running is None:
        raise errors.JobEnded(f"job {job_id} has ended: {record.state.value}")
    return await trainings.cancel(services, running)


def _found(services: Services, job_id: str) -> TrainingJob:
    record = services.ledger.get(job_id)
    if record is None:
        raise errors.JobNotFound(f"no job {job_id} on this server; GET /train/jobs lists those it knows")
    return record


async def _begin(request: Request, services: Services) -> trainings.Job:
    """Receives a training that has a place already: files are large, and there must not be more than can be used."""
    services.trainings.take()
    try:
        with errors.disk():
            directory = await asyncio.to_thread(services.store.new_job)
            try:
                options, data = await _receive(request, services, directory)
                return trainings.begin(services, options, directory, client_address(request), data)
            except BaseException:
                await asyncio.shield(asyncio.to_thread(services.store.discard, directory))
                raise
    except BaseException:
        services.trainings.give_back()
        raise


async def _receive(request: Request, services: Services, directory: Path) -> tuple[TrainOptions, str]:
    """The request, with its files in `directory`, and what to call its data."""
    settings, headers = services.settings, dict(request.scope["headers"])
    algorithms = entry_points(group=ALGORITHMS).names
    limits = {
        "rows": settings.max_train_rows,
        "columns": settings.max_train_columns,
        "bytes": settings.max_upload_bytes,
        "estimators": settings.max_train_estimators,
        "iterations": settings.max_train_iterations,
    }
    if headers.get(b"content-type", b"").split(b";")[0].strip().lower() == upload.MEDIA_TYPE:
        check_identity(headers)
        sent = await upload.read(
            headers,
            request.receive,
            directory,
            limit=settings.max_upload_bytes,
            seconds=settings.upload_timeout_seconds,
        )
        training = await asyncio.to_thread(decode_options, sent.request, algorithms)
        more = {"data_file": sent.file, "data_name": sent.name, "limits": limits}
        await asyncio.to_thread(train_files.write, directory, training, more)
        return training.options, f"upload of {sent.name}"
    check_json(headers)
    body = await train_body.receive(
        headers,
        request.receive,
        directory,
        limit=settings.max_train_body_bytes,
        seconds=settings.body_timeout_seconds,
    )
    if isinstance(body, Path):
        options = await train_body.decode_in_child(services, directory, limits)
    else:
        training = await asyncio.to_thread(decode_train, body, settings.max_train_rows, algorithms)
        await asyncio.to_thread(train_files.write, directory, training, {"limits": limits})
        options = training.options
    return options, options.data_uri or "request"
