"""JSON bytes → matrix, outputs → JSON bytes. Pure: no model, no clock, no I/O.

This is the careful way: it takes everything that is right, and of everything else it names the place (row and column
counted from 0, as in the JSON pointer) and says what to send instead. Most bodies are read by `quick` before.
"""

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson

from fairlead_service.errors import FieldError, InvalidInput, MalformedBody, TooManyRows
from fairlead_service.inference import json_arrays
from fairlead_service.inference.matrix_checks import NUMBERS, OTHER_LISTS, kind, not_json, pointer, quoted
from fairlead_service.inference.quick import Decoded
from fairlead_service.models.backends import Matrix, Outputs, Want

_NUMBERS_OR_NULL: Final = NUMBERS | {type(None)}
_WANTS: Final = ("probabilities", "scores")
_NAMES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Expected:
    """What a matrix in a request must be."""

    field: str
    """The request's field, for messages."""
    max_rows: int
    n_features: int | None = None
    """None: whatever the first row has."""
    feature_names: tuple[str, ...] | None = None
    """Rows may be objects with these keys."""
    one_row: bool = False
    """Whether one row may be given as a flat list."""
    accepts_missing: bool = False
    """Whether null stands for a missing value (NaN in the matrix)."""


def decode_predict(body: bytes, expected: Expected) -> Decoded:
    """Reads the body of `/predict`. Raises MalformedBody, InvalidInput or TooManyRows."""
    document = parse_object(body, expected)
    unknown = document.keys() - {"features", *_WANTS}
    if unknown:
        known = ", ".join(("features", *_WANTS))
        raise _invalid(pointer(min(unknown)), f"unknown field {min(unknown)!r}; known are {known}")
    if "features" not in document:
        raise _invalid("/features", 'features is missing; send {"features": [[…], …]}')
    for name in _WANTS:
        if not isinstance(document.get(name, False), bool):
            raise _invalid(f"/{name}", f"{name} is {kind(document[name])}; send true or false")
    features, names, quotes, extra = document["features"], expected.feature_names, 2 * len(document), 0
    if names is not None and isinstance(features, list) and dict in map(type, features):
        features, extra = _by_name(features, expected, names)
        quotes += len(features) * sum(2 + name.count('"') for name in names)
    rows = matrix(features, expected)
    # All strings of a right body are its keys, so the quotes count them: cheaper than a parser that sees duplicates.
    if body.count(b'"') != quotes and has_duplicate_keys(body):
        raise MalformedBody("a key appears twice in the body; send each once")
    return Decoded(rows, Want(document.get("probabilities", False), document.get("scores", False)), extra)


def encode_predict(outputs: Outputs, identity: bytes, classes: bytes) -> bytes:
    """The answer of `/predict`: floats keep every bit, integers, strings and booleans keep their kind.

    `identity` is a part of a JSON object, `"run_id":"…"`; `classes` a JSON list, used beside probabilities and scores.
    """
    parts = [b'{"predictions":', json_arrays.dumps(outputs.predictions), b",", identity]
    if outputs.probabilities is not None or outputs.scores is not None:
        parts += [b',"classes":', classes]
    if outputs.probabilities is not None:
        parts += [b',"probabilities":', json_arrays.dumps(outputs.probabilities)]
    if outputs.scores is not None:
        parts += [b',"scores":', json_arrays.dumps(outputs.scores)]
    parts.append(b"}")
    return b"".join(parts)


def parse_object(body: bytes, expected: Expected) -> dict[str, Any]:
    """Parses a body that must be one JSON object and not more than `expected.max_rows` rows big.

    Raises TooManyRows before parsing when there are more lists than rows allowed, so that a body of empty lists
    can't take many times its size in memory; MalformedBody; InvalidInput for NaN and infinities.
    """
    if body.count(b"[") + body.count(b"{") > expected.max_rows + OTHER_LISTS:
        raise TooManyRows(
            f"{expected.field} has more than {expected.max_rows} rows, the most in one request; send several requests"
        )
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _malformed(body, error, expected) from None
    if not isinstance(document, dict):
        raise MalformedBody(f"the body is {kind(document)}; send a JSON object")
    return document


def has_duplicate_keys(body: bytes) -> bool:
    """Whether an object in a body that is known to be JSON has the same key twice. Slow: for small bodies.

    So has one that is too deep for Python's parser: all that is taken is flat, so a later key has hidden the depth.
    """
    found = False

    def pairs(items: list[tuple[str, object]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in items}) != len(items)

    try:
        json.loads(body, object_pairs_hook=pairs, parse_int=float)  # Python's integers have a limit of digits
    except RecursionError:
        return True
    return found


