"""Tables as files: what becomes of their columns, and what is refused with its column and row."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.contract import TrainingReason
from fairlead_service.training import table
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.request import MATRIX_FILE, TrainingRequest

IRIS = pd.DataFrame({"length": [5.1, 4.9, 6.2], "count": [1, 2, 3], "wet": [True, False, True], "kind": list("aba")})


def read(path: Path, **fields: Any) -> table.Table:
    request = TrainingRequest.model_validate({"algorithm": "a", "data_file": path.name} | fields)
    return table.read(request, path.parent, None)


@pytest.fixture(params=["data.csv", "data.parquet"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def to(frame: pd.DataFrame) -> Path:
        path = tmp_path / str(request.param)
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False)
        return path

    return to


def refused(path: Path, **fields: Any) -> TrainingError:
    with pytest.raises(TrainingError) as caught:
        read(path, **fields)
    assert caught.value.reason is TrainingReason.INVALID_DATA
    return caught.value


def test_columns_become_features_and_target(write: Any) -> None:
    found = read(write(IRIS), target_column="kind")
    assert found.feature_names == ["length", "count", "wet"]
    assert found.x.tolist() == [[5.1, 1, 1], [4.9, 2, 0], [6.2, 3, 1]]
    assert found.target == ["a", "b", "a"]


@pytest.mark.parametrize(("column", "labels"), [("count", [1, 2, 3]), ("wet", [True, False, True])])
def test_labels_keep_their_type(write: Any, column: str, labels: list[Any]) -> None:
    found = read(write(IRIS), target_column=column, feature_names=["length"])
    assert found.target == labels
    assert list(map(type, found.target)) == list(map(type, labels))
    assert found.feature_names == ["length"]


@pytest.mark.parametrize(
    ("frame", "fields", "where", "words"),
    [
        (IRIS, {}, "/target_column", "target_column is missing: which of the columns are length, count"),
        (IRIS, {"target_column": "knid"}, "/target_column", "no column 'knid'; did you mean 'kind'"),
        (IRIS, {"target_column": "count"}, "/data", "column 'kind' is text, such as 'a'"),
        (IRIS, {"target_column": "kind", "feature_names": ["lenght"]}, "/feature_names", "did you mean 'length'"),
        (IRIS, {"target_column": "kind", "feature_names": ["kind"]}, "/feature_names", "is the target"),
        (IRIS[["kind"]], {"target_column": "kind"}, "/data", "no column but the target"),
        (IRIS, {"target_column": "kind", "limits": {"rows": 2}}, "/data", "more rows than the 2"),
        (IRIS, {"target_column": "kind", "limits": {"columns": 3}}, "/data", "4 columns, and a training may have 3"),
        (
            IRIS.assign(length=[5.1, None, 6.2]),
            {"target_column": "kind"},
            "/data",
            "column 'length' has no value in row 1",
        ),
        (
            IRIS.assign(length=[5.1, 1.0, np.inf]),
            {"target_column": "kind"},
            "/data",
            "column 'length' has inf in row 2",
        ),
        (IRIS.assign(kind=["a", None, "b"]), {"target_column": "kind"}, "/data", "'kind' has no value in row 1"),
    ],
)
def test_what_is_refused(write: Any, frame: pd.DataFrame, fields: dict[str, Any], where: str, words: str) -> None:
    error = refused(write(frame), **fields)
    assert words in error.message
    assert error.where == where


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00a", b"a,b\n1,2\n3,4,5\n", b'a,"b\n1,2\n'])
def test_no_csv(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    assert refused(path, target_column="b").where in ("/data", "/target_column")


def test_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"a,b\n1,2\n")
    assert "no Parquet file" in refused(path, target_column="b").message


def test_names_that_are_there_twice(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "data.parquet"
    twice = pyarrow.Table.from_arrays([pyarrow.array([1, 2]), pyarrow.array([3, 4])], names=["a", "a"])
    pyarrow.parquet.write_table(twice, path)
    assert "more than one column 'a'" in refused(path, target_column="a").message


def test_a_date_is_no_label(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pd.DataFrame({"a": [1.0, 2.0], "day": pd.to_datetime(["2026-01-01", "2026-01-02"])}).to_parquet(path)
    assert "no text, number or boolean" in refused(path, target_column="day").message
    assert "column 'day' is datetime64" in refused(path, target_column="a").message


def test_a_small_file_of_endless_rows_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pd.DataFrame({"a": np.zeros(3_000_000), "b": np.zeros(3_000_000, bool)}).to_parquet(path)
    assert path.stat().st_size < 100_000
    assert "more rows than the 1000000" in refused(path, target_column="b").message


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53)), min_size=1))
def test_numbers_arrive_exactly(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, int]]) -> None:
    frame = pd.DataFrame({"a": [row[0] for row in rows], "b": [row[1] for row in rows]})
    for name in ("data.csv", "data.parquet"):
        path = tmp_path_factory.getbasetemp() / name
        frame.to_csv(path, index=False) if name.endswith("csv") else frame.to_parquet(path)
        found = read(path, target_column="b")
        assert found.x[:, 0].tolist() == [row[0] for row in rows]
        assert list(found.target) == [row[1] for row in rows]


def matrix(directory: Path, data: Any, **options: Any) -> table.Table:
    np.save(directory / MATRIX_FILE, data, **options)
    return table.read(TrainingRequest(algorithm="a", target=[0, 1]), directory, None)


def test_a_matrix(tmp_path: Path) -> None:
    found = matrix(tmp_path, np.array([[1, 2], [3, 4]]))
    assert found.x.dtype == np.float64
    assert found.x.tolist() == [[1, 2], [3, 4]]
    (tmp_path / MATRIX_FILE).write_bytes(b"")
    with pytest.raises(TrainingError, match="can't be read"):
        table.read(TrainingRequest(algorithm="a", target=[0, 1]), tmp_path, None)


def test_pickled_data_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="pickle"):
        matrix(tmp_path, np.array([{}], dtype=object), allow_pickle=True)
