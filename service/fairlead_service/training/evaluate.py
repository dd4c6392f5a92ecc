"""How a training is evaluated: on held-out rows where the data allow it, else on the rows it learned from.

The averages over classes are macro averages: each class counts the same, so a rare one that is never found shows.
"""

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Split:
    method: Literal["holdout", "training_data"]
    train: "Array"
    """Row numbers."""
    test: "Array"
    reason: str | None = None
    """Why nothing could be held out."""

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = {"method": self.method, "train_rows": len(self.train), "test_rows": len(self.test)}
        return found if self.reason is None else found | {"reason": self.reason}


def split(y: "Array", task: Literal["classification", "regression"], test_size: float, random_state: int) -> Split:
    """Chooses rows to hold out; stratified by class for classification.

    y has shape (n,). The same arguments give the same split.
    """
    import numpy as np
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(y))
    reason = _why_no_holdout(y, task, test_size)
    if reason is not None:
        return Split("training_data", rows, rows, reason)
    strata = y if task == "classification" else None
    train, test = train_test_split(rows, test_size=test_size, random_state=random_state, stratify=strata)
    if strata is not None and len(np.unique(y[train])) < len(np.unique(y)):
        return Split("training_data", rows, rows, "the training part would have no row of some class")
    return Split("holdout", np.sort(train), np.sort(test))


def metrics(estimator: Any, x: "Array", y: "Array", task: Literal["classification", "regression"]) -> dict[str, float]:
    """Scores of a fitted estimator on x (n, p) and y (n,); a metric that is not defined here is left out.

    Classification: accuracy; precision, recall and f1 (macro averages, 0 where a class is never predicted); roc_auc
    (one against the rest for more than two classes) and log_loss, from probabilities. Regression: r2,
    mean_absolute_error, root_mean_squared_error in the target's unit.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _classification(estimator, x, y) if task == "classification" else _regression(estimator, x, y)
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _why_no_holdout(y: "Array", task: Literal["classification", "regression"], test_size: float) -> str | None:
    import numpy as np

    test_rows = math.ceil(len(y) * test_size)
    train_rows = len(y) - test_rows
    if task == "regression":
        return None if test_rows >= 2 and train_rows >= 2 else f"{len(y)} rows are too few to hold some out"
    classes, counts = np.unique(y, return_counts=True)
    if counts.min() < 2:
        return f"class {classes[counts.argmin()].item()!r} has a single row"
    for part, size in (("test", test_rows), ("training", train_rows)):
        if size < len(classes):
            rows = "1 row" if size == 1 else f"{size} rows"
            return f"the {part} part would have {rows} for {len(classes)} classes"
    return None


def _classification(estimator: Any, x: "Array", y: "Array") -> dict[str, float]:
    from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support, roc_auc_score

    predicted = estimator.predict(x)
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted, average="macro", zero_division=0)
    found = {"accuracy": accuracy_score(y, predicted), "precision": precision, "recall": recall, "f1": f1}
    if not hasattr(estimator, "predict_proba"):
        return found
    probabilities, classes = estimator.predict_proba(x), estimator.classes_
    found["log_loss"] = log_loss(y, probabilities, labels=classes)
    try:
        if len(classes) == 2:
            found["roc_auc"] = roc_auc_score(y == classes[1], probabilities[:, 1])
        else:
            found["roc_auc"] = roc_auc_score(y, probabilities, multi_class="ovr", average="macro", labels=classes)
    except ValueError:  # a class without rows: the area is not defined
        pass
    return found


def _regression(estimator: Any, x: "Array", y: "Array") -> dict[str, float]:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    predicted = estimator.predict(x)
    return {
        "r2": r2_score(y, predicted),
        "mean_absolute_error": mean_absolute_error(y, predicted),
        "root_mean_squared_error": root_mean_squared_error(y, predicted),
    }
