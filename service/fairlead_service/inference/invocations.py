"""MLflow's scoring protocol: the bytes of `/invocations` → matrix, predictions → bytes. Pure.

The forms are those of MLflow's own scoring server. Columns that have names, in the request and in the model, are
matched by them, and those that the model does not have are ignored; else their order counts.
"""

import contextlib
import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from fairlead_service.errors import FieldError, InvalidInput, MalformedBody, TooManyRows
from fairlead_service.inference import json_arrays, matrix_checks
from fairlead_service.inference.matrix_checks import NUMBERS, Cells, kind, pointer, quoted
from fairlead_service.inference.quick import Decoded
from fairlead_service.models.backends import Matrix, Outputs, Want
from fairlead_service.models.bundle import Manifest

_INPUTS, _INSTANCES, _SPLIT, _RECORDS = FORMATS = ("inputs", "instances", "dataframe_split", "dataframe_records")
_VALUES: Final = NUMBERS | {bool}
"""A data frame's column of booleans becomes 0 and 1, as scikit-learn makes of it."""
_WORDS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"), math.nan),
    **dict.fromkeys(("True", "TRUE", "true"), 1.0),
    **dict.fromkeys(("False", "FALSE", "false"), 0.0),
}
"""Cells of CSV that pandas reads as missing values and as booleans."""
_NUMBER_CHARACTERS: Final = frozenset("0123456789+-.eE")


def decode_json(body: bytes, manifest: Manifest, max_rows: int) -> Decoded:
    """Raises MalformedBody, InvalidInput or TooManyRows."""
    too_many = f"the body has more than {max_rows} rows, the most in one request; send several requests"
    document = matrix_checks.json_object(body, max_rows + matrix_checks.OTHER_LISTS, too_many)
    field = _field(document)
    value, read = document[field], _Rows(field, manifest, max_rows)
    if field == _SPLIT:
        matrix = read.split(value)
    elif field == _RECORDS or (isinstance(value, list) and value and isinstance(value[0], dict)):
        matrix = read.records(value)
    elif field == _INPUTS and isinstance(value, dict):
        matrix = read.columns(value)
    else:
        matrix = read.lists(value, (field,))
    return Decoded(matrix, Want(), read.extra)


def decode_csv(body: bytes, manifest: Manifest, max_rows: int) -> Decoded:
    """CSV with a header row. Raises MalformedBody, InvalidInput or TooManyRows."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8: {error.reason} at byte {error.start}; send CSV in UTF-8") from None
    read = _Rows("", manifest, max_rows)
    try:
        rows = (row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row)
        header = next(rows, [])
        order = _csv_order(header, manifest)
        cells = Cells(manifest.feature_names, manifest.accepts_missing, columns=order)
        values: list[float] = []
        for index, row in enumerate(rows):
            read.check_count(index + 1)
            if len(row) != len(header):
                raise InvalidInput(
                    f"row {index} has {len(row)} values and the header {len(header)}; they must be equal"
                )
            values += _csv_numbers(row, index, order, cells)
    except csv.Error as error:
        raise MalformedBody(f"the body is not CSV: {error}; send a header and rows, separated by commas") from None
    read.check_count(len(values) // manifest.n_features)
    return Decoded(read.matrix(values, cells), Want(), _extra(header, manifest.feature_names))


def encode(outputs: Outputs) -> bytes:
    """What MLflow's server answers for a model whose `predict` gives an array."""
    return b'{"predictions":%b}' % json_arrays.dumps(outputs.predictions)


def _field(document: dict[str, Any]) -> str:
    given = [field for field in FORMATS if field in document]
    if len(given) != 1:
        what = f"the body has {quoted(given)}" if given else "the body has no data"
        raise InvalidInput(f"{what}; send exactly one of {', '.join(FORMATS)}")
    unknown = sorted(document.keys() - {*FORMATS, "params"})
    if unknown:
        raise _invalid((unknown[0],), f"unknown field {unknown[0][:100]!r}; known are {', '.join(FORMATS)}, params")
    if document.get("params"):
        raise _invalid(("params",), "scikit-learn models take no params; leave the field out")
    return given[0]


