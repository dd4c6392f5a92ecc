"""The trainings that were asked for, as files of one directory: what became of them is known after a restart, too."""

import contextlib
import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from fairlead_service.observability import logs
from fairlead_service.schemas_train import JobProblem, JobState, TrainingJob

_RUN: Final = ".run"
KEPT: Final = 200
"""Jobs that have ended; older ones are forgotten."""


class Ledger:
    """Jobs by id, the oldest first. Without a directory they are kept in memory only.

    Not for threads at once, but for what only touches a job's own file.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._jobs: dict[str, TrainingJob] = {}
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._jobs = {job.id: job for job in sorted(_read(directory), key=lambda job: job.created_at)}

    def put(self, job: TrainingJob) -> None:
        self._jobs[job.id] = job
        ended = [other.id for other in self._jobs.values() if other.state.final]
        for forgotten in ended[: max(0, len(ended) - KEPT)]:
            del self._jobs[forgotten]
            if self._directory is not None:
                (self._directory / f"{forgotten}.json").unlink(missing_ok=True)

    def get(self, job_id: str) -> TrainingJob | None:
        return self._jobs.get(job_id)

    def all(self) -> Iterable[TrainingJob]:
        """The newest first."""
        return reversed(self._jobs.values())

    def save(self, job: TrainingJob) -> None:
        """Writes the job's file whole. A full disk costs the next restart its memory, not this training its model."""
        if self._directory is None:
            return
        path = self._directory / f"{job.id}.json"
        staging = path.with_suffix(f".{os.getpid()}")
        try:
            staging.write_text(job.model_dump_json())
            staging.replace(path)
        except OSError as error:
            logs.error(f"training job {job.id} will not be known after a restart: {error}", error)

    def open_run(self, job_id: str, run_id: str) -> None:
        """Remembers that MLflow has a run of this job that nobody has ended yet."""
        if self._directory is not None:
            with contextlib.suppress(OSError):  # said by `save`
                (self._directory / f"{job_id}{_RUN}").write_text(run_id)

    def close_run(self, job_id: str) -> None:
        if self._directory is not None:
            (self._directory / f"{job_id}{_RUN}").unlink(missing_ok=True)

    def open_runs(self) -> dict[str, str]:
        """MLflow runs by job; read from the disk."""
        if self._directory is None:
            return {}
        return {path.stem: path.read_text() for path in self._directory.glob(f"*{_RUN}")}

    def interrupt(self, problem: JobProblem) -> None:
        """Ends the jobs of a server that is gone."""
        found = [job for job in self._jobs.values() if not job.state.final]
        ended = {"state": JobState.INTERRUPTED, "ended_at": datetime.now(UTC), "problem": problem}
        runs = self.open_runs()
        for job in found:
            interrupted = job.model_copy(update=ended | {"run_id": runs.get(job.id)})
            self.put(interrupted)
            self.save(interrupted)


def _read(directory: Path) -> Iterable[TrainingJob]:
    for path in directory.iterdir():
        if path.suffix == _RUN:
            continue
        if path.suffix != ".json":
            path.unlink(missing_ok=True)  # a write that was cut off
            continue
        try:
            yield TrainingJob.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            logs.event("log", f"{path} is no training job: {error}", logging.WARNING)
