"""Whether the compiled form of a model answers as scikit-learn does.

Identical means: equal labels, and equal bits of every float64, for all rows that were tried, alone and in batches of
several sizes, each size compared with scikit-learn's answer to the same batch; whether they are so in one call, too, is
found out. NaN equals NaN, whatever its payload. What scikit-learn refuses, the compiled form has to refuse in the same
words.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead_service.loading.rows import RowSet
from fairlead_service.models.backends import Backend, Matrix, Outputs, Want
from fairlead_service.models.backends.sklearn import ask, run_in_one_thread

_SINGLY: Final = 16
"""Rows of a refused set that are tried one by one."""
_BATCHES: Final = (2, 7, 7, 64)
_BATCHES_OF_FALLBACK: Final = (1, 1, 1, 1, 1, 2, 3, 5, 7, 16, 33)
PATIENCE: Final = 1.0
"""Seconds after which a slow model's batches are no longer looked at."""
_FEW: Final = 8
"""Rows by which a slow model is told: for what answers them in more than `PATIENCE` a batch saves next to nothing."""

Refused = str


@dataclass(frozen=True)
class Identical:
    rows: int
    batches: bool
    """Whether a request's answer is the same whatever requests share its call."""


@dataclass(frozen=True)
class Different:
    what: str
    """Which output, on how many rows of which kind."""


