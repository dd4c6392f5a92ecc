"""The asynchronous client: `client`, awaited."""

import asyncio
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


class AsyncClient:
    """`Client` for asyncio: the same methods, arguments and errors, to be awaited, and an `async with` block."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        retries: Retries | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._settings = Settings.of(url, api_key, retries, tls)
        self._http = httpx.AsyncClient(**self._settings.http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._settings.url!r})"

    async def close(self) -> None:
        await self._http.aclose()

    async def predict(self, rows: Rows, *, probabilities: bool = False, scores: bool = False) -> results.Prediction:
        """Rows of numbers `(n, p)`, dicts by feature name, an array, or a data frame; `None` and NaN are missing."""
        return await self._send(calls.predict(rows, probabilities, scores))

    async def train(
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
        return await self._send(calls.train(data, target, file, algorithm, hyperparameters, options))

    async def submit(
        self,
        data: Rows | None = None,
        target: Any = None,
        *,
        file: str | PathLike[str] | None = None,
        algorithm: str,
        hyperparameters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "AsyncJob":
        """Begins a training, as `train` does, and returns at once."""
        asked = calls.begun(calls.train(data, target, file, algorithm, hyperparameters, options))
        return AsyncJob(self, await self._send(asked))

    async def jobs(self, *, state: str | None = None, limit: int = 50) -> list[results.TrainingJob]:
        """Trainings of this server, the newest first."""
        return (await self._send(calls.jobs(state, limit))).jobs

    async def job(self, job_id: str) -> "AsyncJob":
        return AsyncJob(self, await self._send(calls.job(job_id)))

    async def cancel(self, job_id: str) -> results.TrainingJob:
        return await self._send(calls.cancel(job_id))

    async def load(self, run_id: str, *, model_uri: str | None = None) -> results.LoadedModel:
        """Serves the model of a run."""
        return await self._send(calls.load(run_id, model_uri))

    async def model_info(self) -> results.ModelInfo:
        return await self._send(calls.model_info())

    async def health(self) -> results.Health:
        return await self._send(calls.health())

    async def metrics_summary(self) -> results.MetricsSummary:
        return await self._send(calls.metrics_summary())

    async def algorithms(self) -> results.Algorithms:
        return await self._send(calls.algorithms())

    async def models(self, *, limit: int = 50, page_token: str | None = None) -> results.RegisteredModels:
        return await self._send(calls.models(limit, page_token))

    async def model(self, name: str) -> results.ModelDetails:
        """A registered model with its versions."""
        return await self._send(calls.model(name))

    async def runs(
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
        return await self._send(calls.runs(run_ids, experiment, filter, order_by, limit, page_token))

    async def move_alias(
        self, name: str, alias: str, *, version: str | int | None = None, semantic_version: str | None = None
    ) -> results.ModelDetails:
        """ModelDeployments that follow the alias roll to that version."""
        return await self._send(calls.move_alias(name, alias, version, semantic_version))

    async def _send(self, call: Call[T]) -> T:
        attempt = 1
        while True:
            try:
                with request(self._settings, call) as asked:
                    return understand(call, await self._http.request(**asked))
            except (ApiError, httpx.TransportError) as error:
                await asyncio.sleep(pause(self._settings, call, attempt, error))
            attempt += 1


class AsyncJob:
    """A training that goes on at the server, whether or not anybody asks. `latest` is what was told of it last."""

    def __init__(self, client: AsyncClient, latest: results.TrainingJob) -> None:
        self._client, self.latest = client, latest

    @property
    def id(self) -> str:
        return self.latest.id

    async def refresh(self) -> results.TrainingJob:
        self.latest = await self._client._send(calls.job(self.id))
        return self.latest

    async def cancel(self) -> results.TrainingJob:
        self.latest = await self._client.cancel(self.id)
        return self.latest

    async def wait(
        self,
        *,
        progress: Callable[[results.TrainingJob], object] | None = None,
        poll: float = POLL_SECONDS,
    ) -> results.Training:
        """Asks every `poll` seconds; `progress` is called with whatever is new. Raises JobError.

        `asyncio.timeout` bounds it; the training goes on.
        """
        told = None
        while True:
            if progress is not None and self.latest != told:
                progress(self.latest)
                told = self.latest
            if self.latest.ended:
                return result(self.latest)
            await asyncio.sleep(poll)
            await self.refresh()
