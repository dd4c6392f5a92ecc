"""Training jobs: files on disk, a child that trains, the model in the slot; and a record of each, from first to last.

A job belongs to the server, not to the client that asked for it. One that ends without its child's last word (cut off,
killed, out of time) may have left an MLflow run that still says RUNNING: a second child ends it, as often as it takes.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fairlead_service import errors, wire
from fairlead_service.api.services import Services
from fairlead_service.errors import (
    ChildCrashed,
    ChildTimedOut,
    Problem,
    ShuttingDown,
    TrackingServerUnavailable,
    TrainingCancelled,
)
from fairlead_service.models.bundle import BundleError
from fairlead_service.models.slot import ModelError
from fairlead_service.observability import logs
from fairlead_service.schemas_train import JobProblem, JobState, TrainingJob, TrainOptions, TrainResponse

SERVE: Final = "serve"
_TELLING_SECONDS: Final = 120.0
_AGAIN_SECONDS: Final = (5.0, 15.0, 60.0)
_STATES: Final[Mapping[type[Problem], JobState]] = {
    TrainingCancelled: JobState.CANCELLED,
    ShuttingDown: JobState.INTERRUPTED,
}
_CUT_OFF: Final = (ChildCrashed, ChildTimedOut, ShuttingDown, TrainingCancelled)
"""What ends a child before it can be sure that MLflow knows."""

Outcome = TrainResponse | Problem


@dataclass
class Job:
    """A training as it goes on; `record` is what is told of it."""

    record: TrainingJob
    options: TrainOptions
    directory: Path
    client: str
    task: "asyncio.Task[Outcome] | None" = None


def begin(services: Services, options: TrainOptions, directory: Path, client: str, data: str) -> Job:
    """Queues a training whose files are in `directory`. That, and the place in the queue that the caller has taken, are
    the job's from now on."""
    record = TrainingJob(
        id=uuid.uuid4().hex,
        state=JobState.QUEUED,
        algorithm=options.algorithm,
        model_name=options.model_name,
        data=data,
        created_at=datetime.now(UTC),
    )
    job = Job(record, options, directory, client)
    services.ledger.put(record)
    job.task = asyncio.create_task(_run(services, job))
    services.running[record.id] = job
    return job


async def outcome(job: Job) -> TrainResponse:
    """Waits for the job's end, whether or not whoever waits stays. Raises its Problem."""
    assert job.task is not None
    found = await asyncio.shield(job.task)
    if isinstance(found, Problem):
        raise found
    return found


async def cancel(services: Services, job: Job) -> TrainingJob:
    """Ends a job, and waits until it has ended. Raises JobEnded if its model is being served already."""
    assert job.task is not None
    if job.record.stage == SERVE or job.task.done():
        raise errors.JobEnded(f"job {job.record.id} is trained already; its run is {job.record.run_id}")
    job.task.cancel()
    await asyncio.wait({job.task})
    return services.ledger.get(job.record.id) or job.record


async def _run(services: Services, job: Job) -> Outcome:
    """The job from its queue to its end; never raises, but for what is a bug."""
    try:
        await _save(services, job)
        async with services.trainings.in_order():
            _change(services, job, state=JobState.RUNNING, started_at=datetime.now(UTC), stage="start")
            await _save(services, job)
            found: Outcome = await _train(services, job)
    except Problem as problem:
        found = problem
    except asyncio.CancelledError:
        found = TrainingCancelled(f"job {job.record.id} was cancelled; what it had done is in its MLflow run")
    except BaseException:
        found = errors.InternalError(errors.UNEXPECTED)
        raise
    finally:
        services.trainings.give_back()
        services.store.discard(job.directory)
        services.running.pop(job.record.id, None)
        _finish(services, job, found)
        await _save(services, job)
        if not isinstance(found, _CUT_OFF):
            await asyncio.to_thread(services.ledger.close_run, job.record.id)
        _tell_audit(job, found)
    if job.record.run_id is not None and isinstance(found, _CUT_OFF):
        services.spawn(_end_runs(services, {job.record.id: job.record.run_id}))
    return found


