"""What a loaded estimator is, as far as the server must know it."""

import sys
import warnings
from dataclasses import dataclass
from typing import Any, Literal

from fairlead_service.failures import unsupported
from fairlead_service.loading.columns import Columns, agree
from fairlead_service.loading.example import Example
from fairlead_service.loading.labels import json_labels
from fairlead_service.loading.mlmodel import Inputs
from fairlead_service.loading.untrusted import parsing
from fairlead_service.models.bundle import Label


@dataclass(frozen=True)
class Traits:
    """What the server must know of an estimator without looking at it."""

    estimator: str
    task: Literal["classification", "regression"]
    columns: Columns
    classes: tuple[Label, ...] | None
    has_probabilities: bool
    has_scores: bool = False
    """A classifier with `decision_function`."""
    accepts_missing: bool = False
    """Whether it takes NaN for a missing value, in every column."""

    def manifest_fields(self) -> dict[str, Any]:
        """What a bundle's manifest says of the estimator."""
        columns = self.columns
        own = {name: value for name, value in vars(self).items() if name != "columns"}
        return own | {
            "n_features": columns.n_features,
            "feature_names": columns.names,
            "placement": columns.placement,
            "input_example": columns.example,
        }


def traits(estimator: Any, declared: Inputs | None, example: Example | None) -> Traits:
    """Raises LoadError: ModelUnsupported unless it is a fitted classifier or regressor of one output whose columns are
    numbers, SelfTestFailed if its example has other columns, ModelCorrupt."""
    with parsing("what the model's contents say of themselves"):  # attributes may be code of the model's own
        return _traits(estimator, declared, example)


def _traits(estimator: Any, declared: Inputs | None, example: Example | None) -> Traits:
    from sklearn.base import BaseEstimator, is_classifier, is_regressor

    kind = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    if not isinstance(estimator, BaseEstimator) or not hasattr(estimator, "predict"):
        raise unsupported(f"the model is a {kind}, which is not a scikit-learn estimator with `predict`")
    if not (is_classifier(estimator) or is_regressor(estimator)):
        raise unsupported(f"the model is a {kind}, neither a classifier nor a regressor")
    classes = _classes(estimator) if is_classifier(estimator) else None
    columns = agree(estimator, declared, example)
    return Traits(
        estimator=_public_name(estimator),
        task="classification" if is_classifier(estimator) else "regression",
        columns=columns,
        classes=classes,
        has_probabilities=classes is not None and hasattr(estimator, "predict_proba"),
        has_scores=classes is not None and hasattr(estimator, "decision_function"),
        accepts_missing=_accepts_missing(estimator, columns.fitted_width),
    )


def _classes(estimator: Any) -> tuple[Label, ...]:
    import numpy as np

    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or not len(classes):
        raise unsupported("the model is a classifier without one list of classes (multi-output, or not fitted)")
    return json_labels(classes)


def _accepts_missing(estimator: Any, width: int) -> bool:
    """scikit-learn's own input tag, and an answer to a row of nothing else; a pipeline has no tag and is only asked."""
    import numpy as np
    from sklearn.utils import get_tags

    from fairlead_service.loading.framed import takes_matrices

    try:
        if not hasattr(estimator, "steps") and not get_tags(estimator).input_tags.allow_nan:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = np.asarray(takes_matrices(estimator).predict(np.full((1, width), np.nan)))
    except Exception:  # tags and answers are an estimator's own code
        return False
    return bool(answer.dtype.kind != "f" or np.isfinite(answer).all())


def _public_name(estimator: Any) -> str:
    """The shortest name it can be imported by: `sklearn.svm.SVC`, not the private module it is defined in."""
    kind = type(estimator)
    parts = kind.__module__.split(".")
    for length in range(1, len(parts)):
        package = ".".join(parts[:length])
        if getattr(sys.modules.get(package), kind.__qualname__, None) is kind:
            return f"{package}.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"