def matrix(value: object, expected: Expected) -> Matrix:
    """A JSON value as a float64 matrix of shape (n, p), C-contiguous. Raises InvalidInput or TooManyRows."""
    field = expected.field
    if not isinstance(value, list):
        raise _invalid(f"/{field}", f"{field} is {kind(value)}; send a list of rows of numbers")
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
            f"/{field}/{index}", f"{field}[{index}] (row {index}) is {kind(rows[index])}; send a list of numbers"
        )
    width = expected.n_features if expected.n_features is not None else len(rows[0])
    if width == 0 or set(map(len, rows)) != {width}:
        raise _wrong_width(rows, width, expected, flat)
    kinds = set(map(type, chain.from_iterable(rows)))
    if not kinds <= (_NUMBERS_OR_NULL if expected.accepts_missing else NUMBERS):
        raise _not_a_number(rows, expected, flat)
    values: Iterable[float] = chain.from_iterable(rows)
    if type(None) in kinds:
        values = (math.nan if value is None else value for value in values)
    result = np.fromiter(values, np.float64, len(rows) * width).reshape(len(rows), width)
    if np.isinf(result).any():  # JSON has no NaN, but 1e400 is one of its numbers
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
            if value is None and expected.accepts_missing:
                continue
            if type(value) not in NUMBERS or not math.isfinite(value):
                what = f"is {kind(value)}; {_send(expected)}"
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
            document = json.loads(body, parse_int=float)
    place = next(_not_finite(document), None)
    if place is None:
        return MalformedBody(not_json(body, error))
    path, value = place
    match path:
        case (expected.field, int(i), int(j)):
            return _problem(cell_error(i, j, f"is {kind(value)}; {_send(expected)}", expected))
        case (expected.field, int(j)):
            detail = f"{expected.field}[{j}] ({_column(j, expected)}) is {kind(value)}; {_send(expected)}"
            return _problem(FieldError(pointer=pointer(*path), detail=detail))
    return _invalid(pointer(*path), f"{pointer(*path)} is {kind(value)}; JSON has only finite numbers")


def _not_finite(document: object) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """Paths and values of numbers that are not finite, in document order."""
    stack: list[tuple[tuple[str | int, ...], Iterator[tuple[str | int, object]]]] = [((), _children(document))]
    while stack:
        path, children = stack[-1]
        key, value = next(children, (None, None))
        if key is None:
            stack.pop()
        elif isinstance(value, dict | list) and not _all_finite(value):
            stack.append(((*path, key), _children(value)))
        elif isinstance(value, float) and not math.isfinite(value):
            yield (*path, key), value


def _all_finite(value: object) -> bool:
    """Whether it is a list of nothing but finite numbers, which is what most lists are."""
    return isinstance(value, list) and set(map(type, value)) <= NUMBERS and all(map(math.isfinite, value))


def _children(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        return iter(value.items())
    return iter(enumerate(value)) if isinstance(value, list) else iter(())


def _by_name(rows: list[Any], expected: Expected, names: tuple[str, ...]) -> tuple[list[list[Any]], int]:
    """Rows given as objects, as lists in the order of the model's features; and how many other columns they have."""
    known, extra = frozenset(names), 0
    for index, row in enumerate(rows):
        where, place = f"/{expected.field}/{index}", f"{expected.field}[{index}] (row {index})"
        if type(row) is not dict:
            raise _invalid(where, f"{place} is {kind(row)} and another row is an object; send all rows alike")
        if not row.keys() >= known:
            missing = quoted([name for name in names if name not in row])
            raise _invalid(where, f"{place} is an object without {missing}; send a number for each of {quoted(names)}")
        extra = max(extra, len(row) - len(known))
    return [[row[name] for name in names] for row in rows], extra


def _send(expected: Expected) -> str:
    return f"send a finite number{', or null for a missing value' if expected.accepts_missing else ''}"


def _column(column: int, expected: Expected) -> str:
    names = expected.feature_names
    return f"column {column}, {names[column]}" if names and column < len(names) else f"column {column}"


def _invalid(pointer: str, detail: str) -> InvalidInput:
    return _problem(FieldError(pointer=pointer, detail=detail))


def _problem(error: FieldError) -> InvalidInput:
    return InvalidInput(error.detail, [error])
