"""The synchronous client."""

import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from fairlead import calls, results
from fairlead.calls import POLL_SECONDS, Call
from fairlead.errors import ApiError
from fairlead.retries import Retries
from fairlead.rows import Rows
from fairlead.transport import Settings, Tls, pause, request, result, understand

T = TypeVar("T")


class Client:
    """Fairlead's API, or the pods of one model (which predict only).

    `url` and `api_key` come from `FAIRLEAD_URL` and `FAIRLEAD_API_KEY` where they are not given; `tls` says whom to
    trust where the URL is https. Every method raises `ApiError` for what the server refuses and `UnreachableError` if
    there is no answer; what passes by itself is tried again first (`retries`). One client may be used by several
    threads; close it, or use it in a `with` block.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        retries: Retries | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._settings = Settings.of(url, api_key, retries, tls)
        self._http = httpx.Client(**self._settings.http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._settings.url!r})"

    def close(self) -> None:
        self._http.close()

    def predict(self, rows: Rows, *, probabilities: bool = False, scores: bool = False) -> results.Prediction:
        """Rows of numbers `(n, p)`, dicts by feature name, an array, or a data frame; `None` and NaN are missing."""
        return self._send(calls.predict(rows, probabilities, scores))

    def train(
        self,
        data: Rows | None = None,
        target: Any = None,
        *,
        file: str | PathLike[str] | None = None,
        algorithm: str,
        hyperparameters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> results.Training:
        """Trains and waits. The data are `data` with `target`, a CSV or Parquet `file` with `target_column`, or a
        `data_uri`. Other options are the fields of `POST /train`: `model_name`, `alias`, `search`, `load`, …"""
        return self._send(calls.train(data, target, file, algorithm, hyperparameters, options))

    def submit(
        self,
        data: Rows | None = None,
        target: Any = None,
        *,
        file: str | PathLike[str] | None = None,
        algorithm: str,
        hyperparameters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "Job":
        """Begins a training, as `train` does, and returns at once."""
        asked = calls.begun(calls.train(data, target, file, algorithm, hyperparameters, options))
        return Job(self, self._send(asked))

    def jobs(self, *, state: str | None = None, limit: int = 50) -> list[results.TrainingJob]:
        """Trainings of this server, the newest first."""
        return self._send(calls.jobs(state, limit)).jobs

    def job(self, job_id: str) -> "Job":
        return Job(self, self._send(calls.job(job_id)))

    def cancel(self, job_id: str) -> results.TrainingJob:
        return self._send(calls.cancel(job_id))

    def load(self, run_id: str, *, model_uri: str | None = None) -> results.LoadedModel:
        """Serves the model of a run."""
        return self._send(calls.load(run_id, model_uri))

    def model_info(self) -> results.ModelInfo:
        return self._send(calls.model_info())

    def health(self) -> results.Health:
        return self._send(calls.health())

    def metrics_summary(self) -> results.MetricsSummary:
        return self._send(calls.metrics_summary())

    def algorithms(self) -> results.Algorithms:
        return self._send(calls.algorithms())

    def models(self, *, limit: int = 50, page_token: str | None = None) -> results.RegisteredModels:
        return self._send(calls.models(limit, page_token))

    def model(self, name: str) -> results.ModelDetails:
        """A registered model with its versions."""
        return self._send(calls.model(name))

    def runs(
        self,
        run_ids: Sequence[str] = (),
        *,
        experiment: str | None = None,
        filter: str | None = None,
        order_by: str | None = None,
        limit: int = 20,
        page_token: str | None = None,
    ) -> results.Runs:
        """These runs, or an experiment's; `filter` and `order_by` as MLflow has them."""
        return self._send(calls.runs(run_ids, experiment, filter, order_by, limit, page_token))

    def move_alias(
        self, name: str, alias: str, *, version: str | int | None = None, semantic_version: str | None = None
    ) -> results.ModelDetails:
        """ModelDeployments that follow the alias roll to that version."""
        return self._send(calls.move_alias(name, alias, version, semantic_version))

    def _send(self, call: Call[T]) -> T:
        attempt = 1
        while True:
            try:
                with request(self._settings, call) as asked:
                    return understand(call, self._http.request(**asked))
            except (ApiError, httpx.TransportError) as error:
                time.sleep(pause(self._settings, call, attempt, error))
            attempt += 1


class Job:
    """A training that goes on at the server, whether or not anybody asks. `latest` is what was told of it last."""

    def __init__(self, client: Client, latest: results.TrainingJob) -> None:
        self._client, self.latest = client, latest

    @property
    def id(self) -> str:
        return self.latest.id

    def refresh(self) -> results.TrainingJob:
        self.latest = self._client._send(calls.job(self.id))
        return self.latest

    def cancel(self) -> results.TrainingJob:
        self.latest = self._client.cancel(self.id)
        return self.latest

    def wait(
        self,
        *,
        progress: Callable[[results.TrainingJob], object] | None = None,
        timeout: float | None = None,
        poll: float = POLL_SECONDS,
    ) -> results.Training:
        """Asks every `poll` seconds; `progress` is called with whatever is new. Raises JobError, TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        told = None
        while True:
            if progress is not None and self.latest != told:
                progress(self.latest)
                told = self.latest
            if self.latest.ended:
                return result(self.latest)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"job {self.id} is {self.latest.state} after {timeout:.0f} s; it goes on")
            time.sleep(poll)
            self.refresh()
