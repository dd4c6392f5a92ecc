"""The quick way through a body of `/predict`: a matrix if everything is surely right, else nothing.

It never explains. What it does not take goes the careful way (`codec`), which either takes it after all or says what is
wrong; a test holds the two to the same answers. Small bodies are read by msgspec into typed lists. Large ones are cut
at the ends of rows into pieces, so that no call keeps the interpreter for long; simdjson reads each into one flat
buffer of doubles. That buffer does not know where rows end, so the piece's skeleton, which is what is left of it
without everything but brackets and commas, is compared with the one that the rows must have.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import simdjson

from fairlead_service.models.backends import Matrix, Want

_SMALL: Final = 2048
"""Bytes; below, building lists costs less than setting up the flat buffer."""
PIECE_BYTES: Final = 2**16
"""A third of a millisecond."""
_LONG_NUMBER: Final = 32
"""Bytes. Rows of longer ones on the average go the careful way."""
_WHITESPACE: Final = b" \t\n\r"
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
    """Keeps the large bodies' parser, so it is for one thread. `piece`: bytes of a large body that are read in one
    call, up to the end of a row."""

    def __init__(self, piece: int = PIECE_BYTES) -> None:
        self._parser = simdjson.Parser()
        self._piece = piece

    def decode(self, body: bytes, width: int, max_rows: int) -> Decoded | None:
        """The matrix in a body of `/predict` with rows of `width` numbers; None if the careful way has to look."""
        return _decode_small(body, width, max_rows) if len(body) < _SMALL else self._large(body, width, max_rows)

    def _large(self, body: bytes, width: int, max_rows: int) -> Decoded | None:
        start, end = body.find(b"[") + 1, body.rfind(b"]")
        want = _want(body[:start] + body[end:]) if 0 < start < end and width > 0 else None
        if want is None:
            return None
        matrices, rows = [], 0
        for piece in _pieces(body, start, end, self._piece, PIECE_BYTES + width * _LONG_NUMBER):
            found = self._numbers(piece, width)
            if found is None or rows + len(found) > max_rows:
                return None
            matrices.append(found)
            rows += len(found)
        return Decoded(matrices[0] if len(matrices) == 1 else np.concatenate(matrices), want)

    def _numbers(self, piece: bytes | None, width: int) -> Matrix | None:
        """Rows as they are in a body, with commas between them, as a matrix; None if they are not surely right."""
        if piece is None:
            return None
        skeleton = piece.translate(None, _ALL_BUT_STRUCTURE)
        rows = skeleton.count(b"[")
        if len(skeleton) != rows * (width + 2) - 1:  # before anything of that size is built
            return None
        if skeleton != b",".join([b"[" + b"," * (width - 1) + b"]"] * rows):
            return None
        try:
            document: Any = self._parser.parse(b"[%b]" % piece)
            values = np.frombuffer(document.as_buffer(of_type="d"), np.float64)
        except (ValueError, TypeError, RuntimeError):
            self._parser = simdjson.Parser()  # the old one may still be held by what was half read
            return None
        if len(values) != rows * width or not np.isfinite(values).all():
            return None
        return values.reshape(rows, width)


def _want(frame: bytes) -> Want | None:
    """What is asked for by a body without its rows; None if anything about it needs a closer look."""
    try:
        request = _small.decode(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    probabilities, scores = request.probabilities, request.scores
    keys = 1 + (probabilities is not msgspec.UNSET) + (scores is not msgspec.UNSET)
    if request.features or frame.count(b'"') != 2 * keys:  # a key came twice
        return None
    return _WANTS[probabilities is True, scores is True]


def _pieces(body: bytes, start: int, end: int, size: int, longest: int) -> Iterator[bytes | None]:
    """The rows between two places of a body, some `size` bytes of them at a time, without the commas between the
    pieces. None where a comma is missing, or the end of a row for too long."""
    first = True
    while start < end:
        stop = body.find(b"]", start + size, end) + 1 or end
        piece = body[start:stop]
        if stop - start > longest:
            yield None
        elif first:
            yield piece
        else:
            piece = piece.lstrip(_WHITESPACE)
            if piece:  # else it is what stands before the end of the list
                yield piece[1:] if piece.startswith(b",") else None
        start, first = stop, False


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
