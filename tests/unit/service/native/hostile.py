"""Rows on which a tree that is wrong in one bit would show it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_service.loading.compile import Compiled, compile_model
from fairlead_service.models.backends.native.program import Trees


def hostile_rows(estimator: Any, n: int, seed: int, *, missing: bool) -> NDArray[np.float64]:
    """Rows made of the model's own thresholds and their neighbours in float32 and float64, of zeros of both signs, of
    the smallest and largest numbers, and of NaN if the model takes it. Shape (n, n_features)."""
    compiled = compile_model(estimator)
    assert isinstance(compiled, Compiled)
    record = compiled.program.estimator
    assert isinstance(record, Trees)
    nodes = compiled.arrays[record.nodes]
    thresholds = nodes["threshold"][nodes["feature"] >= 0]
    thresholds = thresholds[np.isfinite(thresholds)]
    single = thresholds.astype(np.float32)
    largest = float(np.finfo(np.float32).max)
    extremes = [0.0, -0.0, 5e-324, -5e-324, 1e-45, -1e-45, 1e-39, largest, -largest, np.nextafter(largest, np.inf)]
    if record.cast == "float64":
        extremes += [1e308, -1e308, np.inf, -np.inf]
    pool = np.concatenate(
        [
            thresholds,
            np.nextafter(thresholds, np.inf),
            np.nextafter(thresholds, -np.inf),
            single.astype(np.float64),
            np.nextafter(single, np.float32(np.inf)).astype(np.float64),
            np.nextafter(single, np.float32(-np.inf)).astype(np.float64),
            np.tile(extremes, 1 + len(thresholds) // 20),
            np.full(len(thresholds) if missing else 0, np.nan),
        ]
    )
    return np.random.default_rng(seed).choice(pool, size=(n, estimator.n_features_in_))
