"""JSON bytes → matrix, predictions → JSON bytes. Pure: no model, no clock, no I/O.

Every check names the place (row and column counted from 0, as in the JSON pointer) and says what to send instead.
The checks that every request pays run in C over whole lists; only when one fails is the offender searched for.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from fairlead_service.errors import FieldError, InvalidInput, MalformedBody, TooManyRows

Matrix = NDArray[np.float64]

_NUMBERS: Final = frozenset({int, float})
_KINDS: Final[Mapping[type, str]] = {
    bool: "a boolean",
    str: "a string",
    type(None): "null",
    list: "a list",
    dict: "an object",
    int: "a number",
    float: "a number",
}
_NAMES_SHOWN: Final = 20
_OTHER_LISTS: Final = 2000
"""Lists and objects that a body may have beside its rows (`hyperparameters`, `tags`)."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a matrix in a request must be."""

    field: str
    """The request's field, for messages."""
    max_rows: int
    n_features: int | None = None
    """None: whatever the first row has."""
    feature_names: tuple[str, ...] | None = None
    one_row: bool = False
    """Whether one row may be given as a flat list."""


@dataclass(frozen=True, slots=True)
class PredictRequest:
    matrix: Matrix
    """Shape (n, n_features), C-contiguous."""
    probabilities: bool


def decode_predict(body: bytes, expected: Expected) -> PredictRequest:
    """Reads the body of `/predict`. Raises MalformedBody, InvalidInput or TooManyRows."""
    document = parse_object(body, expected)
    unknown = document.keys() - {"features", "probabilities"}
    if unknown:
        raise _invalid(_pointer(min(unknown)), f"unknown field {min(unknown)!r}; known are features, probabilities")
    if "features" not in document:
        raise _invalid("/features", 'features is missing; send {"features": [[…], …]}')
    probabilities = document.get("probabilities", False)
    if not isinstance(probabilities, bool):
        raise _invalid("/probabilities", f"probabilities is {_kind(probabilities)}; send true or false")
    features = matrix(document["features"], expected)
    # All strings of a right body are its keys, so the quotes count them: cheaper than a parser that sees duplicates.
    if body.count(b'"') != 2 * len(document):
        raise MalformedBody("a key appears twice in the body; send each once")
    return PredictRequest(features, probabilities)


def encode_predict(predictions: NDArray[Any], identity: Mapping[str, object], **more: object) -> bytes:
    """The answer of `/predict`: floats keep every bit, integers, strings and booleans keep their kind."""
    return orjson.dumps(
        {"predictions": predictions, **identity, **more},
        default=_from_numpy,
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def parse_object(body: bytes, expected: Expected) -> dict[str, Any]:
    """Parses a body that must be one JSON object and not more than `expected.max_rows` rows big.

    Raises TooManyRows before parsing when there are more lists than rows allowed, so that a body of empty lists
    can't take many times its size in memory; MalformedBody; InvalidInput for NaN and infinities.
    """
    if body.count(b"[") + body.count(b"{") > expected.max_rows + _OTHER_LISTS:
        raise TooManyRows(
            f"{expected.field} has more than {expected.max_rows} rows, the most in one request; send several requests"
        )
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _malformed(body, error, expected) from None
    if not isinstance(document, dict):
        raise MalformedBody(f"the body is {_kind(document)}; send a JSON object")
    return document


def has_duplicate_keys(body: bytes) -> bool:
    """Whether an object in a body that is known to be JSON has the same key twice. Slow: for small bodies."""
    found = False

    def pairs(items: list[tuple[str, object]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in items}) != len(items)

    json.loads(body, object_pairs_hook=pairs)
    return found


def matrix(value: object, expected: Expected) -> Matrix:
    """A JSON value as a float64 matrix of shape (n, p), C-contiguous. Raises InvalidInput or TooManyRows."""
    field = expected.field
    if not isinstance(value, list):
        raise _invalid(f"/{field}", f"{field} is {_kind(value)}; send a list of rows of numbers")
    if not value:
        raise _invalid(f"/{field}", f"{field} is empty; send at least one row")
    flat = expected.one_row and not isinstance(value[0], list | dict)
    rows: list[Any] = [value] if flat else value
    if len(rows) > expected.max_rows:
        raise TooManyRows(
            f"{field} has {len(rows)} rows; at most {expected.max_rows} in one request, so send several requests"
        )
    if set(map(type, rows)) != {list}:
        index = next(i for i, row in enumerate(rows) if type(row) is not list)
        raise _invalid(
            f"/{field}/{index}", f"{field}[{index}] (row {index}) is {_kind(rows[index])}; send a list of numbers"
        )
    width = expected.n_features if expected.n_features is not None else len(rows[0])
    if width == 0 or set(map(len, rows)) != {width}:
        raise _wrong_width(rows, width, expected, flat)
    if not set(map(type, chain.from_iterable(rows))) <= _NUMBERS:
        raise _not_a_number(rows, expected, flat)
    result = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * width).reshape(len(rows), width)
    if not np.isfinite(result).all():
        raise _not_a_number(rows, expected, flat)
    return result


