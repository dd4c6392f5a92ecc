"""The model that is served now, and how another takes its place.

A request reads `slot.current` once and uses nothing else, so a swap in between never mixes two models. The new model
is built, and has answered its own input example, before the old one goes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from fairlead_service.models import bundle as bundles
from fairlead_service.models.backends import Backend, Want, build
from fairlead_service.models.bundle import Bundle, Manifest


class ModelError(Exception):
    """A bundle is whole, but its model can't be served; the message says what failed."""


@dataclass(frozen=True)
class Serving:
    """A model in memory with all that answers need of it."""

    bundle: Bundle
    backend: Backend
    loaded_at: datetime

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def run_id(self) -> str:
        return self.manifest.identity.run_id

    @cached_property
    def answer(self) -> dict[str, object]:
        """What every answer says of the model."""
        identity = self.manifest.identity
        fields = {"run_id": identity.run_id, "model_name": identity.name, "model_version": identity.version}
        return {key: value for key, value in fields.items() if value is not None}


class Slot:
    """Holds the serving model; only the event loop's thread writes it."""

    def __init__(self) -> None:
        self.current: Serving | None = None

    def swap(self, new: Serving) -> Serving | None:
        """Serves `new` from the next request on; returns what served before."""
        old, self.current = self.current, new
        return old


def prepare(directory: Path) -> Serving:
    """Reads, builds and warms up the model in a bundle. Slow: call it in a thread.

    Raises BundleError if the bundle is not whole, ModelError if its model does not load or does not answer.
    """
    bundle = bundles.read(directory)
    try:
        backend = build(bundle)
    except Exception as error:
        raise ModelError(f"the model in {directory} does not load: {type(error).__name__}: {error}") from error
    _warm_up(bundle, backend)
    return Serving(bundle=bundle, backend=backend, loaded_at=datetime.now(UTC))


def _warm_up(bundle: Bundle, backend: Backend) -> None:
    manifest = bundle.manifest
    if manifest.input_example is None:
        return
    rows = np.array(manifest.input_example, dtype=np.float64)
    try:
        backend.evaluate(rows, Want(manifest.has_probabilities, manifest.has_scores))
    except Exception as error:
        raise ModelError(f"the model fails on its own input example: {type(error).__name__}: {error}") from error
