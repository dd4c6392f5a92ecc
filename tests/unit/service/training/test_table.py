"""Tables as files: what becomes of their columns, and what is refused with its column and row."""

import csv as quoting
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.contract import TrainingReason
from fairlead_service.training import data, labels, plugins, table
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.request import MATRIX_FILE, TrainingRequest

IRIS = pd.DataFrame({"length": [5.1, 4.9, 6.2], "count": [1, 2, 3], "wet": [True, False, True], "kind": list("aba")})


def read(path: Path, **fields: Any) -> table.Table:
    request = TrainingRequest.model_validate({"algorithm": "a", "data_file": path.name} | fields)
    return table.read(request, path.parent, None)


def labels_of(found: table.Table) -> list[Any]:
    """As a classifier learns them, and gives them back."""
    target = found.target
    if found.target_name is not None:
        target = labels.of_text([str(cell) for cell in target], found.target_name)
    back: list[Any] = data.label_array(target).tolist()
    return back


def csv(directory: Path, text: str | bytes) -> Path:
    path = directory / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


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


@pytest.mark.parametrize(("column", "expected"), [("count", [1, 2, 3]), ("wet", [True, False, True])])
def test_labels_keep_their_type(write: Any, column: str, expected: list[Any]) -> None:
    found = read(write(IRIS), target_column=column, feature_names=["length"])
    assert labels_of(found) == expected
    assert list(map(type, labels_of(found))) == list(map(type, expected))
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
            "inf",
        ),
        (IRIS.assign(kind=["a", None, "b"]), {"target_column": "kind"}, "/data", "'kind' has no value in row 1"),
        (IRIS[:0], {"target_column": "kind"}, "/data", "no rows"),
        (IRIS.rename(columns={"count": " "}), {"target_column": "kind"}, "/data", "column 1 has no name"),
    ],
)
def test_what_is_refused(write: Any, frame: pd.DataFrame, fields: dict[str, Any], where: str, words: str) -> None:
    error = refused(write(frame), **fields)
    assert words in error.message
    assert error.where == where


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"\xff\xfe\x00a", "no CSV file"),
        (b"a,b\n1,2\n3,4,5\n", "Expected 2 columns, got 3"),
        (b"a,b\n1,2,3\n4,5,6\n", "Expected 2 columns, got 3"),
        (b"a,b\n1,2\n3\n", "Expected 2 columns, got 1"),
        (b'a,"b\n1,2\n', "no CSV file"),
        (b'a,b\n1,"2\n3,4\n', "a quotation mark is not closed"),
        (b"a,b\n1,\xff\n", "can't decode byte 0xff"),
        (b"a,b", "a header and no rows"),
        (b"a,b\n", "a header and no rows"),
        (b",a,b\n0,1,2\n", "column 0 has no name in the header, as pandas writes an index; leave it out (index=False)"),
        (b"a,x,x,b\n1,2,3,4\n", "more than one column 'x'"),
        (b"a,b,b\n1,2,3\n", "more than one column 'b'"),
        (b"a" * 300 + b",b\n1,2\n", "a name of more than 250 characters"),
        (b"a,b\n1_000,x\n", "column 'a' has '1_000' in row 0, which is no finite number"),
        (b"a,b\n1,x\n1e400,x\n", "column 'a' has '1e400' in row 1"),
        (b"a,b\n1,x\nNA,x\n", "column 'a' has no value in row 1 ('NA')"),
        (b"a,b\ntrue,x\n1,x\n", "column 'a' is text, such as 'true'"),
    ],
)
def test_what_is_refused_in_csv(tmp_path: Path, text: bytes, words: str) -> None:
    error = refused(csv(tmp_path, text), target_column="b")
    assert words in error.message
    assert error.where == "/data"


