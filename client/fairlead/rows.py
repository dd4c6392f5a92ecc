"""Rows as people have them, as the JSON of a request: lists, dicts by feature name, NumPy arrays, data frames.

Neither NumPy nor pandas is imported: an array is what has `tolist`, a data frame what has `columns` and `to_numpy`.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

Rows = Any
"""Rows of numbers `(n, p)`, one row `(p,)`, dicts by feature name, an array or a data frame."""


def is_frame(rows: Rows) -> bool:
    return hasattr(rows, "columns") and hasattr(rows, "to_numpy")


def features(rows: Rows) -> Any:
    """`features` of a /predict body: a list of lists, of dicts by name, or one row of numbers."""
    if is_frame(rows):
        names = column_names(rows)
        matrix = _cells(rows)
        return matrix if names is None else [dict(zip(names, row, strict=True)) for row in matrix]
    if isinstance(rows, Mapping):
        return [_plain_row(rows)]
    if hasattr(rows, "tolist"):
        return rows.tolist()
    if isinstance(rows, str | bytes) or not hasattr(rows, "__iter__"):
        raise TypeError(f"rows must be lists of numbers, dicts by feature name, an array or a data frame, not {rows!r}")
    return [_plain_row(row) for row in rows]


def matrix(rows: Rows) -> tuple[Any, list[str] | None]:
    """`data` of a /train body, and the features' names where the rows have them."""
    if is_frame(rows):
        return _cells(rows), column_names(rows)
    found = features(rows)
    if not found or not isinstance(found[0], Mapping):
        return found, None
    names = list(found[0])
    for index, row in enumerate(found):
        if not isinstance(row, Mapping) or set(row) != set(names):
            raise ValueError(f"row {index} must have the features of row 0: {', '.join(names)}")
    return [[row[name] for name in names] for row in found], names


def values(column: Any) -> Any:
    """A target: one value a row."""
    return column.tolist() if hasattr(column, "tolist") else list(column)


def column_names(frame: Any) -> list[str] | None:
    """None where the columns are only numbered."""
    names = list(frame.columns)
    return names if all(isinstance(name, str) for name in names) else None


def encode(body: Mapping[str, Any]) -> bytes:
    """Strict JSON in UTF-8; NaN is null, which is what a missing value is to the API. ValueError for infinity."""
    try:
        return json.dumps(body, allow_nan=False, default=_plain).encode()
    except ValueError:
        return json.dumps(_without_nan(body), allow_nan=False, default=_plain).encode()


def _cells(frame: Any) -> list[list[Any]]:
    """A data frame's own missing values (`NaN`, `NA`, `None`) as null."""
    cells: list[list[Any]] = frame.to_numpy().tolist()
    if not hasattr(frame, "isna"):
        return cells
    missing = frame.isna().to_numpy().tolist()
    return [
        [None if gone else cell for cell, gone in zip(row, holes, strict=True)]
        for row, holes in zip(cells, missing, strict=True)
    ]


def _plain_row(row: Any) -> Any:
    if isinstance(row, Mapping):
        return {str(name): value for name, value in row.items()}
    return row.tolist() if hasattr(row, "tolist") else list(row) if isinstance(row, tuple) else row


def _plain(value: Any) -> Any:
    """NumPy's scalars and arrays, wherever they are."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON: {value!r}")


def _without_nan(value: Any, pointer: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(below, f"{pointer}/{name}") for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(below, f"{pointer}/{index}") for index, below in enumerate(value)]
    if hasattr(value, "tolist"):
        return _without_nan(value.tolist(), pointer)
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise ValueError(f"{pointer or '/'} is infinite, which JSON has no word for; send a number or None")
    return value
