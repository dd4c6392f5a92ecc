"""Which rows a model learns from and which it is evaluated on: held-out ones where the data allow it, and folds."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fairlead_service.training.errors import invalid_data

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


class Fold(NamedTuple):
    train: "Array"
    """Row numbers."""
    test: "Array"


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


def folds(y: "Array", task: Literal["classification", "regression"], count: int, random_state: int) -> list[Fold]:
    """`count` ways to leave a part of the rows out, each row once; stratified by class for classification.

    y has shape (n,). Raises TrainingError(InvalidData) if a part would be without a class, or empty.
    """
    import numpy as np
    from sklearn.model_selection import KFold, StratifiedKFold

    if task == "classification":
        classes, counts = np.unique(y, return_counts=True)
        if counts.min() < count:
            label, rows = classes[counts.argmin()].item(), int(counts.min())
            message = f"class {label!r} has {rows} of the rows to learn from; {count} folds need {count} of each"
            raise invalid_data(message, "/target")
        splitter: Any = StratifiedKFold(count, shuffle=True, random_state=random_state)
    else:
        if len(y) < 2 * count:
            raise invalid_data(f"{len(y)} rows are too few for {count} folds: each needs two", "/target")
        splitter = KFold(count, shuffle=True, random_state=random_state)
    return [Fold(train, test) for train, test in splitter.split(np.zeros(len(y)), y)]
