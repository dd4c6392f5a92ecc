"""The input tensors of Open Inference Protocol V2: JSON or binary → matrix. Pure.

Called by `v2`, which has read where each tensor's data are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fairlead_service.errors import FieldError, Problem, TooManyRows
from fairlead_service.inference import matrix_checks
from fairlead_service.inference.matrix_checks import Cells, kind, quoted
from fairlead_service.models.backends import Matrix
from fairlead_service.models.bundle import Manifest

BF16: Final = "BF16"
_BOOL: Final = "BOOL"
DATATYPES: Final[Mapping[str, DTypeLike]] = {
    _BOOL: "<u1",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    BF16: "<u2",  # the upper half of a float32
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Datatypes of inputs, and how their binary form is laid out."""
_FLOATS: Final = ("<f2", "<f4", "<f8")


class InvalidTensor(Problem):
    status, slug, title = 400, "invalid-tensor", "The tensors are not what the model takes or answers"


def invalid(where: str, detail: str) -> InvalidTensor:
    """The problem at one JSON pointer."""
    return InvalidTensor(detail, [FieldError(pointer=where, detail=detail)])


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input as it is described; its values are not read yet."""

    where: str
    """JSON pointer."""
    name: str
    datatype: str
    shape: tuple[int, ...]
    """One or two positive numbers."""
    data: list[Any] | memoryview
    """JSON values, or as many bytes as datatype and shape take."""

    @property
    def label(self) -> str:
        return f"input {self.name[:100]!r}"

    @property
    def size(self) -> int:
        """Bytes in binary."""
        return math.prod(self.shape) * np.dtype(DATATYPES[self.datatype]).itemsize


def matrix(tensors: list[Tensor], manifest: Manifest, max_rows: int, *, by_name: bool) -> Matrix:
    """Shape (n, n_features), float64, C-contiguous: one tensor has all columns, or (`by_name`) each has one.

    Those are put in the model's order by their names. Raises InvalidTensor, TooManyRows.
    """
    if not by_name:
        rows = _rows(tensors[0], manifest.n_features, max_rows)
        return _values(tensors[0], rows, _cells(tensors[0], manifest, 0, manifest.n_features))
    ordered = _by_name(tensors, manifest.feature_names)
    counts = [_rows(tensor, 1, max_rows) for tensor in ordered]
    whole = np.empty((counts[0], manifest.n_features))
    for column, (tensor, rows) in enumerate(zip(ordered, counts, strict=True)):
        if rows != counts[0]:
            detail = f"{tensor.label} has {rows} rows and {ordered[0].label} has {counts[0]}"
            raise invalid(f"{tensor.where}/shape", f"{detail}; all inputs must have the same number of rows")
        whole[:, column] = _values(tensor, rows, _cells(tensor, manifest, column, 1))[:, 0]
    return whole


def _by_name(tensors: list[Tensor], names: tuple[str, ...] | None) -> list[Tensor]:
    if names is None:
        detail = f"{len(tensors)} inputs, but the model's features have no names"
        raise invalid("/inputs", f"{detail}; send one input of shape [rows, features]")
    given = {tensor.name: tensor for tensor in tensors}
    missing, unknown = [name for name in names if name not in given], sorted(given.keys() - set(names))
    if missing or unknown:
        what = f"there is no input {quoted(missing)}" if missing else f"the model has no feature {quoted(unknown)}"
        raise invalid("/inputs", f"{what}; send one input of all features, or one named as each of {quoted(names)}")
    if len(given) != len(tensors):
        raise invalid("/inputs", "two inputs have the same name; send one for each feature")
    return [given[name] for name in names]


def _rows(tensor: Tensor, width: int, max_rows: int) -> int:
    """How many rows of so many columns the tensor has by its shape."""
    match tensor.shape:
        case (count,) if width == 1:
            rows = count
        case (columns,) if columns == width:
            rows = 1
        case (count, columns) if columns == width:
            rows = count
        case _:
            wanted = f"[rows, {width}]" + (" or [rows]" if width == 1 else f", or [{width}] for one row")
            raise invalid(f"{tensor.where}/shape", f"{tensor.label} has shape {list(tensor.shape)}; send {wanted}")
    if rows > max_rows:
        raise TooManyRows(
            f"{tensor.label} has {rows} rows; at most {max_rows} in one request, so send several requests"
        )
    return rows


def _cells(tensor: Tensor, manifest: Manifest, first: int, width: int) -> Cells:
    """Names of a tensor's values; `first`: which of the model's columns is its column 0."""
    names = manifest.feature_names
    nested = len(tensor.shape) == 2 and isinstance(tensor.data, list) and type(next(iter(tensor.data), None)) is list

    def pointer(row: int, column: int) -> str:
        return f"{tensor.where}/data/" + (f"{row}/{column}" if nested else f"{row * width + column}")

    return Cells(
        names=None if names is None else names[first : first + width],
        accepts_missing=manifest.accepts_missing,
        pointer=pointer if isinstance(tensor.data, list) else None,
        columns=range(first, first + width),
        problem=InvalidTensor,
    )


def _values(tensor: Tensor, rows: int, cells: Cells) -> Matrix:
    """Shape (rows, columns of the tensor); every value is exactly what it is in the tensor's datatype."""
    width = math.prod(tensor.shape) // rows
    if isinstance(tensor.data, list):
        values = _from_json(tensor, _flat(tensor, tensor.data, rows, width), width, cells)
    else:
        values = _from_binary(tensor, tensor.data, width, cells)
    matrix_checks.check_finite(values, cells)
    return values