def _finish(services: Services, job: Job, found: Outcome) -> None:
    ended: dict[str, Any] = {"ended_at": datetime.now(UTC)}
    if isinstance(found, Problem):
        ended |= {"state": _STATES.get(type(found), JobState.FAILED), "problem": as_record(found)}
    else:
        found.job_id = job.record.id
        ended |= {"state": JobState.SUCCEEDED, "result": found, "stage": "done", "percent": 100.0, "message": ""}
        ended |= {"run_id": found.run_id, "metrics": found.metrics}
    _change(services, job, **ended)


def _tell_audit(job: Job, found: Outcome) -> None:
    record = job.record
    fields: dict[str, Any] = {"algorithm": record.algorithm, "model_name": record.model_name, "job_id": record.id}
    fields |= {"source": record.data, "run_id": record.run_id}
    if isinstance(found, TrainResponse):
        logs.audit("train", "succeeded", job.client, **fields, loaded=found.loaded)
    else:
        outcome = "cancelled" if isinstance(found, TrainingCancelled) else "failed"
        logs.audit("train", outcome, job.client, **fields, problem=found.slug)


async def _train(services: Services, job: Job) -> TrainResponse:
    bundle = services.store.new_bundle()
    try:
        result = await _child(services, job, bundle)
        loaded, warning = False, None
        if job.options.load:
            _change(services, job, stage=SERVE, run_id=result["run_id"])
            loaded, warning = await asyncio.shield(asyncio.create_task(_serve(services, bundle)))
        return TrainResponse.model_validate({**result, "loaded": loaded, "warning": warning})
    finally:
        current = services.slot.current
        if current is None or current.bundle.directory != bundle:
            services.store.discard(bundle)


async def _child(services: Services, job: Job, bundle: Path) -> Mapping[str, Any]:
    settings, algorithm = services.settings, job.options.algorithm
    started = time.perf_counter()
    outcome = "failed"

    def follow(progress: wire.Progress) -> None:
        if progress.run_id is not None and job.record.run_id is None:
            services.spawn(asyncio.to_thread(services.ledger.open_run, job.record.id, progress.run_id))
        told = {"percent": progress.percent, "metrics": progress.metrics, "run_id": progress.run_id}
        told = {name: value for name, value in told.items() if value is not None}
        _change(services, job, stage=progress.stage, message=progress.message, **told)

    with services.tracing.span("train", {"fairlead.algorithm": algorithm}):
        try:
            result = await services.children.run(
                [*services.commands.train, "--request", job.directory, "--bundle", bundle],
                services.limits(settings.train_timeout_seconds, settings.child_nice),
                environment=services.tracing.child_environment(),
                on_progress=follow,
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


def _change(services: Services, job: Job, **changes: Any) -> None:
    job.record = job.record.model_copy(update=changes)
    services.ledger.put(job.record)


async def _save(services: Services, job: Job) -> None:
    await asyncio.shield(asyncio.to_thread(services.ledger.save, job.record))


def as_record(problem: Problem) -> JobProblem:
    return JobProblem.model_validate({**problem.details(), "errors": problem.errors or None}, from_attributes=True)


async def take_over(services: Services) -> None:
    """Ends what a server before this one on the same directory has left: its jobs here, their runs in MLflow."""
    gone = ShuttingDown("the server ended before the training did; send it again")
    await asyncio.to_thread(services.ledger.interrupt, as_record(gone))
    left = await asyncio.to_thread(services.ledger.open_runs)
    if left:
        services.spawn(_end_runs(services, left))


async def _end_runs(services: Services, left: Mapping[str, str]) -> None:
    """Ends MLflow runs, by job, that were cut off: as soon as MLflow answers."""
    limits, attempt = services.limits(_TELLING_SECONDS, services.settings.child_nice), 0
    while True:
        try:
            await services.children.run([*services.commands.interrupted, *left.values()], limits)
        except ShuttingDown:
            return
        except Problem as problem:
            shown = ", ".join(left.values())
            logs.event("log", f"MLflow can't be told that runs ended ({shown}): {problem.detail}", logging.WARNING)
            if isinstance(problem, TrackingServerUnavailable | ChildTimedOut):
                await asyncio.sleep(_AGAIN_SECONDS[min(attempt, len(_AGAIN_SECONDS) - 1)])
                attempt += 1
                continue
        for job_id in left:
            await asyncio.to_thread(services.ledger.close_run, job_id)
        return
