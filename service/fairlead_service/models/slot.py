"""The model that is served now, and how another takes its place.

A request reads `slot.current` once and uses nothing else, so a swap in between never mixes two models. The new model
is built, and has answered its own input example, before the old one goes.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from fairlead_service.models import bundle as bundles
from fairlead_service.models.backends import Backend, Matrix, Want, build
from fairlead_service.models.bundle import Bundle, Manifest
from fairlead_service.observability.drift import KEPT, Drift
from fairlead_service.observability.recent import Recent

_SLOW: Final = 0.02
"""Seconds of a call that no event loop can bear: what more rows would take no longer matters."""
_MANY: Final = 64
_TIMES: Final = 3
"""The least of so many counts: the first call warms up, and another process may have had the processor."""


class ModelError(Exception):
    """A bundle is whole, but its model can't be served; the message says what failed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model call takes, measured when the model was warmed up: it decides what may run on the event loop."""

    call_seconds: float
    row_seconds: float

    def seconds(self, rows: int) -> float:
        return self.call_seconds + rows * self.row_seconds


@dataclass(frozen=True)
class Serving:
    """A model in memory with all that answers need of it."""

    bundle: Bundle
    backend: Backend
    cost: Cost
    loaded_at: datetime
    samples: int = 0
    """Rows of requests to keep for those who replay them."""

    @cached_property
    def recent(self) -> Recent | None:
        """The newest rows; None if nobody wants any."""
        kept = max(self.samples, KEPT if self.manifest.knows_training else 0)
        return Recent(self.n_features, kept) if kept else None

    @cached_property
    def drift(self) -> Drift | None:
        """Of models that know their training."""
        manifest = self.manifest
        if self.recent is None or not manifest.knows_training:
            return None
        return Drift(manifest.drift_reference, manifest.prediction_reference, manifest.classes or (), self.recent)

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def run_id(self) -> str:
        return self.manifest.identity.run_id

    @cached_property
    def n_features(self) -> int:
        return self.manifest.n_features

    @cached_property
    def batches(self) -> bool:
        """Whether rows of several requests may share a call."""
        return self.manifest.proof.batches

    @cached_property
    def identity_json(self) -> bytes:
        """What every answer of `/predict` says of the model: `"run_id":"…"` and, if it has them, name and version."""
        identity = self.manifest.identity
        fields = {"run_id": identity.run_id, "model_name": identity.name, "model_version": identity.version}
        return orjson.dumps({key: value for key, value in fields.items() if value is not None})[1:-1]

    @cached_property
    def span_attributes(self) -> dict[str, str]:
        """What spans of predictions say of the model; a name and a version only if it has them."""
        identity = self.manifest.identity
        known = {"run_id": identity.run_id, "model": identity.name, "version": identity.version}
        return {f"fairlead.{key}": value for key, value in known.items() if value is not None} | {
            "fairlead.backend": self.backend.name
        }

    @cached_property
    def classes_json(self) -> bytes:
        return orjson.dumps(self.manifest.classes)


class Slot:
    """Holds the serving model, and the one before if that is to be kept; only the event loop's thread writes it."""

    def __init__(self, *, keeps_previous: bool = False) -> None:
        self._keeps_previous = keeps_previous
        self.current: Serving | None = None
        self.previous: Serving | None = None

    def swap(self, new: Serving) -> Serving | None:
        """Serves `new` from the next request on; returns what served before."""
        old, self.current = self.current, new
        if self._keeps_previous:
            self.previous = old
        return old

    def make_room(self) -> None:
        """Before a third model is built: two are enough in memory."""
        self.previous = None


def prepare(directory: Path, samples: int = 0) -> Serving:
    """Reads, builds and warms up the model in a bundle. Slow: call it in a thread.

    With `samples`, so many of the newest rows are kept while it serves.

    Raises BundleError if the bundle is not whole, ModelError if its model does not load or does not answer.
    """
    bundle = bundles.read(directory)
    try:
        backend = build(bundle)
    except Exception as error:
        raise ModelError(f"the model in {directory} does not load: {type(error).__name__}: {error}") from error
    cost = _warm_up(bundle, backend)
    return Serving(bundle=bundle, backend=backend, cost=cost, loaded_at=datetime.now(UTC), samples=samples)


def _warm_up(bundle: Bundle, backend: Backend) -> Cost:
    """Lets the model answer its own input example, or zeros without one, and looks at the clock."""
    manifest = bundle.manifest
    example = manifest.input_example
    rows = np.array(example if example is not None else [[0.0] * manifest.n_features], dtype=np.float64)
    try:
        backend.evaluate(rows, Want(manifest.has_probabilities, manifest.has_scores))
        return _measure(backend, rows)
    except Exception as error:
        if example is None:  # zeros may well be what the model does not take
            return Cost(call_seconds=1.0, row_seconds=0.0)
        raise ModelError(f"the model fails on its own input example: {type(error).__name__}: {error}") from error


def _measure(backend: Backend, rows: Matrix) -> Cost:
    one, many = rows[:1], np.resize(rows, (_MANY, rows.shape[1]))
    call = min(_seconds(backend, one) for _ in range(_TIMES))
    if call > _SLOW:
        return Cost(call_seconds=call, row_seconds=0.0)
    all_rows = min(_seconds(backend, many) for _ in range(_TIMES))
    return Cost(call_seconds=call, row_seconds=max(0.0, all_rows - call) / (_MANY - 1))


def _seconds(backend: Backend, rows: Matrix) -> float:
    started = time.perf_counter()
    backend.evaluate(rows, Want())
    return time.perf_counter() - started