def test_csv_is_read_as_it_is_written(tmp_path: Path) -> None:
    found = read(csv(tmp_path, '\ufeffa,"b,c",y\r\n 1 ,+.5,"x\r\ny"\r\n\r\n-2.,1E-3,""""\r\n'), target_column="y")
    assert found.feature_names == ["a", "b,c"]
    assert found.x.tolist() == [[1, 0.5], [-2, 0.001]]
    assert labels_of(found) == ["x\r\ny", '"']


LABELS = [
    (["007", "7"], ["007", "7"]),
    (["1e3", "1000"], ["1e3", "1000"]),
    (["1.10", "1.1"], ["1.10", "1.1"]),
    (["1.0", "2.0"], ["1.0", "2.0"]),
    (["NA", "None", "nan", "null"], ["NA", "None", "nan", "null"]),
    (["yes", "1"], ["yes", "1"]),
    (["-0", "0"], ["-0", "0"]),
    (["+1", "2"], ["+1", "2"]),
    ([" a", "a "], [" a", "a "]),
    (["TRUE", "FALSE"], ["TRUE", "FALSE"]),
    (["True", "true"], ["True", "true"]),
    (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
    (["0", "-1", "9223372036854775807"], [0, -1, 2**63 - 1]),
    (["True", "False"], [True, False]),
    (["true", "false"], [True, False]),
]


@pytest.mark.parametrize(("written", "expected"), LABELS)
def test_labels_stay_what_they_are(tmp_path: Path, written: list[str], expected: list[Any]) -> None:
    rows = "".join(f"{number},{label}\n" for number, label in enumerate(written))
    found = labels_of(read(csv(tmp_path, f"a,y\n{rows}"), target_column="y"))
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1))
def test_every_label_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, written: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "data.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = quoting.writer(file, quoting=quoting.QUOTE_ALL)
        writer.writerows([("a", "y"), *enumerate(written)])
    found = labels_of(read(path, target_column="y"))
    words = {True: ("True", "true"), False: ("False", "false")}
    for label, text in zip(found, written, strict=True):
        assert text in words[label] if isinstance(label, bool) else str(label) == text


def test_measurements_are_no_labels(tmp_path: Path) -> None:
    rows = "".join(f"1,{number / 7}\n" for number in range(200))
    found = read(csv(tmp_path, f"a,y\n{rows}"), target_column="y")
    with pytest.raises(TrainingError, match="these are measurements"):
        labels_of(found)
    assert labels.numbers_of_text([str(cell) for cell in found.target], "y") == [number / 7 for number in range(200)]
    with pytest.raises(TrainingError, match="'NA' in row 1; numbers are needed"):
        labels.numbers_of_text(["1", "NA"], "y")


@pytest.mark.timeout(60)
def test_names_without_number_take_no_time(tmp_path: Path) -> None:
    wide = ",".join(f"column{number}" for number in range(300_000))
    assert "columns, and a training may have 10000" in refused(csv(tmp_path, f"{wide}\n"), target_column="y").message
    long = [f"{'x' * 90}{number}" for number in range(10_000)]
    path = csv(tmp_path, f"{','.join(long)}\n{','.join('1' * len(long))}\n")
    assert "no column 'x" in refused(path, target_column="x" * 95).message
    assert plugins.suggestion("x" * 10**6, ["x" * 10**6]) == ""


def test_text_that_is_much_longer_than_its_file(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pd.DataFrame({"a": [1.0] * 10_000, "y": ["x" * 100_000] * 10_000}).to_parquet(path)
    assert path.stat().st_size < 10**6
    found = read(path, target_column="y")
    with pytest.raises(TrainingError, match="more than 1000 characters"):
        labels_of(found)


def test_an_index_of_pandas(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    IRIS.set_index(pd.Index([3, 1, 7])).to_parquet(path)
    assert "is an index of pandas without a name" in refused(path, target_column="kind").message
    IRIS.set_index("length").to_parquet(path)
    assert sorted(read(path, target_column="kind").feature_names or ()) == ["count", "length", "wet"]


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
    assert "column 'day' is timestamp" in refused(path, target_column="a").message


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
        assert labels_of(found) == [row[1] for row in rows]


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
