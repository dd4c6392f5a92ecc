"""What "exact" means in these tests: the same bytes, for every output, whatever rows are evaluated together."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_service.loading.compile import Compiled, compile_model
from fairlead_service.models.backends import Backend, Outputs, Want
from fairlead_service.models.backends.native.program import Trees
from tests.unit.service.native.compared import open_native


def serve(estimator: Any, directory: Path) -> Backend:
    """The native backend of a fitted estimator, through a bundle on disk."""
    return open_native(estimator, directory, estimator.n_features_in_)


def reference(estimator: Any, rows: NDArray[np.float64]) -> Outputs:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Outputs(
            np.asarray(estimator.predict(rows)),
            np.asarray(estimator.predict_proba(rows)) if hasattr(estimator, "predict_proba") else None,
            np.asarray(estimator.decision_function(rows)) if hasattr(estimator, "decision_function") else None,
        )


def assert_same(answer: Outputs, expected: Outputs) -> None:
    for name in ("predictions", "probabilities", "scores"):
        ours, theirs = getattr(answer, name), getattr(expected, name)
        if theirs is None:
            assert ours is None, name
            continue
        assert ours.shape == theirs.shape, name
        assert ours.dtype == theirs.dtype, name
        if ours.dtype == object or ours.dtype.kind == "U":
            assert ours.tolist() == theirs.tolist(), name
        else:
            different = np.flatnonzero([a.tobytes() != b.tobytes() for a, b in zip(ours, theirs, strict=True)])
            assert not len(different), f"{name} differ in rows {different[:5]}: {ours[different[:5]]}"


def assert_exact(estimator: Any, rows: NDArray[np.float64], directory: Path) -> None:
    """The backend answers as the estimator does for all rows together, and for each of some alone."""
    backend = serve(estimator, directory)
    expected = reference(estimator, rows)
    want = Want(expected.probabilities is not None, expected.scores is not None)
    assert_same(backend.evaluate(rows, want), expected)
    for i in range(0, len(rows), max(1, len(rows) // 3)):
        one = rows[i : i + 1]
        assert_same(backend.evaluate(one, want), reference(estimator, one))
    bare = backend.evaluate(rows, Want())
    assert_same(bare, replace(expected, probabilities=None, scores=None))


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
