"""A model's input example, parsed: its columns' names and its cells. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead_service.failures import corrupt, unsupported
from fairlead_service.loading.mlmodel import too_wide
from fairlead_service.loading.untrusted import json_document, parsing
from fairlead_service.models.bundle import MOST_COLUMNS

Rows = tuple[tuple[float, ...], ...]

_CELLS: Final = 2_000_000
_DATA: Final = ("data", "inputs", "instances", "dataframe_records")
_WHAT: Final = "the model's input example"


@dataclass(frozen=True)
class Example:
    names: tuple[str, ...] | None
    """Of its columns; None if they have none, or two have the same one."""
    rows: tuple[tuple[object, ...], ...]
    """Cells as JSON has them; at least one row, all of the same width."""

    @property
    def width(self) -> int:
        return len(self.rows[0])

    def is_odd(self, column: int) -> bool:
        """Whether the column has a cell that is neither a number nor missing."""
        return any(not isinstance(row[column], int | float | None) for row in self.rows)

    def numbers(self, columns: Sequence[int]) -> Rows | None:
        """These columns as numbers, without the rows that hold missing values; None if none is left.

        Raises LoadError(ModelUnsupported) for a cell that is no number.
        """
        matrix = (tuple(_number(row[column]) for column in columns) for row in self.rows)
        return tuple(row for row in matrix if row and all(map(math.isfinite, row))) or None


def parse(text: bytes) -> Example | None:
    """The example in a file as MLflow writes it: `split`, records, columns, lists or one row. None if it has no rows.

    Raises LoadError: ModelCorrupt if the file does not parse, ModelUnsupported if it is no table.
    """
    with parsing(_WHAT):
        document = json_document(text)
        names: Any = None
        if isinstance(document, dict):
            names = document.get("columns")
            document = next((document[key] for key in _DATA if key in document), document if names is None else None)
        if isinstance(document, dict):
            names, document = list(document), _turned(document)
        if not isinstance(document, list) or not document:
            return None
        if isinstance(document[0], dict):
            names, document = _records(document)
        elif not isinstance(document[0], list):
            document = [document]
        return _example(names if isinstance(names, list) else None, document)


def _example(names: list[Any] | None, rows: list[Any]) -> Example | None:
    if not all(isinstance(row, list) for row in rows):
        raise unsupported(f"{_WHAT} is not a matrix; Fairlead serves numeric matrices only")
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise corrupt(f"the rows of {_WHAT} differ in length")
    if width > MOST_COLUMNS:
        raise too_wide(width)
    if width * len(rows) > _CELLS:
        rows = rows[: max(1, _CELLS // width)]
    if names is not None and len(names) != width:
        raise corrupt(f"{_WHAT} has {len(names)} names for {width} columns")
    known = tuple(map(str, names)) if names is not None and len(set(map(str, names))) == width else None
    return Example(known, tuple(tuple(row) for row in rows)) if width else None


def _turned(columns: dict[str, Any]) -> list[list[Any]]:
    """Columns as rows; a number for each is one row."""
    if not any(isinstance(column, list) for column in columns.values()):
        return [list(columns.values())] if columns else []
    lists = [column if isinstance(column, list) else [column] for column in columns.values()]
    if len({len(column) for column in lists}) != 1:
        raise corrupt(f"the columns of {_WHAT} differ in length")
    return [list(row) for row in zip(*lists, strict=True)]


def _records(rows: list[Any]) -> tuple[list[str], list[list[Any]]]:
    names = list(rows[0])
    if not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        raise corrupt(f"the rows of {_WHAT} differ in their columns")
    return names, [[row[name] for name in names] for row in rows]


def _number(cell: object) -> float:
    if cell is None:
        return math.nan
    if isinstance(cell, int | float):
        try:
            return float(cell)
        except OverflowError:
            return math.inf
    if isinstance(cell, list | dict):
        raise unsupported(f"{_WHAT} is not a matrix; Fairlead serves numeric matrices only")
    raise unsupported(
        f"{_WHAT} holds {str(cell)[:80]!r}; Fairlead serves numeric matrices only: encode such columns before the model"
    )
