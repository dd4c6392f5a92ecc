"""CSV files, read without a guess: every cell is the text that is in the file, and a row that does not fit is refused.

What a column holds is for `table` to say. Readers that guess make `Unnamed: 0` of an index, `x.1` of a name that is
there twice, 7 of the label 007, and nothing of the label NA.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fairlead_service.training.errors import invalid_data
from fairlead_service.training.request import Limits
from fairlead_service.training.sizes import check_columns, check_rows

if TYPE_CHECKING:
    import pyarrow as pa

_HEADER_BYTES: Final = 4 * 2**20
_BLOCK_BYTES: Final = 8 * 2**20
"""Longest row."""
_WHAT: Final = "the data are no CSV file with a header line, in UTF-8"
_BOM: Final = b"\xef\xbb\xbf"


def header(path: Path, limits: Limits) -> list[str]:
    """The names of the columns. Raises TrainingError(InvalidData) for more than `limits` has."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES + 1)
    whole = len(start) <= _HEADER_BYTES
    try:
        text = start.removeprefix(_BOM).decode("utf-8", "strict" if whole else "ignore")
        rows = csv.reader(io.StringIO(text, newline=""), strict=whole)
        names = next((row for row in rows if row), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise invalid_data(f"{_WHAT}: {str(error)[:200]}", "/data") from error
    if not names:
        raise invalid_data(f"{_WHAT}: it is empty", "/data")
    if not whole and rows.line_num > 0 and len(",".join(names)) >= _HEADER_BYTES - len(names):
        raise invalid_data(f"{_WHAT}: its header has more than {_HEADER_BYTES} bytes", "/data")
    check_columns(limits, len(names))
    return names


def cells(path: Path, names: Sequence[str], wanted: Sequence[int], limits: Limits) -> "list[pa.ChunkedArray]":
    """The columns at these positions, as text. Raises TrainingError(InvalidData) for rows of another length than the
    header, more rows than `limits` has, or none."""
    import pyarrow as pa
    import pyarrow.csv

    _check_quotes(path)
    keys = [f"{position}" for position in range(len(names))]
    chosen = [keys[position] for position in wanted]
    chunks: list[list[pa.Array]] = [[] for _ in chosen]
    rows = 0
    try:
        with pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(column_names=keys, skip_rows_after_names=1, block_size=_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(chosen, pa.string()), include_columns=chosen, strings_can_be_null=False
            ),
        ) as reader:
            for batch in reader:
                rows += batch.num_rows
                check_rows(limits, rows)
                for position, kept in enumerate(chunks):
                    kept.append(batch.column(position))
    except pa.ArrowInvalid as error:
        if rows == 0 and "straddling" in str(error):  # a header without a line break
            raise _no_rows() from error
        raise invalid_data(f"{_WHAT}: {_plain(str(error))}", "/data") from error
    if rows == 0:
        raise _no_rows()
    return [pa.chunked_array(kept, type=pa.string()) for kept in chunks]


def _check_quotes(path: Path) -> None:
    """A quotation mark that is never closed would make one cell of all that follows."""
    count = 0
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            count += chunk.count(b'"')
    if count % 2:
        raise invalid_data(f"{_WHAT}: a quotation mark is not closed; write one within a cell twice", "/data")


def _no_rows() -> Exception:
    return invalid_data("the data have a header and no rows", "/data")


def _plain(message: str) -> str:
    return message.strip().removeprefix("CSV parse error: ")[:300].encode("utf-8", "replace").decode()