def cell_error(row: int, column: int, what: str, expected: Expected) -> FieldError:
    """An error at one value of a matrix (given as rows)."""
    return FieldError(
        pointer=f"/{expected.field}/{row}/{column}",
        detail=f"{expected.field}[{row}][{column}] (row {row}, {_column(column, expected)}) {what}",
    )


def _wrong_width(rows: Sequence[list[Any]], width: int, expected: Expected, flat: bool) -> InvalidInput:
    field = expected.field
    index = next((i for i, row in enumerate(rows) if len(row) != width), 0)
    found = len(rows[index])
    where, place = (f"/{field}", field) if flat else (f"/{field}/{index}", f"{field}[{index}] (row {index})")
    if found == 0:
        return _invalid(where, f"{place} is empty; send {width or 'at least one'} value{'s' if width != 1 else ''}")
    if expected.n_features is None:
        return _invalid(
            where, f"{place} has {found} values and row 0 has {width}; every row must have the same number of values"
        )
    names = expected.feature_names
    listed = f" ({', '.join(names)})" if names is not None and len(names) <= _NAMES_SHOWN else ""
    return _invalid(where, f"{place} has {found} values, expected {width}{listed}; send one value per feature")


def _not_a_number(rows: Sequence[list[Any]], expected: Expected, flat: bool) -> InvalidInput:
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if type(value) not in _NUMBERS or not math.isfinite(value):
                what = f"is {_kind(value)}; send a finite number"
                if flat:
                    detail = f"{expected.field}[{j}] ({_column(j, expected)}) {what}"
                    return _problem(FieldError(pointer=f"/{expected.field}/{j}", detail=detail))
                return _problem(cell_error(i, j, what, expected))
    raise AssertionError("every value is a finite number")


def _malformed(body: bytes, error: orjson.JSONDecodeError, expected: Expected) -> MalformedBody | InvalidInput:
    """Python's own json writes NaN and Infinity, which are not JSON: say where they are instead of 'bad character'."""
    document = None
    if b"NaN" in body or b"Infinity" in body or "infinity" in str(error):
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(body)
    place = next(_not_finite(document), None)
    if place is None:
        return MalformedBody(f"the body is not valid JSON: {error}; send one JSON object, encoded as UTF-8")
    path, value = place
    match path:
        case (expected.field, int(i), int(j)):
            return _problem(cell_error(i, j, f"is {_kind(value)}; send a finite number", expected))
        case (expected.field, int(j)):
            detail = f"{expected.field}[{j}] ({_column(j, expected)}) is {_kind(value)}; send a finite number"
            return _problem(FieldError(pointer=_pointer(*path), detail=detail))
    return _invalid(_pointer(*path), f"{_pointer(*path)} is {_kind(value)}; JSON has only finite numbers")


def _not_finite(document: object) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """Paths and values of numbers that are not finite, in document order."""
    stack: list[tuple[tuple[str | int, ...], Iterator[tuple[str | int, object]]]] = [((), _children(document))]
    while stack:
        path, children = stack[-1]
        key, value = next(children, (None, None))
        if key is None:
            stack.pop()
        elif isinstance(value, dict | list):
            stack.append(((*path, key), _children(value)))
        elif isinstance(value, float) and not math.isfinite(value):
            yield (*path, key), value


def _children(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        return iter(value.items())
    return iter(enumerate(value)) if isinstance(value, list) else iter(())


def _column(column: int, expected: Expected) -> str:
    names = expected.feature_names
    return f"column {column}, {names[column]}" if names and column < len(names) else f"column {column}"


def _kind(value: object) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, float) and math.isinf(value):
        return "infinite"
    return _KINDS.get(type(value), type(value).__name__)


def _pointer(*path: str | int) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _invalid(pointer: str, detail: str) -> InvalidInput:
    return _problem(FieldError(pointer=pointer, detail=detail))


def _problem(error: FieldError) -> InvalidInput:
    return InvalidInput(error.detail, [error])


def _from_numpy(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
