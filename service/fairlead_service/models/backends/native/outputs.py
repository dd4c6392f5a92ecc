"""From raw values to what is asked for: predictions, probabilities, scores, as scikit-learn's estimators make them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.backends import Outputs, Want
from fairlead_service.models.backends.native.program import Output, ProgramError
from fairlead_service.models.bundle import Label
from fairlead_service.native import forest

Raw = NDArray[np.float64]
"""Shape (n, width), in the memory order that scikit-learn has it in."""

_PROBABILITIES: Final = {
    "value": {"none"},
    "exp": {"none"},
    "vote": {"none", "vote"},
    "binary": {"none", "expit", "expit_twice"},
    "multiclass": {"none", "softmax"},
}


def build_output(record: Output, width: int, classes: Sequence[Label] | None) -> Callable[[Raw, Want], Outputs]:
    """Makes the function from raw values, shape (n, width), to outputs. It may give the raw values out.

    `classes` are the manifest's. Raises ProgramError if width, classes and record do not fit together.
    """
    if record.probabilities not in _PROBABILITIES[record.kind]:
        raise ProgramError(f"an output of kind {record.kind} has no probabilities by {record.probabilities}")
    if record.kind in ("value", "exp", "binary") and width != 1:
        raise ProgramError(f"an output of kind {record.kind} has {width} raw values a row")
    if record.kind in ("value", "exp"):
        return _exp if record.kind == "exp" else _value
    expected = 2 if record.kind == "binary" else width
    if classes is None or len(classes) != expected:
        known = "no" if classes is None else len(classes)
        raise ProgramError(f"an output of kind {record.kind} has {known} classes for {expected}")
    return _classifier(record, _label_array(classes))


def _value(raw: Raw, want: Want) -> Outputs:
    return Outputs(raw.reshape(-1))


def _exp(raw: Raw, want: Want) -> Outputs:
    with np.errstate(all="ignore"):
        return Outputs(np.exp(raw.reshape(-1)))


def _classifier(record: Output, labels: NDArray[Any]) -> Callable[[Raw, Want], Outputs]:
    probabilities = _FUNCTIONS[record.probabilities]
    if record.kind == "binary":
        positive = np.greater_equal if record.zero_is_positive else np.greater

        def binary(raw: Raw, want: Want) -> Outputs:
            scores = raw.reshape(-1)
            return Outputs(
                labels.take(positive(scores, 0)),
                probabilities(raw) if want.probabilities else None,
                scores if want.scores else None,
            )

        return binary

    has_scores = record.kind == "multiclass"

    def many(raw: Raw, want: Want) -> Outputs:
        return Outputs(
            labels.take(raw.argmax(axis=1)),
            probabilities(raw) if want.probabilities else None,
            raw if want.scores and has_scores else None,
        )

    return many


def _same(raw: Raw) -> Raw:
    return raw


def _expit(raw: Raw) -> Raw:
    """`HalfBinomialLoss.predict_proba`, and `LinearClassifierMixin._predict_proba_lr` for two classes."""
    return _two_columns(raw.reshape(-1).copy())


def _expit_twice(raw: Raw) -> Raw:
    """`ExponentialLoss.predict_proba`."""
    return _two_columns(2 * raw.reshape(-1))


def _two_columns(scores: NDArray[np.float64]) -> Raw:
    forest.expit(scores)
    both = np.empty((len(scores), 2))
    both[:, 1] = scores
    np.subtract(1, scores, out=both[:, 0])
    return both


def _softmax(raw: Raw) -> Raw:
    """`sklearn.utils.extmath.softmax`: the same numpy functions on the same memory order, which sums depend on."""
    out = np.array(raw, order="K", copy=True)
    with np.errstate(all="ignore"):
        out -= out.max(axis=1).reshape(-1, 1)
        np.exp(out, out=out)
        out /= out.sum(axis=1).reshape(-1, 1)
    return out


_FUNCTIONS: Mapping[str, Callable[[Raw], Raw]] = {
    "none": _same,
    "vote": _same,
    "expit": _expit,
    "expit_twice": _expit_twice,
    "softmax": _softmax,
}


def _label_array(labels: Sequence[Label]) -> NDArray[Any]:
    """Shape (k,), of a dtype that keeps every label's type: numpy would make 1 of True beside 2, and "2" beside "a"."""
    return np.asarray(labels, None if len({type(label) for label in labels}) == 1 else object)
