"""What a loaded estimator is, and whether it answers its own input example."""

import math
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fairlead_service.contract import FailureReason
from fairlead_service.loading.errors import LoadError, unsupported
from fairlead_service.loading.labels import json_labels
from fairlead_service.loading.mlmodel import Inputs
from fairlead_service.models.bundle import Label, Proof

if TYPE_CHECKING:
    import numpy as np

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Traits:
    """What the server must know of an estimator without looking at it."""

    estimator: str
    task: Literal["classification", "regression"]
    n_features: int
    feature_names: tuple[str, ...] | None
    classes: tuple[Label, ...] | None
    has_probabilities: bool


def traits(estimator: Any, declared: Inputs | None, example: Rows | None) -> Traits:
    """Raises LoadError(ModelUnsupported) unless it is a fitted classifier or regressor of one output."""
    from sklearn.base import BaseEstimator, is_classifier, is_regressor

    kind = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    if not isinstance(estimator, BaseEstimator) or not hasattr(estimator, "predict"):
        raise unsupported(f"the model is a {kind}, which is not a scikit-learn estimator with `predict`")
    if not (is_classifier(estimator) or is_regressor(estimator)):
        raise unsupported(f"the model is a {kind}, neither a classifier nor a regressor")
    classes = _classes(estimator) if is_classifier(estimator) else None
    return Traits(
        estimator=_public_name(estimator),
        task="classification" if is_classifier(estimator) else "regression",
        n_features=_width(estimator, declared, example),
        feature_names=_names(estimator, declared),
        classes=classes,
        has_probabilities=classes is not None and hasattr(estimator, "predict_proba"),
    )


def self_test(estimator: Any, found: Traits, example: Rows | None) -> Proof:
    """Predicts the input example.

    Raises LoadError(SelfTestFailed) if that raises, or the answers have other shapes or values than promised.
    """
    if example is None:
        return Proof(rows=0, verdict="untested")
    import numpy as np

    x = np.asarray(example, dtype=np.float64)
    if x.shape[1] != found.n_features:
        raise _failed(f"its input example has {x.shape[1]} columns, the model takes {found.n_features}")
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


def _classes(estimator: Any) -> tuple[Label, ...]:
    import numpy as np

    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or not len(classes):
        raise unsupported("the model is a classifier without one list of classes (multi-output, or not fitted)")
    return json_labels(classes)


def _width(estimator: Any, declared: Inputs | None, example: Rows | None) -> int:
    width = getattr(estimator, "n_features_in_", None)
    if width is None and declared is not None:
        width = declared.n_features
    if width is None and example is not None:
        width = len(example[0])
    if width is None:
        raise unsupported("nothing says how many features the model takes; log it with an input_example or a signature")
    if declared is not None and declared.n_features != width:
        raise unsupported(f"the model takes {width} features but its signature declares {declared.n_features}")
    return int(width)


def _names(estimator: Any, declared: Inputs | None) -> tuple[str, ...] | None:
    if declared is not None and declared.names is not None:
        return declared.names
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


def _public_name(estimator: Any) -> str:
    """The shortest name it can be imported by: `sklearn.svm.SVC`, not the private module it is defined in."""
    kind = type(estimator)
    parts = kind.__module__.split(".")
    for length in range(1, len(parts)):
        package = ".".join(parts[:length])
        if getattr(sys.modules.get(package), kind.__qualname__, None) is kind:
            return f"{package}.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"
