"""A training's data as they come (a matrix with its target, a CSV or Parquet file) → matrix, target and names.

Rows and columns over the limit are refused before they are held: a Parquet file of a few kilobytes can unpack to any
size. Features are numbers and booleans; nothing is guessed, renamed or filled in.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairlead_service.models.bundle import Label
from fairlead_service.training import csv_file, parquet_file
from fairlead_service.training.errors import invalid_data
from fairlead_service.training.labels import NUMBER
from fairlead_service.training.plugins import suggestion
from fairlead_service.training.request import MATRIX_FILE, TrainingRequest
from fairlead_service.training.sizes import check_columns, check_rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Matrix = np.ndarray[Any, np.dtype[np.float64]]

_TRUE: Final = ("True", "true", "TRUE")
_FALSE: Final = ("False", "false", "FALSE")
_MISSING: Final = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?"})
"""Only for messages: a feature without a value is refused, however that is written."""
_MAX_NAME: Final = 250


@dataclass(frozen=True)
class Table:
    x: "Matrix"
    """Shape (n, p)."""
    target: Sequence[Label]
    """n labels or numbers; or n cells of a CSV file, see `target_name`."""
    feature_names: list[str] | None
    target_name: str | None = None
    """The name of the target's column, if its cells are text that `labels` has to read."""


def read(request: TrainingRequest, directory: Path, fetched: Path | None) -> Table:
    """Raises TrainingError(InvalidData). `fetched`: the file that `data_uri` led to."""
    if request.target is not None:
        return _matrix(request, request.target, directory / MATRIX_FILE)
    assert fetched is not None or request.data_file is not None, "the server sends one of them"
    path = fetched or directory / str(request.data_file)
    return _parquet(request, path) if path.suffix == ".parquet" else _csv(request, path)


def _matrix(request: TrainingRequest, target: list[Label], path: Path) -> Table:
    import numpy as np

    try:
        data = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise invalid_data(f"the matrix can't be read: {error}", "/data") from error
    check_rows(request.limits, len(data))
    check_columns(request.limits, data.shape[1] if data.ndim == 2 else 0)
    return Table(np.ascontiguousarray(data, dtype=np.float64), target, request.feature_names)


def _csv(request: TrainingRequest, path: Path) -> Table:
    names = csv_file.header(path, request.limits)
    target, features = _chosen(names, request.target_column, request.feature_names)
    found = csv_file.cells(path, names, [target, *features], request.limits)
    labels: list[Label] = found[0].to_pylist()
    if "" in labels:
        raise invalid_data(f"the target {names[target]!r} has no value in row {labels.index('')}", "/data")
    kept = [names[position] for position in features]
    x = _joined([_numbers(name, column) for name, column in zip(kept, found[1:], strict=True)])
    return Table(x, labels, kept, target_name=names[target])


def _parquet(request: TrainingRequest, path: Path) -> Table:
    with parquet_file.opened(path, request.limits) as file:
        names = list(file.schema_arrow.names)
        target, features = _chosen(names, request.target_column, request.feature_names)
        kept = [names[position] for position in features]
        for name in kept:
            parquet_file.check_feature(file, name)
        labels = parquet_file.labels(file, names[target])
        return Table(_joined([parquet_file.numbers(file, name) for name in kept]), labels, kept)


def _chosen(
    names: Sequence[str], target_column: str | None, feature_names: Sequence[str] | None
) -> tuple[int, list[int]]:
    """Positions of the target and of the features: all other columns, or those named. Raises TrainingError."""
    _check_names(names)
    where = {name: position for position, name in enumerate(names)}
    if target_column is None:
        raise invalid_data(f"target_column is missing: which of {_listed(names)} is the target?", "/target_column")
    if target_column not in where:
        hint = suggestion(target_column, names)
        raise invalid_data(f"the data have no column {target_column!r}{hint}; {_listed(names)}", "/target_column")
    if feature_names is None:
        features = [position for name, position in where.items() if name != target_column]
    else:
        for name in feature_names:
            if name not in where or name == target_column:
                what = "is the target" if name == target_column else f"is no column{suggestion(name, names)}"
                raise invalid_data(f"feature {name!r} {what}; {_listed(names)}", "/feature_names")
        features = [where[name] for name in feature_names]
    if not features:
        raise invalid_data("the data have no column but the target", "/data")
    return where[target_column], features


def _check_names(names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if not name.strip():
            raise invalid_data(
                f"column {position} has no name in the header, as pandas writes an index; leave it out (index=False) "
                "or name it",
                "/data",
            )
        if len(name) > _MAX_NAME:
            raise invalid_data(f"column {position} has a name of more than {_MAX_NAME} characters", "/data")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise invalid_data(f"the data have more than one column {twice!r}; names must differ", "/data")


def _numbers(name: str, cells: "pa.ChunkedArray") -> "Matrix":
    """A column of text as numbers, or of true and false as 1 and 0. Raises TrainingError(InvalidData)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    words = pc.is_in(cells, pa.array([*_TRUE, *_FALSE]))
    if pc.all(words).as_py():
        return np.asarray(pc.cast(pc.is_in(cells, pa.array(_TRUE)), pa.uint8()).to_numpy(), dtype=np.float64)
    trimmed = pc.ascii_trim_whitespace(cells)
    right = pc.match_substring_regex(trimmed, f"^{NUMBER}$")
    if not pc.all(right).as_py():
        row = pc.index(right, pa.scalar(False)).as_py()
        raise _no_number(name, cells[row].as_py(), row)
    found = np.asarray(pc.cast(trimmed, pa.float64()).to_numpy())
    if not np.isfinite(found).all():
        row = int(np.argmin(np.isfinite(found)))
        raise _no_number(name, cells[row].as_py(), row)
    return found


def _no_number(name: str, cell: str, row: int) -> Exception:
    if cell.strip() in _MISSING:
        what = f"column {name!r} has no value in row {row}" + (f" ({cell!r})" if cell else "")
        return invalid_data(f"{what}; fill or leave out such rows", "/data")
    if cell.strip().lower().lstrip("+-") in ("inf", "infinity") or cell.strip()[:1].isdigit():
        what = f"column {name!r} has {cell[:50]!r} in row {row}, which is no finite number"
        return invalid_data(f"{what}; fill or leave out such rows", "/data")
    return invalid_data(
        f"column {name!r} is text, such as {cell[:50]!r} in row {row}; features are numbers: leave the column out by "
        "feature_names, or encode it",
        "/data",
    )


def _joined(columns: "Sequence[Matrix]") -> "Matrix":
    import numpy as np

    x = np.empty((len(columns[0]), len(columns)))
    for position, column in enumerate(columns):
        x[:, position] = column
    return x


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(name[:50] for name in columns[:20])
    return f"the columns are {shown}{' …' if len(columns) > 20 else ''}"
