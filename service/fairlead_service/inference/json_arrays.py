"""Arrays that a model answers → JSON, exactly: every label keeps its value and kind, every number its bits. Pure.

orjson writes arrays of the machine's own types by itself, but a float32 by the digits that tell it from other float32s,
which is another number to a reader of doubles; and it refuses what has another order of bytes. Long arrays are written
in slices, because one call keeps the interpreter from every other thread until it returns.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

SLICE_VALUES: Final = 2**15
"""Most values that are written in one call: a millisecond or two of doubles."""
_WRITTEN_AS_THEY_ARE: Final = frozenset("?bhilqBHILQdUO")
"""Kinds of arrays that need no conversion, by `dtype.char`."""
_FLOAT64: Final = np.dtype(np.float64)
_INT64: Final = np.dtype(np.int64)


def dumps(values: NDArray[Any]) -> bytes:
    """A JSON list, nested as the array is. What JSON does not have (NaN, infinities) becomes null."""
    if values.size <= SLICE_VALUES:
        return _write(values)
    return b"[" + b",".join(_write(rows)[1:-1] for rows in slices(values)) + b"]"


def fragment(values: NDArray[Any]) -> orjson.Fragment:
    """The same as a part of a document that orjson writes."""
    return orjson.Fragment(dumps(values))


def slices(values: NDArray[Any], most: int = SLICE_VALUES) -> Iterator[NDArray[Any]]:
    """The rows of an array of at least one dimension in blocks of at most `most` values, but of one row at least."""
    rows = max(1, most * len(values) // max(values.size, 1))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]


def _write(values: NDArray[Any]) -> bytes:
    if values.dtype is not _FLOAT64 and values.dtype is not _INT64:  # rarely
        values = _as_written(values)
    return orjson.dumps(values, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _as_written(values: NDArray[Any]) -> NDArray[Any]:
    dtype = values.dtype
    if dtype.isnative and dtype.char in _WRITTEN_AS_THEY_ARE:
        return values
    if dtype.kind == "f":
        return values.astype(np.float64)
    return values.astype(dtype.newbyteorder("="))


def _plain(value: object) -> object:
    """What orjson asks for: arrays of strings and objects, those that are not contiguous, numpy's scalars in them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
