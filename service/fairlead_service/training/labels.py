"""The target's cells in a CSV file, which are text, as labels or numbers. Pure.

Labels stay what they are: `007`, `1e3`, `1.10` and `NA` are text, and come back as they were written. Only where every
label is written as JSON writes an integer, or as a boolean, are they integers or booleans.
"""

import re
from collections.abc import Sequence
from typing import Final

from fairlead_service.models.bundle import Label
from fairlead_service.training.errors import invalid_data

_INTEGER: Final = re.compile(r"-?[1-9][0-9]{0,18}|0")
NUMBER: Final = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
"""As people and programs write numbers; no hexadecimal digits, underscores or words."""
_NUMBER: Final = re.compile(NUMBER, re.ASCII)
_BOOLEANS: Final = ({"True": True, "False": False}, {"true": True, "false": False})
_INT64: Final = range(-(2**63), 2**63)
_MANY: Final = 100
"""Fractions that differ: more of them are measurements."""


def of_text(cells: Sequence[str], name: str) -> list[Label]:
    """What a classifier learns to answer. Raises TrainingError(InvalidData)."""
    kinds = set(cells)
    for words in _BOOLEANS:
        if kinds <= words.keys():
            return [words[cell] for cell in cells]
    if all(_INTEGER.fullmatch(cell) and int(cell) in _INT64 for cell in kinds):
        return [int(cell) for cell in cells]
    if len(kinds) > _MANY and all(map(_NUMBER.fullmatch, kinds)):
        fraction = next((cell for cell in cells if not float(cell).is_integer()), None)
        if fraction is not None:
            raise invalid_data(
                f"the target {name!r} has {len(kinds)} different numbers, such as {fraction[:40]}: a classifier takes "
                "labels, and these are measurements; round them into classes",
                "/data",
            )
    return list(cells)


def numbers_of_text(cells: Sequence[str], name: str) -> list[Label]:
    """What a regressor learns to answer. Raises TrainingError(InvalidData)."""
    for row, cell in enumerate(cells):
        if not _NUMBER.fullmatch(cell.strip()):
            raise invalid_data(f"the target {name!r} has {cell[:40]!r} in row {row}; numbers are needed", "/data")
    return [float(cell) for cell in cells]
