"""A training's data as they come (a matrix with its target, a CSV or Parquet file) → matrix, target and names.

Rows and columns over the limit are refused before they are held: a Parquet file of a few kilobytes can unpack to any
size. Features are numbers and booleans; nothing is guessed or filled in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairlead_service.models.bundle import Label
from fairlead_service.training.errors import invalid_data
from fairlead_service.training.plugins import suggestion
from fairlead_service.training.request import MATRIX_FILE, Limits, TrainingRequest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Table:
    x: "np.ndarray[Any, np.dtype[np.float64]]"
    """Shape (n, p)."""
    target: Sequence[Label]
    """n labels or numbers."""
    feature_names: list[str] | None


def read(request: TrainingRequest, directory: Path, fetched: Path | None) -> Table:
    """Raises TrainingError(InvalidData). `fetched`: the file that `data_uri` led to."""
    if request.target is not None:
        return _matrix(request, request.target, directory / MATRIX_FILE)
    assert fetched is not None or request.data_file is not None, "the server sends one of them"
    path = fetched or directory / str(request.data_file)
    frame = _parquet(path, request.limits) if path.suffix == ".parquet" else _csv(path, request.limits)
    return of_frame(frame, request.target_column, request.feature_names)


def of_frame(frame: "pd.DataFrame", target_column: str | None, feature_names: Sequence[str] | None) -> Table:
    """The target is one column, the features are all others, or those named. Raises TrainingError(InvalidData)."""
    columns = [str(name) for name in frame.columns]
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise invalid_data(f"the data have more than one column {twice[:100]!r}; names must differ", "/data")
    frame.columns = columns
    if target_column is None:
        raise invalid_data(f"target_column is missing: which of {_listed(columns)} is the target?", "/target_column")
    if target_column not in columns:
        hint = suggestion(target_column, columns)
        raise invalid_data(f"the data have no column {target_column!r}{hint}; {_listed(columns)}", "/target_column")
    names = list(feature_names) if feature_names is not None else [name for name in columns if name != target_column]
    for name in names:
        if name not in columns or name == target_column:
            what = "is the target" if name == target_column else f"is no column{suggestion(name, columns)}"
            raise invalid_data(f"feature {name!r} {what}; {_listed(columns)}", "/feature_names")
    if not names:
        raise invalid_data("the data have no column but the target", "/data")
    return Table(_features(frame, names), _labels(frame[target_column], target_column), names)


def _matrix(request: TrainingRequest, target: list[Label], path: Path) -> Table:
    import numpy as np

    try:
        data = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise invalid_data(f"the matrix can't be read: {error}", "/data") from error
    _check_size(request.limits, len(data), data.shape[1] if data.ndim == 2 else 0)
    return Table(np.ascontiguousarray(data, dtype=np.float64), target, request.feature_names)


def _csv(path: Path, limits: Limits) -> "pd.DataFrame":
    import pandas as pd

    try:
        columns = len(pd.read_csv(path, nrows=0).columns)
        _check_size(limits, 0, columns)
        frame = pd.read_csv(path, nrows=limits.rows + 1, low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError, OverflowError) as error:
        message = f"the data are no CSV file with a header line, in UTF-8: {str(error).strip()}"
        raise invalid_data(message, "/data") from error
    _check_size(limits, len(frame), columns)
    return frame


def _parquet(path: Path, limits: Limits) -> "pd.DataFrame":
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_size(limits, file.metadata.num_rows, file.metadata.num_columns)
            frame: pd.DataFrame = file.read().to_pandas()
            return frame
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise invalid_data(f"the data are no Parquet file: {str(error).strip()}", "/data") from error


def _check_size(limits: Limits, rows: int, columns: int) -> None:
    if rows > limits.rows:
        raise invalid_data(f"the data have more rows than the {limits.rows} that a training may have", "/data")
    if columns > limits.columns:
        message = f"the data have {columns} columns, and a training may have {limits.columns}"
        raise invalid_data(message, "/data")


def _features(frame: "pd.DataFrame", names: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    import numpy as np
    import pandas as pd

    x = np.empty((len(frame), len(names)))
    for column, name in enumerate(names):
        values = frame[name]
        if not (pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)):
            kind = "text" if pd.api.types.is_string_dtype(values) else str(values.dtype)
            raise invalid_data(
                f"column {name!r} is {kind}, such as {str(values.iloc[0])[:50]!r}; features are numbers: "
                "leave the column out by feature_names, or encode it",
                "/data",
            )
        if pd.api.types.is_complex_dtype(values):
            raise invalid_data(f"column {name!r} has complex numbers; features are real", "/data")
        x[:, column] = values.to_numpy(dtype=np.float64, na_value=np.nan)
        bad = np.flatnonzero(~np.isfinite(x[:, column]))
        if len(bad):
            value = "no value" if np.isnan(x[bad[0], column]) else str(x[bad[0], column])
            raise invalid_data(f"column {name!r} has {value} in row {bad[0]}; fill or leave out such rows", "/data")
    return x


def _labels(values: "pd.Series[Any]", name: str) -> list[Label]:
    missing = values.isna().to_numpy()
    if missing.any():
        raise invalid_data(f"the target {name!r} has no value in row {int(missing.argmax())}", "/data")
    labels: list[Any] = values.tolist()
    odd = next((row for row, label in enumerate(labels) if not isinstance(label, bool | int | float | str)), None)
    if odd is not None:
        message = f"the target {name!r} has {str(labels[odd])[:50]!r} in row {odd}, which is no text, number or boolean"
        raise invalid_data(message, "/data")
    return labels


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(name[:50] for name in columns[:20])
    return f"the columns are {shown}{' …' if len(columns) > 20 else ''}"