def _from_binary(tensor: Tensor, data: memoryview, width: int, cells: Cells) -> Matrix:
    stored: NDArray[Any] = np.frombuffer(data, DATATYPES[tensor.datatype])
    if tensor.datatype == BF16:
        stored = (stored.astype(np.uint32) << 16).view(np.float32)
    if tensor.datatype == _BOOL and stored.max() > 1:
        row, column = divmod(int((stored > 1).argmax()), width)
        raise cells.refused(row, column, "is a byte other than 0 and 1; send 0 for false, 1 for true")
    return stored.astype(np.float64).reshape(-1, width)


def _from_json(tensor: Tensor, values: Sequence[Any], width: int, cells: Cells) -> Matrix:
    if DATATYPES[tensor.datatype] not in _FLOATS and cells.accepts_missing and None in values:
        row, column = divmod(values.index(None), width)
        raise cells.refused(row, column, f"is null, which is no {tensor.datatype}; send the values as FP64")
    if tensor.datatype == _BOOL:
        return matrix_checks.numbers(values, width, replace(cells, accepts_missing=False), frozenset({bool}))
    datatype = np.dtype(DATATYPES[tensor.datatype])
    if datatype.kind == "f":
        numbers = matrix_checks.numbers(values, width, cells)
        if datatype == np.float64:
            return numbers
        with np.errstate(over="ignore"):
            fitting: Matrix = numbers.astype(datatype).astype(np.float64)
        wrong = np.isinf(fitting)
    else:
        fitting = numbers = matrix_checks.numbers(values, width, replace(cells, accepts_missing=False))
        bounds = np.iinfo(datatype)
        wrong = ~((np.trunc(numbers) == numbers) & (numbers >= float(bounds.min)) & (numbers <= float(bounds.max)))
        rounded = (numbers == float(bounds.max)).ravel()  # as a double, 2**63 - 1 is 2**63
        if rounded.any():
            wrong |= np.fromiter((value > bounds.max for value in values), bool, len(values)).reshape(wrong.shape)
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        shown = repr(float(numbers[row, column]))
        raise cells.refused(row, column, f"is {shown}, which is no {tensor.datatype}; send one that is, or FP64")
    return fitting


def _flat(tensor: Tensor, data: list[Any], rows: int, width: int) -> Sequence[Any]:
    """Data nested as the shape says, or flat, as one flat list of rows * width values."""
    if len(tensor.shape) == 2 and type(data[0] if data else None) is list:
        for index, row in enumerate(data):
            if type(row) is not list or len(row) != width:
                found = f"{len(row)} values" if type(row) is list else kind(row)
                detail = f"{tensor.label} has {found} in row {index} of data, but shape {list(tensor.shape)}"
                raise invalid(
                    f"{tensor.where}/data/{index}", f"{detail}; send {width} values in each row, or flat data"
                )
        if len(data) == rows:
            return list(chain.from_iterable(data))
    elif len(data) == rows * width:
        return data
    detail = f"{tensor.label} has {len(data)} elements in data, but shape {list(tensor.shape)}"
    raise invalid(f"{tensor.where}/data", f"{detail}; send {rows * width} values, flat or nested as the shape says")
