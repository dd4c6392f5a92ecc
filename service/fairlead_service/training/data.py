"""From the request's target and matrix to what scikit-learn fits. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fairlead_service.models.bundle import Label
from fairlead_service.training.errors import invalid_data

if TYPE_CHECKING:
    import numpy as np

MAX_EXAMPLE_ROWS = 5
MAX_LABEL_CHARACTERS = 1000
"""An array of text is as wide as its longest label, in every row."""


@dataclass(frozen=True)
class TrainingData:
    x: "np.ndarray[Any, np.dtype[np.float64]]"
    """Shape (n, p), finite."""
    y: "np.ndarray[Any, Any]"
    """Shape (n,): bool, int64, float64 or str; float64 for regression."""


def prepare(
    x: "np.ndarray[Any, np.dtype[np.float64]]",
    target: Sequence[Label],
    task: Literal["classification", "regression"],
    feature_names: Sequence[str] | None = None,
) -> TrainingData:
    """Checks that the matrix and the target can be learned from.

    Raises TrainingError(InvalidData) that names the row, column or label at fault.
    """
    import numpy as np

    if x.ndim != 2 or 0 in x.shape:
        raise invalid_data(f"data must be a matrix with rows and columns, not of shape {x.shape}", "/data")
    if len(target) != len(x):
        raise invalid_data(f"target has {len(target)} labels for {len(x)} rows of data", "/target")
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, column = map(int, bad[0])
        raise invalid_data(f"data has {x[row, column]} in row {row}, column {column}", f"/data/{row}/{column}")
    if feature_names is not None and len(feature_names) != x.shape[1]:
        message = f"feature_names has {len(feature_names)} names for {x.shape[1]} columns of data"
        raise invalid_data(message, "/feature_names")
    if feature_names is not None and len(set(feature_names)) != len(feature_names):
        raise invalid_data("feature_names must differ from each other", "/feature_names")
    y = label_array(target) if task == "classification" else _numbers(target)
    if task == "classification" and len(np.unique(y)) < 2:
        raise invalid_data(f"target has one class only, {target[0]!r}; a classifier needs at least two", "/target")
    return TrainingData(x, y)


def label_array(target: Sequence[Label]) -> "np.ndarray[Any, Any]":
    """Labels as an array that gives the same JSON values back: bool, int64, float64 or str, shape (n,).

    Raises TrainingError(InvalidData) for labels of several types (integers among floats become floats), integers
    beyond 64 bits, strings that numpy would shorten, and floats that are no labels but measurements.
    """
    import numpy as np

    kinds = {type(label) for label in target}
    if kinds == {bool}:
        return np.array(target, dtype=np.bool_)
    if kinds == {str}:
        for row, label in enumerate(target):
            if len(str(label)) > MAX_LABEL_CHARACTERS:
                raise invalid_data(f"label {row} has more than {MAX_LABEL_CHARACTERS} characters", f"/target/{row}")
            if str(label).endswith("\0"):
                raise invalid_data(f"label {row} ends with a NUL character", f"/target/{row}")
        return np.array(target, dtype=np.str_)
    if kinds == {int}:
        try:
            return np.array(target, dtype=np.int64)
        except OverflowError as error:
            raise invalid_data("integer labels must fit in 64 bits; use strings", "/target") from error
    if kinds <= {int, float}:
        return _float_labels(target)
    row = next(row for row, label in enumerate(target) if type(label) is not type(target[0]))
    raise invalid_data(
        f"target mixes types: {target[0]!r} is {_json_type(target[0])}, {target[row]!r} in row {row} is "
        f"{_json_type(target[row])}; use one type for all labels",
        f"/target/{row}",
    )


def keyed_by_label(hyperparameters: Mapping[str, Any], y: "np.ndarray[Any, Any]") -> dict[str, Any]:
    """Turns the keys of a `class_weight` object into labels: JSON knows only strings as keys."""
    weights = hyperparameters.get("class_weight")
    if not isinstance(weights, dict):
        return dict(hyperparameters)
    import json

    import numpy as np

    labels = {label if isinstance(label, str) else json.dumps(label): label for label in np.unique(y).tolist()}
    return {**hyperparameters, "class_weight": {labels.get(key, key): value for key, value in weights.items()}}


def _float_labels(target: Sequence[Label]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    import numpy as np

    values = _numbers(target)
    odd = np.flatnonzero(values != np.rint(values))
    if len(odd):
        row = int(odd[0])
        raise invalid_data(
            f"target has {target[row]!r} in row {row}: a classifier takes labels, and fractions are measurements; "
            "use strings or integers",
            f"/target/{row}",
        )
    return values


def _numbers(target: Sequence[Label]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    import numpy as np

    for row, value in enumerate(target):
        if isinstance(value, bool | str):
            raise invalid_data(f"target has {value!r} in row {row}; numbers are needed", f"/target/{row}")
    values = np.array([_float(value, row) for row, value in enumerate(target)], dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        row = int(bad[0])
        raise invalid_data(f"target has {values[row]} in row {row}; finite numbers are needed", f"/target/{row}")
    return values


def _float(value: Label, row: int) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise invalid_data(
            f"target has a number in row {row} beyond the range of 64-bit floats", f"/target/{row}"
        ) from error


def _json_type(label: Label) -> str:
    return {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}[type(label)]
