"""The quick way through a body of `/predict`: a matrix if everything is surely right, else nothing.

It never explains. What it does not take goes the careful way (`codec`), which either takes it after all or says what is
wrong; a test holds the two to the same answers. Small bodies are read by msgspec into typed lists. Large ones are read
by simdjson into one flat buffer of doubles; that buffer does not know where rows end, so the body's skeleton, which is
what is left of it without everything but brackets and commas, is compared with the one that the matrix must have.
"""

from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import simdjson

from fairlead_service.models.backends import Matrix, Want

_SMALL: Final = 2048
"""Bytes; below, building lists costs less than setting up the flat buffer."""
_KEYS: Final = frozenset({"features", "probabilities", "scores"})
_ALL_BUT_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b"[]{},")
_WANTS: Final = {(p, s): Want(p, s) for p in (False, True) for s in (False, True)}


class Decoded(NamedTuple):
    matrix: Matrix
    """Shape (n, width), C-contiguous, every value finite."""
    want: Want
    extra: int = 0
    """Columns of the request that the model does not have, and that were ignored."""


class _Small(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    features: list[list[float]]
    probabilities: bool | msgspec.UnsetType = msgspec.UNSET
    scores: bool | msgspec.UnsetType = msgspec.UNSET


_small: Final = msgspec.json.Decoder(_Small)


class Decoder:
    """Keeps the large bodies' parser, so it is for one thread."""

    def __init__(self) -> None:
        self._parser = simdjson.Parser()

    def decode(self, body: bytes, width: int, max_rows: int) -> Decoded | None:
        """The matrix in a body of `/predict` with rows of `width` numbers; None if the careful way has to look."""
        return _decode_small(body, width, max_rows) if len(body) < _SMALL else self._large(body, width, max_rows)

    def _large(self, body: bytes, width: int, max_rows: int) -> Decoded | None:
        skeleton = body.translate(None, _ALL_BUT_STRUCTURE)
        rows = skeleton.count(b"[") - 1
        if not 0 < rows <= max_rows or width == 0:
            return None
        lists = b"[" + b",".join([b"[" + b"," * (width - 1) + b"]"] * rows) + b"]"
        try:
            document: Any = self._parser.parse(body)
            keys: list[str] = list(document.keys())
            if len(keys) > len(_KEYS):  # each look-up below walks over all of them
                return None
            wants: dict[str, Any] = {key: document[key] for key in keys if key != "features"}
            values = np.frombuffer(document["features"].as_buffer(of_type="d"), np.float64)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
            self._parser = simdjson.Parser()  # the old one may still be held by what was half read
            return None
        before = keys.index("features")
        if (
            skeleton != b"{" + b"," * before + lists + b"," * (len(keys) - before - 1) + b"}"
            or not wants.keys() <= _KEYS
            or not all(value is True or value is False for value in wants.values())
            or len(wants) + 1 != len(keys)  # a key came twice
            or body.count(b'"') != 2 * len(keys)  # all strings are keys
            or len(values) != rows * width
            or not np.isfinite(values).all()
        ):
            return None
        want = _WANTS[wants.get("probabilities", False), wants.get("scores", False)]
        return Decoded(values.reshape(rows, width), want)


def _decode_small(body: bytes, width: int, max_rows: int) -> Decoded | None:
    try:
        request = _small.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    rows = request.features
    count = len(rows)
    if count == 1:
        if len(rows[0]) != width:
            return None
    elif not 0 < count <= max_rows or set(map(len, rows)) != {width}:
        return None
    probabilities, scores = request.probabilities, request.scores
    keys = 1
    if probabilities is msgspec.UNSET:
        probabilities = False
    else:
        keys += 1
    if scores is msgspec.UNSET:
        scores = False
    else:
        keys += 1
    if body.count(b'"') != 2 * keys or width == 0:  # a key came twice
        return None
    if count == 1:
        matrix = np.array(rows, np.float64)
    else:
        matrix = np.fromiter(chain.from_iterable(rows), np.float64, count * width).reshape(count, width)
    return Decoded(matrix, _WANTS[probabilities, scores])
