"""Body in, answer out: what `/predict` does between the HTTP server and the model."""

import asyncio
import logging
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead_service.errors import FieldError, InvalidInput, ModelRefusedInput, NoModel
from fairlead_service.inference import codec
from fairlead_service.inference.codec import Expected, Matrix
from fairlead_service.models.backends import Want
from fairlead_service.models.slot import Serving, Slot
from fairlead_service.observability import logs
from fairlead_service.observability.metrics import Metrics
from fairlead_service.observability.tracing import Tracing

NO_MODEL: Final = "no model is loaded; train one with POST /train or load one with POST /model/load/{run_id}"
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class PredictEndpoint:
    """Holds what every request needs; one instance an application."""

    slot: Slot
    threads: Executor
    """Runs the model calls: they may take long, and the event loop has health checks to answer."""
    max_rows: int
    metrics: Metrics
    tracing: Tracing

    async def __call__(self, body: bytes) -> bytes:
        """The JSON answer to a JSON body. Raises Problem."""
        serving = self.slot.current  # once: a swap from here on does not concern this request
        if serving is None:
            raise NoModel(NO_MODEL)
        expected = Expected(
            field="features",
            max_rows=self.max_rows,
            n_features=serving.manifest.n_features,
            feature_names=serving.manifest.feature_names,
            one_row=True,
        )
        request = codec.decode_predict(body, expected)
        if request.probabilities and not serving.manifest.has_probabilities:
            detail = f"the model, {serving.manifest.estimator}, has no probabilities; leave the field out"
            raise InvalidInput(detail, [FieldError(pointer="/probabilities", detail=detail)])
        predictions, probabilities = await self._call(serving, request, expected)
        if probabilities is None:
            return codec.encode_predict(predictions, serving.answer)
        return codec.encode_predict(
            predictions, serving.answer, classes=serving.manifest.classes, probabilities=probabilities
        )

    async def _call(
        self, serving: Serving, request: codec.PredictRequest, expected: Expected
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        rows = len(request.matrix)
        with self.tracing.span("predict", {"fairlead.rows": rows, "fairlead.run_id": serving.run_id}):
            started = time.perf_counter()
            try:
                answer = await asyncio.get_running_loop().run_in_executor(self.threads, _answer, serving, request)
            except ValueError as error:
                logs.event("log", "the model refused a request's input", logging.WARNING, run_id=serving.run_id)
                raise _refused(error, request.matrix, expected) from error
            self.metrics.prediction(rows, time.perf_counter() - started)
            return answer


def _answer(serving: Serving, request: codec.PredictRequest) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    outputs = serving.backend.evaluate(request.matrix, Want(probabilities=request.probabilities))
    return outputs.predictions, outputs.probabilities


def _refused(error: ValueError, matrix: Matrix, expected: Expected) -> ModelRefusedInput:
    """A model raises ValueError for numbers that it can't take: tree models work in float32, encoders know only the
    categories they have seen. It has answered its input example, so the input is at fault, not the model."""
    places = np.argwhere(np.abs(matrix) > _FLOAT32_MAX)
    if len(places) == 0:
        return ModelRefusedInput(f"the model says: {error}")
    row, column = (int(index) for index in places[0])
    place = codec.cell_error(row, column, f"is beyond float32 (±{_FLOAT32_MAX:.7g}); send a smaller number", expected)
    return ModelRefusedInput(f"the model says: {error} {place.detail}", [place])
