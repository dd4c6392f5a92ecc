"""Compiles a model, opens it as the server would, and compares its answers with scikit-learn's, bit for bit."""

import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from fairlead_service.loading.compile import Compiled, compile_model
from fairlead_service.loading.framed import takes_matrices
from fairlead_service.models import bundle as bundles
from fairlead_service.models.backends import Backend, Want
from fairlead_service.models.backends.native.backend import NativeBackend
from fairlead_service.models.backends.native.program import Program, encode
from fairlead_service.models.backends.native.transforms import build_steps
from fairlead_service.models.bundle import Identity, Manifest, Proof

Matrix = NDArray[np.float64]


def compiled(estimator: Any) -> Compiled:
    """Fails the test if it is not compiled."""
    found = compile_model(estimator)
    assert isinstance(found, Compiled), found.reason
    return Compiled(Program.model_validate_json(found.program.model_dump_json()), found.arrays)


def steps_of(estimator: Any, width: int) -> Callable[[Matrix], Matrix]:
    """What is done to a matrix of `width` columns before the final estimator sees it."""
    found = compiled(estimator)
    return build_steps(found.program.steps, found.arrays, width)[0]


def open_native(estimator: Any, directory: Path, width: int) -> Backend:
    """A fitted model that takes `width` columns, written to and read from a bundle."""
    found = compiled(estimator)
    classes = estimator.classes_.tolist() if is_classifier(estimator) else None
    manifest = Manifest(
        identity=Identity(run_id="a" * 32, model_uri="runs:/a/model"),
        backend="native",
        estimator=type(estimator).__name__,
        task="classification" if classes else "regression",
        n_features=width,
        classes=None if classes is None else tuple(classes),
        has_probabilities=_want(estimator).probabilities,
        has_scores=_want(estimator).scores,
        proof=Proof(rows=0, verdict="identical"),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    bundles.write(directory, manifest, encode(found.program, found.arrays))
    return NativeBackend(bundles.read(directory))


def difference(estimator: Any, backend: Backend, matrix: Matrix) -> str | None:
    """How the answers to one matrix differ, in bits, shapes or the words of a refusal; None if they do not."""
    want = _want(estimator)
    before = matrix.tobytes()
    actual = _answers(lambda: _parts(backend.evaluate(matrix, want)))
    if matrix.tobytes() != before:
        return "the matrix was written to"
    expected = _answers(lambda: _reference(takes_matrices(estimator), matrix.copy(), want))
    if isinstance(actual, str) or isinstance(expected, str):
        return None if actual == expected else f"{actual!r} instead of {expected!r}"
    different = (_unlike(name, actual[name], expected[name]) for name in expected)
    return next((found for found in different if found is not None), None)


def difference_together(estimator: Any, backend: Backend, requests: Sequence[Matrix]) -> str | None:
    """How the answers to requests in one call differ from the answers to each alone; None if they do not. Requests
    that are refused are left out."""
    want = _want(estimator)

    def ask(matrix: Matrix, ends: Sequence[int] = ()) -> dict[str, Any] | str:
        return _answers(lambda: _parts(backend.evaluate(matrix, want, ends)))

    taken = [(request, answer) for request in requests if not isinstance(answer := ask(request), str)]
    if not taken:
        return None
    ends = list(accumulate(len(request) for request, _ in taken))
    together = ask(np.concatenate([request for request, _ in taken]), ends)
    if isinstance(together, str):
        return f"refused together: {together}"
    for start, stop, (_, alone) in zip((0, *ends), ends, taken, strict=False):
        for name in alone:
            if (found := _unlike(name, together[name][start:stop], alone[name])) is not None:
                return f"together, {found}"
    return None


def _unlike(name: str, answer: Any, expected: Any) -> str | None:
    found, asked = np.asarray(answer), np.asarray(expected)
    if found.shape != asked.shape or found.dtype != asked.dtype:
        return f"{name} are of another kind: {found!r} instead of {asked!r}"
    if asked.dtype != np.float64:
        return None if found.tolist() == asked.tolist() else f"{name} differ: {found!r} instead of {asked!r}"
    return None if _bits(found) == _bits(asked) else f"{name} differ in bits: {found!r} instead of {asked!r}"


def _bits(values: Matrix) -> bytes:
    """NaN is NaN, whatever its payload."""
    return np.where(np.isnan(values), np.nan, values).tobytes()


def _want(estimator: Any) -> Want:
    classifier = is_classifier(estimator)
    return Want(
        probabilities=classifier and hasattr(estimator, "predict_proba"),
        scores=classifier and hasattr(estimator, "decision_function"),
    )


def _parts(outputs: Any) -> dict[str, Any]:
    found = {"predictions": outputs.predictions, "probabilities": outputs.probabilities, "scores": outputs.scores}
    return {name: part for name, part in found.items() if part is not None}


def _reference(estimator: Any, matrix: Any, want: Want) -> dict[str, Any]:
    found = {"predictions": estimator.predict(matrix)}
    if want.probabilities:
        found["probabilities"] = estimator.predict_proba(matrix)
    if want.scores:
        found["scores"] = estimator.decision_function(matrix)
    return found


def _answers(ask: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ask()
    except ValueError as error:
        return str(error)
