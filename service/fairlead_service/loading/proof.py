"""Whether a model answers its own input example, and answers it as its traits promise."""

import math
import warnings
from typing import TYPE_CHECKING, Any

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading.example import Rows
from fairlead_service.loading.traits import Traits
from fairlead_service.models.bundle import Proof

if TYPE_CHECKING:
    import numpy as np


def self_test(estimator: Any, found: Traits, example: Rows | None) -> Proof:
    """Predicts the input example, whose rows have all columns that the estimator was fitted on.

    Raises LoadError(SelfTestFailed) if that raises, or the answers have other shapes or values than promised.
    """
    if example is None:
        return Proof(rows=0, verdict="untested")
    import numpy as np

    x = np.asarray(example, dtype=np.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predictions = np.asarray(estimator.predict(x))
            probabilities = np.asarray(estimator.predict_proba(x)) if found.has_probabilities else None
    except Exception as error:  # any exception from the model is the model's failure
        raise _failed(f"it raises on its own input example: {type(error).__name__}: {error}") from error
    _check_predictions(predictions, len(x), found)
    if probabilities is not None:
        _check_probabilities(probabilities, len(x), found)
    return Proof(rows=len(x), verdict="loaded")


def scores_fit(estimator: Any, found: Traits, example: Rows | None) -> bool:
    """Whether `decision_function` answers in the shape that is served: (n,) for two classes, else (n, n_classes)."""
    import numpy as np

    x = np.asarray(example or ((0.0,) * found.columns.fitted_width,), dtype=np.float64)
    classes = len(found.classes or ())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = np.asarray(estimator.decision_function(x))
    except Exception:  # without scores the model is as good as it was
        return False
    return scores.dtype == np.float64 and scores.shape == ((len(x),) if classes == 2 else (len(x), classes))


def _check_predictions(predictions: "np.ndarray[Any, Any]", rows: int, found: Traits) -> None:
    if predictions.shape != (rows,):
        raise _failed(f"it answers {rows} rows with shape {predictions.shape}; one prediction a row is served")
    values = predictions.tolist()
    if found.classes is not None and not set(values) <= set(found.classes):
        raise _failed(f"it predicts labels outside its classes: {sorted(set(values) - set(found.classes), key=str)}")
    if found.classes is None and not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        raise _failed("it predicts values that are not finite numbers")


def _check_probabilities(probabilities: "np.ndarray[Any, Any]", rows: int, found: Traits) -> None:
    import numpy as np

    expected = (rows, len(found.classes or ()))
    if probabilities.shape != expected:
        raise _failed(f"its probabilities have shape {probabilities.shape}, not {expected}")
    if not np.isfinite(probabilities).all():
        raise _failed("its probabilities are not finite")


def _failed(what: str) -> LoadError:
    return LoadError(FailureReason.SELF_TEST_FAILED, f"the model was loaded but {what}")