class _Rows:
    """Reads the rows of one request from one of the forms. `field`: where they are in the body."""

    def __init__(self, field: str, manifest: Manifest, max_rows: int) -> None:
        self._field = field
        self._width = manifest.n_features
        self._names = manifest.feature_names
        self._missing = manifest.accepts_missing
        self._max_rows = max_rows
        self.extra = 0
        """Columns that the model does not have."""

    def lists(
        self, value: object, path: tuple[str, ...], columns: list[str] | None = None, order: Sequence[int] | None = None
    ) -> Matrix:
        """Rows as lists; `columns`: their names, if the request has them; `order`: where the model's are in them."""
        rows, names = self._list(value, path), self._names if columns is None else columns
        width = self._width if columns is None else len(columns)
        for index, row in enumerate(rows):
            if type(row) is not list or len(row) != width:
                found = f"has {len(row)} values" if type(row) is list else f"is {kind(row)}"
                listed = "" if names is None else f" ({quoted(names)})"
                raise _invalid((*path, index), f"row {index} {found}; send a list of {width} numbers{listed}")
        if order is not None:
            rows = [[row[column] for column in order] for row in rows]
        return self._matrix(rows, lambda i, j: pointer(*path, i, j if order is None else order[j]), order)

    def split(self, value: object) -> Matrix:
        """`dataframe_split`: {columns, index, data}."""
        if not isinstance(value, dict) or "data" not in value:
            raise _invalid((_SPLIT,), f"{_SPLIT} is not an object with data; send columns and data")
        unknown = sorted(value.keys() - {"columns", "index", "data"})
        if unknown:
            raise _invalid((_SPLIT, unknown[0]), f"{_SPLIT} has {quoted(unknown)}; known are columns, index, data")
        columns, index, data = value.get("columns"), value.get("index"), value["data"]
        if index is not None and (not isinstance(index, list) or not isinstance(data, list) or len(index) != len(data)):
            raise _invalid((_SPLIT, "index"), f"{_SPLIT}.index is not a list with one entry a row; leave it out")
        if columns is None:
            return self.lists(data, (_SPLIT, "data"))
        if not isinstance(columns, list):
            raise _invalid((_SPLIT, "columns"), f"{_SPLIT}.columns is {kind(columns)}; send a list of names")
        return self.lists(data, (_SPLIT, "data"), list(map(str, columns)), self._order(columns, (_SPLIT, "columns")))

    def records(self, value: object) -> Matrix:
        """Rows as objects with the same keys."""
        rows = self._list(value, (self._field,))
        first: dict[str, Any] | None = None
        for index, row in enumerate(rows):
            if type(row) is not dict:
                detail = f"row {index} is {kind(row)}; send an object with the features' names"
                raise _invalid((self._field, index), detail)
            if first is None or row.keys() != first.keys():
                self._order(list(row), (self._field, index), f"row {index}: ")
                if first is not None and self._names is None:
                    detail = f"row {index} has other keys than row 0; send {quoted(list(first))} in each"
                    raise _invalid((self._field, index), detail)
                first = row
        names = list(first or ()) if self._names is None else list(self._names)
        lists = [[row[name] for name in names] for row in rows]
        return self._matrix(lists, lambda i, j: pointer(self._field, i, names[j]))

    def columns(self, value: dict[str, Any]) -> Matrix:
        """An object with a list for each column, or with a number for each, which is one row."""
        self._order(list(value), (self._field,))
        names = list(value) if self._names is None else list(self._names)
        value = {name: value[name] for name in names}
        if not any(isinstance(column, list) for column in value.values()):
            return self._matrix([[value[name] for name in names]], lambda _, j: pointer(self._field, names[j]))
        count = max(len(column) for column in value.values() if isinstance(column, list))
        for name, column in value.items():
            if not isinstance(column, list) or len(column) != count:
                found = f"has {len(column)} values" if isinstance(column, list) else f"is {kind(column)}"
                detail = f"column {name[:100]!r} {found} and the longest has {count}; send lists of the same length"
                raise _invalid((self._field, name), detail)
        self.check_count(count)
        rows = list(zip(*value.values(), strict=True))
        return self._matrix(rows, lambda i, j: pointer(self._field, names[j], i))

    def check_count(self, rows: int) -> None:
        if rows == 0:
            raise InvalidInput("the body has no rows; send at least one")
        if rows > self._max_rows:
            raise TooManyRows(
                f"the body has more than {self._max_rows} rows, the most in one request; send several requests"
            )

    def matrix(self, values: Sequence[object], cells: Cells) -> Matrix:
        """All values, row by row, in the model's order."""
        matrix = matrix_checks.numbers(values, self._width, cells, _VALUES)
        matrix_checks.check_finite(matrix, cells)
        return matrix

    def _matrix(
        self,
        rows: Sequence[Sequence[object]],
        place: Callable[[int, int], str],
        order: Sequence[int] | None = None,
    ) -> Matrix:
        return self.matrix(list(chain.from_iterable(rows)), Cells(self._names, self._missing, place, order))

    def _list(self, value: object, path: tuple[str, ...]) -> list[Any]:
        if not isinstance(value, list):
            raise _invalid(path, f"{'.'.join(path)} is {kind(value)}; send a list of rows")
        self.check_count(len(value))
        return value

    def _order(self, given: list[Any], path: tuple[str | int, ...], where: str = "") -> list[int] | None:
        columns = [str(name) for name in given]
        order = _order(columns, self._names, self._width, path, where)
        self.extra = max(self.extra, _extra(columns, self._names))
        return order


