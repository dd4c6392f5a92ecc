"""Matrix in, outputs out: what every protocol does between decoding a request and encoding its answer."""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead_service.errors import FieldError, InvalidInput, ModelRefusedInput, NoModel, Problem
from fairlead_service.inference import codec
from fairlead_service.inference.batcher import Batcher
from fairlead_service.inference.codec import Expected
from fairlead_service.models.backends import Matrix, Outputs, Want
from fairlead_service.models.slot import Serving, Slot
from fairlead_service.observability import logs
from fairlead_service.observability.tracing import Tracing

NO_MODEL: Final = "no model is loaded; train one with POST /train or load one with POST /model/load/{run_id}"
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Engine:
    """One an application. A request takes `serving` once and uses nothing else of the slot: a swap in between never
    mixes two models."""

    slot: Slot
    batcher: Batcher
    tracing: Tracing
    count_extra: Callable[[], None]
    """Called for each request with columns that the model does not have."""
    _told: set[str] = dataclasses.field(default_factory=set)
    """Runs of which the log says that requests have such columns."""

    def serving(self) -> Serving:
        """Raises NoModel."""
        serving = self.slot.current
        if serving is None:
            raise NoModel(NO_MODEL)
        return serving

    def ignored(self, serving: Serving, extra: int) -> None:
        """Notes that a request has so many columns that the model does not have, if it has any."""
        if not extra:
            return
        self.count_extra()
        if serving.run_id not in self._told:
            self._told.add(serving.run_id)
            text = f"a request has {extra} columns that the model does not have; they are ignored, and counted"
            logs.event("log", text, logging.WARNING, run_id=serving.run_id)

    async def evaluate(
        self,
        serving: Serving,
        matrix: Matrix,
        want: Want,
        expected: Expected,
        gone: Callable[[], bool],
        replayed: bool = False,
    ) -> Outputs:
        """The model's answer to a matrix that was checked against `expected`. `replayed`: no user asked for it.

        Raises InvalidInput for outputs that the model does not have, ModelRefusedInput for numbers it does not take,
        Overloaded.
        """
        if want.probabilities or want.scores:
            _check_want(want, serving)
        try:
            if not self.tracing.recording():
                outputs = await self.batcher.submit(serving, matrix, want, gone)
            else:
                attributes: dict[str, str | int] = {"fairlead.rows": len(matrix), **serving.span_attributes}
                with self.tracing.span("predict", attributes) as span:
                    trace_id = f"{span.get_span_context().trace_id:032x}"
                    pending = self.batcher.submit(serving, matrix, want, gone, trace_id)
                    outputs = await pending
                    span.set_attribute("fairlead.batch_rows", pending.batch_rows)
        except ValueError as error:
            logs.event("log", "the model refused a request's input", logging.WARNING, run_id=serving.run_id)
            raise _refused(error, matrix, expected) from error
        if serving.recent is not None and not replayed:
            serving.recent.offer(matrix, outputs.predictions)
        return outputs


def _check_want(want: Want, serving: Serving) -> None:
    manifest = serving.manifest
    for wanted, has, field, what in (
        (want.probabilities, manifest.has_probabilities, "probabilities", "probabilities"),
        (want.scores, manifest.has_scores, "scores", "raw scores (decision_function)"),
    ):
        if wanted and not has:
            detail = f"the model, {manifest.estimator}, has no {what}; leave the field out"
            raise InvalidInput(detail, [FieldError(pointer=f"/{field}", detail=detail)])


def _refused(error: ValueError, matrix: Matrix, expected: Expected) -> Problem:
    """A model raises ValueError for numbers that it can't take: tree models work in float32, encoders know only the
    categories they have seen. It has answered its input example, so the input is at fault, not the model."""
    places = np.argwhere(np.abs(matrix) > _FLOAT32_MAX)
    if len(places) == 0:
        return ModelRefusedInput(f"the model says: {error}")
    row, column = (int(index) for index in places[0])
    place = codec.cell_error(row, column, f"is beyond float32 (±{_FLOAT32_MAX:.7g}); send a smaller number", expected)
    return ModelRefusedInput(f"the model says: {error} {place.detail}", [place])
