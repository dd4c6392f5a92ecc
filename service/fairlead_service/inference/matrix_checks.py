"""What the matrix of every protocol is held to, whatever it was read from: JSON, tensors in binary, CSV.

`codec` does the same for `/predict`, whose rows are always lists in one field. Here a value's place in the request is
for the protocol to say.
"""

import codecs
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from fairlead_service.errors import FieldError, InvalidInput, MalformedBody, Problem, TooManyRows
from fairlead_service.models.backends import Matrix

NUMBERS: Final = frozenset({int, float})
OTHER_LISTS: Final = 2000
"""Lists and objects that a body may have beside those of its rows."""
_NAMES_SHOWN: Final = 20
_CHARACTERS: Final = 100
_INT64_DIGITS: Final = 18
_KINDS: Final[Mapping[type, str]] = {
    bool: "a boolean",
    str: "a string",
    type(None): "null",
    list: "a list",
    dict: "an object",
    int: "a number",
    float: "a number",
}


@dataclass(frozen=True, slots=True)
class Cells:
    """How the values of a matrix are named in messages, and which of them may be missing."""

    names: tuple[str, ...] | None
    """The model's features, if they have names."""
    accepts_missing: bool
    pointer: Callable[[int, int], str] | None = None
    """Row and column to the JSON pointer of the value; None where the values are not JSON."""
    columns: Sequence[int] | None = None
    """Where the model's columns stand in the request, if not in the model's order."""
    problem: type[Problem] = InvalidInput

    def refused(self, row: int, column: int, what: str) -> Problem:
        """The problem that is at one value. `row` and `column` count from 0, in the model's order."""
        shown = column if self.columns is None else self.columns[column]
        name = f", {self.names[column][:_CHARACTERS]}" if self.names is not None else ""
        detail = f"row {row}, column {shown}{name} {what}"
        errors = [] if self.pointer is None else [FieldError(pointer=self.pointer(row, column), detail=detail)]
        return self.problem(detail, errors)

    @property
    def send(self) -> str:
        """What to send instead of a value that is refused."""
        if not self.accepts_missing:
            return "send a finite number (the model takes no missing values)"
        return f"send a finite number{'' if self.pointer is None else ', or null for a missing value'}"


def numbers(values: Sequence[object], width: int, cells: Cells, kinds: frozenset[type] = NUMBERS) -> Matrix:
    """JSON values, row by row, as a matrix of shape (len(values) / width, width), float64, C-contiguous.

    `kinds` are the Python types that values may have; None becomes NaN if the model takes missing values. Raises
    `cells.problem`. Whether the numbers are finite is for `check_finite` to say.
    """
    found = set(map(type, values))
    allowed = kinds | {type(None)} if cells.accepts_missing else kinds
    if not found <= allowed:
        index = next(i for i, value in enumerate(values) if type(value) not in allowed)
        instead = "send true or false" if kinds == {bool} else cells.send
        raise cells.refused(index // width, index % width, f"is {kind(values[index])}; {instead}")
    if type(None) in found:
        values = [math.nan if value is None else value for value in values]
    return np.array(values, np.float64).reshape(-1, width)


def check_finite(matrix: Matrix, cells: Cells) -> None:
    """Raises `cells.problem` at the first value of a matrix (n, p) that is infinite, or NaN if none may be missing."""
    if np.isfinite(matrix).all():
        return
    wrong = np.isinf(matrix) if cells.accepts_missing else ~np.isfinite(matrix)
    places = np.argwhere(wrong)
    if len(places):
        row, column = (int(index) for index in places[0])
        raise cells.refused(row, column, f"is {kind(float(matrix[row, column]))}; {cells.send}")


def json_object(body: bytes, lists: int, too_many: str) -> dict[str, Any]:
    """Parses a body that must be one JSON object with at most `lists` lists and objects in it.

    NaN and infinities, which are not JSON but which Python's clients write, become floats: what is done with them is
    for those who know their place to say. Raises MalformedBody, and TooManyRows with the text `too_many` before
    parsing, so that a body of empty lists can't take many times its size in memory.
    """
    if body.count(b"[") + body.count(b"{") > lists:
        raise TooManyRows(too_many)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _with_constants(body, error)
    if not isinstance(document, dict):
        raise MalformedBody(f"the body is {kind(document)}; send a JSON object")
    return document


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, float) and math.isinf(value):
        return "infinite"
    return _KINDS.get(type(value), type(value).__name__)


def quoted(names: Sequence[object]) -> str:
    """Names in a message, the first of them if they are many."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(repr(str(name)[:_CHARACTERS]) for name in names[:_NAMES_SHOWN]) + more


def pointer(*path: str | int) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _with_constants(body: bytes, error: orjson.JSONDecodeError) -> object:
    if not body.startswith(codecs.BOM_UTF8) and (b"NaN" in body or b"Infinity" in body or "infinity" in str(error)):
        try:
            return json.loads(body.decode(), parse_int=_integer)
        except (ValueError, RecursionError):
            pass
    raise MalformedBody(not_json(body, error)) from None


def not_json(body: bytes, error: orjson.JSONDecodeError) -> str:
    """What is wrong with a body that orjson does not take."""
    if body.startswith(codecs.BOM_UTF8):
        return "the body begins with a byte order mark, which JSON may not have (RFC 8259); send it without"
    return f"the body is not valid JSON: {error}; send one JSON object, encoded as UTF-8"


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INT64_DIGITS else float(digits)