def _order(
    given: list[str], names: tuple[str, ...] | None, width: int, path: tuple[str | int, ...] | None, where: str = ""
) -> list[int] | None:
    """Where the model's columns are among those given; None: in the model's order. Raises InvalidInput."""
    wanted, found = list(names) if names is not None else given, Counter(given)
    missing = [name for name in wanted if name not in found]
    again = [name for name in wanted if found[name] > 1 and names is not None]
    detail = None
    if missing:
        detail = f"{where}column {quoted(missing)} is missing"
    elif again:
        detail = f"{where}column {quoted(again)} is there more than once"
    elif names is None and len(given) != width:
        detail = f"{where}{len(given)} columns, but the model has {width}"
    if detail is not None:
        raise _invalid(path, f"{detail}; send {quoted(names) if names is not None else f'{width} columns'}")
    if given == wanted:
        return None
    places = {name: index for index, name in enumerate(given)}
    return [places[name] for name in wanted]


def _extra(given: Sequence[str], names: tuple[str, ...] | None) -> int:
    """How many of the columns the model does not have; where it has no names, none can be told."""
    return 0 if names is None else len(given) - len(names)


def _csv_order(header: list[str], manifest: Manifest) -> list[int] | None:
    if not header:
        raise InvalidInput("the body is empty; send CSV with a header row")
    names = manifest.feature_names
    if header[0] == "" and (names is None or "" not in names):
        raise InvalidInput("column 0 has no name in the header, as pandas writes an index; leave it out (index=False)")
    return _order(header, names, manifest.n_features, None)


def _csv_numbers(row: list[str], index: int, order: Sequence[int] | None, cells: Cells) -> Iterator[float]:
    """Cells in the model's order; a missing value is NaN."""
    for column, cell in enumerate(row if order is None else [row[place] for place in order]):
        text = cell.strip()
        # float() also takes underscores, words for infinity and other scripts' digits.
        if _NUMBER_CHARACTERS.issuperset(text) and text:
            with contextlib.suppress(ValueError):
                yield float(text)
                continue
        if text not in _WORDS:
            raise cells.refused(index, column, f"is {cell[:100]!r}; {cells.send}")
        yield _WORDS[text]


def _invalid(path: tuple[str | int, ...] | None, detail: str) -> InvalidInput:
    return InvalidInput(detail, [] if path is None else [FieldError(pointer=pointer(*path), detail=detail)])
