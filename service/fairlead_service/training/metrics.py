"""The metrics a trained model is scored by: the usual ones, and whatever an entry point adds.

A plug-in is an installed package with one entry point in the group `fairlead.metrics` that names a `Metric`:

    [project.entry-points."fairlead.metrics"]
    profit = "my_package:profit"

    profit = Metric(name="profit", task="classification", compute=lambda found: …, description="…")

Every metric of the model's task is computed in each training and logged under its name; a search may choose by any.
The averages over classes are macro averages: each class counts the same, so a rare one that is never found shows.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoints, entry_points
from typing import TYPE_CHECKING, Any, Final, Literal

from fairlead_service.contract import TrainingReason
from fairlead_service.training import plugins
from fairlead_service.training.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GROUP: Final = "fairlead.metrics"
_DEFAULT: Final = {"classification": "accuracy", "regression": "r2"}


@dataclass(frozen=True)
class Scored:
    """A fitted estimator's answers to n rows whose target is known, computed when they are asked for."""

    estimator: Any
    x: "Array"
    """Shape (n, p), float64."""
    y: "Array"
    """Shape (n,): the target."""

    @cached_property
    def predicted(self) -> "Array":
        """Shape (n,): labels, or values of a regressor."""
        found: Array = self.estimator.predict(self.x)
        return found

    @cached_property
    def classes(self) -> "Array | None":
        """Shape (k,), sorted; None for a regressor."""
        found: Array | None = getattr(self.estimator, "classes_", None)
        return found

    @cached_property
    def probabilities(self) -> "Array | None":
        """Shape (n, k), one column a class; None if the estimator gives none."""
        return self.estimator.predict_proba(self.x) if hasattr(self.estimator, "predict_proba") else None

    @cached_property
    def scores(self) -> "Array | None":
        """Of a classifier of two classes, shape (n,): the higher, the likelier is the second class; None without."""
        if self.classes is None or len(self.classes) != 2:
            return None
        if self.probabilities is not None:
            return self.probabilities[:, 1]
        return self.estimator.decision_function(self.x) if hasattr(self.estimator, "decision_function") else None


@dataclass(frozen=True)
class Metric:
    name: str
    """As MLflow shows it: letters, digits, `_`, `-`, `.` and spaces."""
    task: Literal["classification", "regression"]
    compute: Callable[[Scored], float | None]
    """None, NaN or a ValueError: it is not defined for these rows, and left out."""
    description: str
    greater_is_better: bool = True

    def of(self, found: Scored) -> float | None:
        """The metric's value; None if it is not defined."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                value = self.compute(found)
            except ValueError:
                return None
        return float(value) if value is not None and math.isfinite(value) else None


def installed(task: str, entries: EntryPoints | None = None) -> list[Metric]:
    """All metrics for a task, by name. Raises TrainingError(TrainingFailed) if a package is broken."""
    known = entry_points(group=GROUP) if entries is None else entries
    found = [plugins.load(known[name], Metric) for name in sorted(known.names)]
    return [metric for metric in found if metric.task == task]


def choose(known: Iterable[Metric], name: str | None, task: str) -> Metric:
    """The metric of this name, or the task's usual one. Raises TrainingError(InvalidRequest)."""
    by_name = {metric.name: metric for metric in known}
    wanted = name or _DEFAULT[task]
    if wanted not in by_name:
        message = f"no metric {wanted!r} for {task}{plugins.suggestion(wanted, by_name)}; known: {', '.join(by_name)}"
        raise TrainingError(TrainingReason.INVALID_REQUEST, message, "/search/metric")
    return by_name[wanted]


def evaluate(known: Iterable[Metric], found: Scored, warn: Callable[[str], None]) -> dict[str, float]:
    """Every metric that is defined for these rows. One that fails is told to `warn`, and left out."""
    values: dict[str, float] = {}
    for metric in known:
        try:
            value = metric.of(found)
        except Exception as error:  # code of a plug-in
            warn(f"metric {metric.name} failed: {type(error).__name__}: {error}")
            continue
        if value is not None:
            values[metric.name] = value
    return values


def describe(entries: EntryPoints | None = None) -> list[dict[str, Any]]:
    """All metrics for `GET /algorithms`, by name; one whose package is broken says so in its place."""
    known = entry_points(group=GROUP) if entries is None else entries
    return [_description(name, known) for name in sorted(known.names)]


def _description(name: str, known: EntryPoints) -> dict[str, Any]:
    own = plugins.origin(known[name])
    try:
        metric = plugins.load(known[name], Metric)
    except TrainingError as error:
        return own | {"error": error.message}
    found = {"task": metric.task, "description": metric.description, "greater_is_better": metric.greater_is_better}
    return own | found


def _accuracy(found: Scored) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(found.y, found.predicted))


def _balanced_accuracy(found: Scored) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(found.y, found.predicted))


def _macro(which: int) -> Callable[[Scored], float]:
    def compute(found: Scored) -> float:
        from sklearn.metrics import precision_recall_fscore_support

        averages = precision_recall_fscore_support(found.y, found.predicted, average="macro", zero_division=0)
        return float(averages[which])

    return compute


def _roc_auc(found: Scored) -> float | None:
    from sklearn.metrics import roc_auc_score

    if found.classes is None:
        return None
    if len(found.classes) == 2:
        return None if found.scores is None else float(roc_auc_score(found.y == found.classes[1], found.scores))
    if found.probabilities is None:
        return None
    many = {"multi_class": "ovr", "average": "macro", "labels": found.classes}
    return float(roc_auc_score(found.y, found.probabilities, **many))


def _log_loss(found: Scored) -> float | None:
    from sklearn.metrics import log_loss

    return None if found.probabilities is None else float(log_loss(found.y, found.probabilities, labels=found.classes))


def _r2(found: Scored) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(found.y, found.predicted))


def _mean_absolute_error(found: Scored) -> float:
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(found.y, found.predicted))


def _root_mean_squared_error(found: Scored) -> float:
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(found.y, found.predicted))


accuracy = Metric("accuracy", "classification", _accuracy, "Share of rows whose class is right")
balanced_accuracy = Metric("balanced_accuracy", "classification", _balanced_accuracy, "Mean recall of the classes")
precision = Metric("precision", "classification", _macro(0), "Macro average; 0 where a class is never predicted")
recall = Metric("recall", "classification", _macro(1), "Macro average")
f1 = Metric("f1", "classification", _macro(2), "Macro average of the harmonic means of precision and recall")
roc_auc = Metric("roc_auc", "classification", _roc_auc, "Area under the ROC curve; one against the rest, macro average")
log_loss = Metric("log_loss", "classification", _log_loss, "Cross-entropy of the probabilities, in nats", False)
r2 = Metric("r2", "regression", _r2, "Coefficient of determination")
mean_absolute_error = Metric(
    "mean_absolute_error", "regression", _mean_absolute_error, "In the target's unit", greater_is_better=False
)
root_mean_squared_error = Metric(
    "root_mean_squared_error", "regression", _root_mean_squared_error, "In the target's unit", greater_is_better=False
)
