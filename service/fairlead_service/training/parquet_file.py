"""Parquet files: one column at a time, typed by the file itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairlead_service.models.bundle import Label
from fairlead_service.training.errors import TrainingError, invalid_data
from fairlead_service.training.request import Limits
from fairlead_service.training.sizes import check_columns, check_rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

_INDEX: Final = "__index_level_"
"""How pandas calls an index that has no name."""


@contextmanager
def opened(path: Path, limits: Limits) -> "Iterator[pq.ParquetFile]":
    """A file within the limits, whatever it unpacks to. Raises TrainingError(InvalidData), also for what is raised
    within: reading may find what opening did not."""
    import pyarrow
    import pyarrow.parquet

    try:
        # Text stays a dictionary: a file of a few kilobytes may repeat one long word a million times.
        text = _text_columns(path)
        with pyarrow.parquet.ParquetFile(path, read_dictionary=text) as file:
            check_rows(limits, file.metadata.num_rows)
            check_columns(limits, file.metadata.num_columns)
            if file.metadata.num_rows == 0:
                raise invalid_data("the data have no rows", "/data")
            _check_index(file)
            yield file
    except (TrainingError, MemoryError):
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise invalid_data(f"the data are no Parquet file: {str(error).strip()[:300]}", "/data") from error


def check_feature(file: "pq.ParquetFile", name: str) -> None:
    """Raises TrainingError(InvalidData) for a column that has no numbers and no booleans."""
    import pyarrow as pa

    kind = file.schema_arrow.field(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        text = _is_text(kind) or pa.types.is_dictionary(kind)
        raise invalid_data(
            f"column {name!r} is {'text' if text else kind}{_such_as(file, name) if text else ''}; features are "
            "numbers: leave the column out by feature_names, or encode it",
            "/data",
        )


def numbers(file: "pq.ParquetFile", name: str) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """A column of numbers or booleans, all finite. Raises TrainingError(InvalidData)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _column(file, name)
    if column.null_count:
        row = pc.index(pc.is_null(column), pa.scalar(True)).as_py()
        raise invalid_data(f"column {name!r} has no value in row {row}; fill or leave out such rows", "/data")
    found = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        value = "no value" if np.isnan(found[bad[0]]) else str(found[bad[0]])
        raise invalid_data(f"column {name!r} has {value} in row {bad[0]}; fill or leave out such rows", "/data")
    return found


def labels(file: "pq.ParquetFile", name: str) -> list[Label]:
    """A column of text, numbers or booleans as it is. Raises TrainingError(InvalidData)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _column(file, name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        message = f"the target {name!r} is {kind}, which is no text, number or boolean"
        raise invalid_data(message, "/data")
    missing = pc.is_null(column, nan_is_null=True)
    if pc.any(missing).as_py():
        raise invalid_data(f"the target {name!r} has no value in row {pc.index(missing, True).as_py()}", "/data")
    found: list[Label] = column.to_pylist()
    return found


def _column(file: "pq.ParquetFile", name: str) -> "pa.ChunkedArray":
    return file.read(columns=[name]).column(name)


def _text_columns(path: Path) -> list[str]:
    import pyarrow.parquet

    return [field.name for field in pyarrow.parquet.read_schema(path) if _is_text(field.type)]


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _such_as(file: "pq.ParquetFile", name: str) -> str:
    first = next(file.iter_batches(batch_size=1, columns=[name])).column(0)[0].as_py()
    return f", such as {str(first)[:50]!r}"


def _check_index(file: "pq.ParquetFile") -> None:
    for name in file.schema_arrow.names:
        if name.startswith(_INDEX):
            message = f"column {name!r} is an index of pandas without a name; leave it out (index=False) or name it"
            raise invalid_data(message, "/data")