class Reference:
    """scikit-learn itself, in one thread: forests add their trees up in the order in which threads finish."""

    name = "sklearn"

    def __init__(self, estimator: Any) -> None:
        run_in_one_thread(estimator)
        self._estimator = estimator

    def evaluate(self, matrix: Matrix, want: Want, ends: Sequence[int] = ()) -> Outputs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ask(self._estimator, matrix, want)

    def probabilities(self, matrix: Matrix) -> NDArray[np.float64]:
        """Without predictions, which cost a forest as much again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(self._estimator.predict_proba(matrix))


def compare(
    reference: Reference,
    backend: Backend,
    want: Want,
    sets: Sequence[RowSet],
    extremes: Sequence[RowSet],
    single: int,
) -> Identical | Different:
    """Compares on all sets, then on batches of their rows, `single` of which are of one row.

    `extremes` are sets of which some may be refused.
    """
    joined = RowSet("rows", np.vstack([rows.matrix for rows in sets]))
    at_once = _compare_set(reference, backend, want, joined, divide=False)
    answered = at_once if isinstance(at_once, list) else []
    for rows in [*(() if answered else sets), *extremes]:
        found = _compare_set(reference, backend, want, rows)
        if isinstance(found, str):
            return Different(found)
        answered += found
    if not answered:
        return Different("scikit-learn refuses all rows that were tried")
    matrix = np.vstack([rows.matrix for rows in answered])
    return _compare_batches(reference, backend, want, matrix, (*(1,) * single, *_BATCHES))


def _compare_batches(
    reference: Reference, backend: Backend, want: Want, matrix: Matrix, sizes: Sequence[int]
) -> Identical | Different:
    votes = want == Want(probabilities=True)  # then predictions follow from probabilities
    requests = [matrix]
    answers = [backend.evaluate(matrix, want)]
    for chosen in _batches(np.random.default_rng(1).permutation(len(matrix)), sizes):
        chunk = np.ascontiguousarray(matrix[chosen])
        actual = backend.evaluate(chunk, want)
        requests.append(chunk)
        answers.append(actual)
        if votes:
            expected = replace(actual, probabilities=reference.probabilities(chunk))
        else:
            expected = reference.evaluate(chunk, want)
        difference = _difference(actual, expected)
        if difference is not None:
            return Different(f"{difference[0]} differ from scikit-learn's in a batch of {len(chunk)}")
    return Identical(len(matrix), _shared(backend, want, requests, answers))


def _shared(backend: Backend, want: Want, requests: Sequence[Matrix], answers: Sequence[Outputs]) -> bool:
    """Whether the requests get the same answers in one call."""
    ends = tuple(accumulate(map(len, requests)))
    together = backend.evaluate(np.concatenate(requests), want, ends)
    return all(
        _difference(together.rows(start, stop), alone) is None
        for start, stop, alone in zip((0, *ends), ends, answers, strict=False)
    )


def steady(reference: Reference, want: Want, matrix: Matrix) -> bool:
    """Whether scikit-learn's own answer to a row is the same whatever else is in the batch, as far as a trial shows.

    False also for a model that refuses these rows, or is too slow to be tried.
    """
    started = time.monotonic()
    try:
        reference.evaluate(matrix[:_FEW], want)
        if time.monotonic() - started > PATIENCE:
            return False
        whole = reference.evaluate(matrix, want)
        for chosen in _batches(np.arange(len(matrix)), _BATCHES_OF_FALLBACK):
            if time.monotonic() - started > PATIENCE:
                return False
            if _difference(reference.evaluate(matrix[chosen], want), _at(whole, chosen)) is not None:
                return False
    except Exception:  # any exception from the model
        return False
    return True


def _compare_set(
    reference: Reference, backend: Backend, want: Want, rows: RowSet, *, divide: bool = True
) -> str | list[RowSet]:
    """What differs; or the parts of the set that scikit-learn answers, after dividing a set that it refuses."""
    expected, actual = _answer(reference, rows.matrix, want), _answer(backend, rows.matrix, want)
    if isinstance(expected, Refused) and divide and len(rows.matrix) > 1:
        parts: list[RowSet] = []
        for row in rows.matrix[:_SINGLY]:
            found = _compare_set(reference, backend, want, RowSet(rows.kind, row[None].copy()))
            if isinstance(found, str):
                return found
            parts += found
        return parts
    if isinstance(expected, Refused) or isinstance(actual, Refused):
        if expected == actual:
            return []
        says = [repr(answer) if isinstance(answer, Refused) else "an answer" for answer in (actual, expected)]
        return f"{says[0]} to {rows.kind} where scikit-learn has {says[1]}"
    difference = _difference(actual, expected)
    if difference is None:
        return [rows]
    return f"{difference[0]} differ from scikit-learn's in {difference[1]} of {len(rows.matrix)} {rows.kind}"


def _answer(backend: Backend, matrix: Matrix, want: Want) -> Outputs | Refused:
    try:
        return backend.evaluate(matrix, want)
    except ValueError as error:
        return str(error)


def _difference(actual: Outputs, expected: Outputs) -> tuple[str, int] | None:
    """The first part that differs, and in how many rows."""
    for name in ("scores", "probabilities", "predictions"):
        mine, theirs = getattr(actual, name), getattr(expected, name)
        if theirs is None:
            continue
        if mine is None or mine.shape != theirs.shape:
            return name, len(theirs)
        count = int(np.count_nonzero(_differing(mine, theirs)))
        if count:
            return name, count
    return None


def _differing(mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.bool_]:
    """For each row whether it differs."""
    if mine.dtype == np.float64 == theirs.dtype:
        bits = np.ascontiguousarray(mine).view(np.uint64) != np.ascontiguousarray(theirs).view(np.uint64)
        differing = bits & ~(np.isnan(mine) & np.isnan(theirs))
        return np.asarray(differing.reshape(len(differing), -1).any(axis=1))
    pairs = zip(mine.tolist(), theirs.tolist(), strict=True)  # labels; 1, 1.0 and True are not the same to a client
    return np.array([a != b or type(a) is not type(b) for a, b in pairs], dtype=bool)


def _batches(rows: NDArray[np.intp], sizes: Sequence[int]) -> Iterator[NDArray[np.intp]]:
    """Consecutive parts of the rows, from the start again when they end."""
    start = 0
    for size in sizes:
        yield np.take(rows, range(start, start + size), mode="wrap")
        start += size


def _at(outputs: Outputs, rows: NDArray[np.intp]) -> Outputs:
    return Outputs(
        outputs.predictions[rows],
        None if outputs.probabilities is None else outputs.probabilities[rows],
        None if outputs.scores is None else outputs.scores[rows],
    )
