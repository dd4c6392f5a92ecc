"""MLflow's scoring protocol: every form means the same rows, and whatever is wrong is said."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.errors import MEDIA_TYPE, InvalidInput, MalformedBody, Problem, TooManyRows
from fairlead_service.inference import invocations
from fairlead_service.models.backends import Outputs
from fairlead_service.models.bundle import Manifest
from tests.unit.service.support import FEATURES, X, api_settings, running, tree, write_bundle
from tests.unit.service.test_v2 import JSON, NAMES, ROWS, manifest

MAX_ROWS = 50
UNNAMED = manifest(feature_names=None)
MISSING = manifest(accepts_missing=True)
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
COLUMNS = {name: [row[i] for row in ROWS] for i, name in enumerate(NAMES)}
TURNED = [{name: record[name] for name in reversed(NAMES)} for record in RECORDS]


def decode(document: Any, model: Manifest | None = None) -> list[list[float]]:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    matrix = invocations.decode_json(content, model or manifest(), MAX_ROWS).matrix
    assert (matrix.dtype, matrix.flags.c_contiguous) == (np.float64, True)
    return matrix.tolist()  # type: ignore[no-any-return]


def decode_csv(text: str | bytes, model: Manifest | None = None) -> list[list[float]]:
    content = text if isinstance(text, bytes) else text.encode()
    return invocations.decode_csv(content, model or manifest(), MAX_ROWS).matrix.tolist()  # type: ignore[no-any-return]


FORMS: dict[str, Callable[[list[list[float]]], Any]] = {
    "inputs": lambda rows: {"inputs": rows},
    "columns": lambda rows: {"inputs": {name: [row[i] for row in rows] for i, name in enumerate(NAMES)}},
    "instances": lambda rows: {"instances": rows},
    "split": lambda rows: {"dataframe_split": {"columns": NAMES, "data": rows}},
    "records": lambda rows: {"dataframe_records": [dict(zip(NAMES, row, strict=True)) for row in rows]},
    "csv": lambda rows: "\n".join(",".join(map(str, row)) for row in [NAMES, *rows]),
}


@pytest.mark.parametrize("form", FORMS)
def test_as_many_rows_are_taken_as_may_be_and_none_more(form: str) -> None:
    read = decode_csv if form == "csv" else decode
    rows = [[float(i), 1.5, 2.5] for i in range(MAX_ROWS)]
    assert read(FORMS[form](rows)) == rows
    with pytest.raises(TooManyRows):
        read(FORMS[form]([*rows, rows[0]]))


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": ROWS},
        {"inputs": RECORDS},
        {"inputs": COLUMNS},
        {"inputs": dict(reversed(COLUMNS.items()))},
        {"instances": ROWS},
        {"instances": TURNED},
        {"dataframe_records": RECORDS},
        {"dataframe_records": [RECORDS[0], TURNED[1]]},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_split": {"columns": NAMES, "index": ["x", 7], "data": ROWS}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in ROWS]}, "params": {}},
        {"inputs": ROWS, "params": None},
    ],
    ids=lambda document: json.dumps(document)[:40],
)
def test_every_form_means_the_same(document: Any) -> None:
    assert decode(document) == ROWS


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": COLUMNS | {"id": ["x"], "day": None}},
        {"inputs": [{"id": "x", **record, "day": None} for record in RECORDS]},
        {"instances": [{"id": "x", "day": 1, **RECORDS[0]}, {**TURNED[1], "id": 0}]},
        {"dataframe_records": [record | {"id": "x", "day": [1]} for record in TURNED]},
        {
            "dataframe_split": {
                "columns": ["id", *NAMES[::-1], "day"],
                "data": [["x", *row[::-1], None] for row in ROWS],
            }
        },
    ],
    ids=lambda document: json.dumps(document)[:40],
)
def test_columns_that_the_model_does_not_have_are_ignored_and_counted(document: Any) -> None:
    found = invocations.decode_json(json.dumps(document).encode(), manifest(), MAX_ROWS)
    assert (found.matrix.tolist(), found.extra) == (ROWS, 2)


def test_columns_of_csv_that_the_model_does_not_have() -> None:
    found = invocations.decode_csv(b"id,c,b,a\nx,3,2,1\n", manifest(), MAX_ROWS)
    assert (found.matrix.tolist(), found.extra) == ([[1.0, 2.0, 3.0]], 1)


def test_one_row_may_be_an_object_of_numbers() -> None:
    assert decode({"inputs": RECORDS[0]}) == [ROWS[0]]


def test_without_names_the_order_counts() -> None:
    turned = [row[::-1] for row in ROWS]
    for document in (
        {"inputs": turned},
        {"dataframe_split": {"columns": [2, 1, 0], "data": turned}},
        {"dataframe_split": {"columns": ["z", "z", "z"], "data": turned}},
        {"dataframe_records": TURNED},
        {"inputs": dict(reversed(COLUMNS.items()))},
    ):
        assert decode(document, UNNAMED) == turned
    assert decode_csv("z,y,x\n1,2,3\n", UNNAMED) == [[1.0, 2.0, 3.0]]


def test_booleans_are_0_and_1_as_in_a_data_frame() -> None:
    assert decode({"inputs": [[True, False, 2]]}) == [[1.0, 0.0, 2.0]]
    assert decode_csv("a,b,c\nTrue,False,2\n") == [[1.0, 0.0, 2.0]]


def test_missing_values_are_taken_if_the_model_takes_them() -> None:
    for found in (
        decode({"inputs": [[1, None, 3]]}, MISSING),
        decode(b'{"inputs": [[1, NaN, 3]]}', MISSING),
        decode_csv("a,b,c\n1,,3\n", MISSING),
        decode_csv("a,b,c\n1,NaN,3\n", MISSING),
    ):
        assert np.array_equal(found, [[1, math.nan, 3]], equal_nan=True)


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2.5,-3e2\n",
        "a,b,c\r\n1,2.5,-3e2\r\n",
        "\ufeffa,b,c\n\n1, 2.5 ,-3E+2",
        'c,"a",b\n"-300",+1,2.5',
        "c,b,a\n-300.,2.5,1\n\n",
    ],
)
def test_csv_is_read_as_it_is_written(text: str) -> None:
    assert decode_csv(text) == [[1.0, 2.5, -300.0]]


@given(
    st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1, max_size=9
    ),
    st.permutations(range(3)),
)
def test_every_bit_of_a_double_arrives_in_any_order(rows: list[list[float]], order: list[int]) -> None:
    names, turned = [NAMES[i] for i in order], [[row[i] for i in order] for row in rows]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([names, *turned])
    assert decode_csv(text.getvalue()) == rows
    assert decode({"dataframe_split": {"columns": names, "data": turned}}) == rows
    assert decode({"instances": [dict(zip(names, row, strict=True)) for row in turned]}) == rows


@dataclass(frozen=True)
class Case:
    """`says` are fragments of the detail, `pointer` is the first error's. CSV is given as text."""

    content: Any
    says: tuple[str, ...]
    pointer: str | None = None
    kind: type[Problem] = InvalidInput
    model: Manifest | None = None


def case(content: Any, *says: str, **more: Any) -> Case:
    return Case(content, says, **more)


def split(data: Any, **more: Any) -> Any:
    return {"dataframe_split": {"data": data, **more}}


BAD = [
    case(b"", "not valid JSON", kind=MalformedBody),
    case([], "is a list", kind=MalformedBody),
    case({}, "has no data; send exactly one of inputs, instances, dataframe_split, dataframe_records"),
    case({"inputs": ROWS, "instances": ROWS}, "has 'inputs', 'instances'; send exactly one"),
    case({"inputs": ROWS, "signature_name": "x"}, "unknown field 'signature_name'", pointer="/signature_name"),
    case({"inputs": ROWS, "params": {"t": 1}}, "take no params", pointer="/params"),
    case({"inputs": 5}, "inputs is a number; send a list of rows", pointer="/inputs"),
    case({"inputs": []}, "no rows"),
    case({"inputs": [1, 2, 3]}, "row 0 is a number; send a list of 3 numbers ('a', 'b', 'c')", pointer="/inputs/0"),
    case({"inputs": [[1, 2, 3], [1, 2]]}, "row 1 has 2 values", pointer="/inputs/1"),
    case({"inputs": [[1, 2, "3"]]}, "row 0, column 2, c is a string", pointer="/inputs/0/2"),
    case({"inputs": [[1, [2], 3]]}, "row 0, column 1, b is a list"),
    case({"inputs": [[1, None, 3]]}, "column 1, b is null", "no missing values", pointer="/inputs/0/1"),
    case(b'{"inputs": [[1, NaN, 3]]}', "column 1, b is NaN"),
    case(b'{"inputs": [[1, -Infinity, 3]]}', "b is infinite; send a finite number, or null", model=MISSING),
    case({"inputs": [[0, 0, 0]] * 51}, "more than 50 rows", kind=TooManyRows),
    case({"inputs": [[]] * 5000}, "more than 50 rows", kind=TooManyRows),
    case({"inputs": {}}, "column 'a', 'b', 'c' is missing", pointer="/inputs"),
    case({"inputs": COLUMNS | {"c": [1]}}, "column 'c' has 1 values and the longest has 2", pointer="/inputs/c"),
    case({"inputs": COLUMNS | {"b": 1}}, "column 'b' is a number and the longest has 2"),
    case({"inputs": COLUMNS | {"b": [1, "x"]}}, "row 1, column 1, b is a string", pointer="/inputs/b/1"),
    case({"inputs": {"a": 1, "b": {}, "c": 2}}, "row 0, column 1, b is an object", pointer="/inputs/b"),
    case({"inputs": {n: [0] * 51 for n in NAMES}}, "more than 50 rows", kind=TooManyRows),
    case({"inputs": {n: [] for n in NAMES}}, "no rows"),
    case({"inputs": {"x": [1]}}, "1 columns, but the model has 3", model=UNNAMED),
    case({"instances": COLUMNS}, "instances is an object; send a list"),
    case({"instances": [RECORDS[0], ROWS[0]]}, "row 1 is a list; send an object", pointer="/instances/1"),
    case({"instances": [ROWS[0], RECORDS[0]]}, "row 1 is an object; send a list of 3"),
    case({"instances": [RECORDS[0], {"a": 1, "c": 3}]}, "row 1: column 'b' is missing", pointer="/instances/1"),
    case({"instances": [{"x": 1, "a": 2, "z": 3}]}, "row 0: column 'b', 'c' is missing"),
    case({"instances": [{"x": 1, "y": 2, "z": 3}, {"x": 1, "y": 2, "w": 3}]}, "other keys than row 0", model=UNNAMED),
    case({"instances": [RECORDS[0] | {"b": "?"}]}, "column 1, b is a string", pointer="/instances/0/b"),
    case({"dataframe_records": ROWS}, "row 0 is a list; send an object"),
    case({"dataframe_records": {}}, "dataframe_records is an object; send a list"),
    case({"dataframe_split": ROWS}, "not an object with data", pointer="/dataframe_split"),
    case({"dataframe_split": {}}, "not an object with data"),
    case(split(ROWS, names=[]), "has 'names'; known are columns, index, data", pointer="/dataframe_split/names"),
    case(split(ROWS, columns="abc"), "columns is a string", pointer="/dataframe_split/columns"),
    case(split(ROWS, columns=["a", "b"]), "column 'c' is missing", pointer="/dataframe_split/columns"),
    case(split(ROWS, columns=[*NAMES, "a"]), "column 'a' is there more than once"),
    case(split(ROWS, columns=[0, 1, 2]), "column 'a', 'b', 'c' is missing"),
    case(split(ROWS, columns=["x"] * 4), "4 columns, but the model has 3; send 3 columns", model=UNNAMED),
    case(split(ROWS, index=[1]), "index is not a list with one entry a row", pointer="/dataframe_split/index"),
    case(split(None), "dataframe_split.data is null", pointer="/dataframe_split/data"),
    case(split([[1, 2, "x"]], columns=["c", "b", "a"]), "column 2, a is a string", pointer="/dataframe_split/data/0/2"),
    case("", "is empty; send CSV with a header row"),
    case("a,b,c\n", "no rows"),
    case("1,2,3\n4,5,6\n", "column 'a', 'b', 'c' is missing"),
    case("a,b\n1,2\n", "column 'c' is missing; send 'a', 'b', 'c'"),
    case("a,b,d,e\n1,2,3,4\n", "column 'c' is missing"),
    case("a,a,b,c\n1,2,3,4\n", "'a' is there more than once"),
    case(",a,b,c\n0,1,2,3\n", "index=False"),
    case("a,b,c\n1,2\n", "row 0 has 2 values and the header 3"),
    case("c,b,a\n1,2,3\n1,x,3\n", "row 1, column 1, b is 'x'; send a finite number"),
    case("c,b,a\n1,2,3\n1,2,x\n", "row 1, column 2, a is 'x'"),
    case("a,b,c\n1,,3\n", "column 1, b is NaN", "no missing values"),
    case("a,b,c\n1,1_000,3\n", "b is '1_000'"),
    case("a,b,c\n1,inf,3\n", "b is 'inf'"),
    case("a,b,c\n1,1e400,3\n", "b is infinite", model=MISSING),
    case("a,b,c\n1,٣,3\n", "b is '٣'"),
    case("a,b,c\n1,e,3\n", "b is 'e'"),
    case("a,b,c\n" + "1,2,3\n" * 51, "more than 50 rows", kind=TooManyRows),
    case('a,b,c\n1,"2"x,3\n', "not CSV", kind=MalformedBody),
    case('a,b,c\n1,"2,3\n', "not CSV", kind=MalformedBody),
    case('a,b,c\n1,"' + "2" * 200_000 + '",3\n', "not CSV", "field limit", kind=MalformedBody),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: str(case.content)[:40])
def test_what_is_wrong_is_said(case: Case) -> None:
    with pytest.raises(Problem) as caught:
        (decode_csv if isinstance(case.content, str) else decode)(case.content, case.model)
    assert type(caught.value) is case.kind, caught.value.detail
    for fragment in case.says:
        assert fragment in caught.value.detail
    if case.pointer is not None:
        assert caught.value.errors[0].pointer == case.pointer


def test_csv_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MalformedBody, match="byte 6; send CSV in UTF-8"):
        decode_csv(b"a,b,c\n\xff")


FORMATS = {"inputs": JSON, "instances": JSON, "dataframe_split": JSON, "dataframe_records": JSON, "params": JSON}
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(
    st.fixed_dictionaries({}, optional=FORMATS)
    | st.fixed_dictionaries({"inputs": st.lists(st.lists(VALUES, min_size=3, max_size=3), max_size=3)})
    | st.fixed_dictionaries({"inputs": st.dictionaries(st.sampled_from(NAMES), VALUES | st.lists(VALUES))})
    | st.fixed_dictionaries({"instances": st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=3))})
    | st.fixed_dictionaries(
        {"dataframe_split": st.fixed_dictionaries({"columns": JSON, "data": st.lists(st.lists(VALUES))})}
    )
)
def test_any_json_is_rows_or_a_problem(document: Any) -> None:
    for model in (manifest(), UNNAMED, MISSING):
        outcome(lambda model=model: decode(document, model), model)


@given(st.binary() | st.text("abc,\n\r\"'1.-eE_ \0", max_size=60).map(str.encode))
def test_any_bytes_are_rows_or_a_problem(content: bytes) -> None:
    for text in (content, b"a,b,c\n" + content):
        outcome(lambda text=text: decode_csv(text), manifest())
        outcome(lambda text=text: decode(text), manifest())


def outcome(read: Any, model: Manifest) -> None:
    refused: Problem | None = None
    try:
        rows = read()
    except Problem as raised:
        refused = raised
    if refused is not None:
        assert refused.status in (400, 413, 422)
        assert refused.detail
        return
    matrix = np.array(rows)
    assert 0 < len(matrix) <= MAX_ROWS
    assert matrix.shape[1] == model.n_features
    assert not np.isinf(matrix).any()
    assert model.accepts_missing or not np.isnan(matrix).any()


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        (np.array([1, 0]), [1, 0]),
        (np.array([0.1, 5e-324]), [0.1, 5e-324]),
        (np.array(["ä", "b"]), ["ä", "b"]),
        (np.array(["ä", "b"], object), ["ä", "b"]),
        (np.array([True, False]), [True, False]),
    ],
)
def test_answers_keep_the_kind_of_the_labels(predictions: Any, expected: Any) -> None:
    assert json.loads(invocations.encode(Outputs(predictions))) == {"predictions": expected}


async def test_over_http(tmp_path: Path) -> None:
    directory = write_bundle(tmp_path / "bundle", tree()).directory
    frame = {"dataframe_split": {"columns": FEATURES, "data": X.tolist()}}
    table = "\n".join(",".join(map(str, row)) for row in [FEATURES, *X.tolist()])
    async with running(api_settings(tmp_path)) as (client, services):
        assert (await client.get("/ping")).status_code == 503
        assert (await client.post("/invocations", json=frame)).status_code == 503
        await services.activate(directory)
        ping = await client.get("/ping")
        assert (ping.status_code, ping.text) == (200, "\n")
        assert (await client.get("/version")).text[0].isdigit()
        for content, content_type in (
            (json.dumps(frame), "application/json"),
            (json.dumps(frame), "Application/JSON; charset=UTF-8"),
            (table, "text/csv"),
            (table, 'text/csv;charset="utf-8"'),
            (table + "\n" * 20_000, "text/csv"),
        ):
            answer = await client.post("/invocations", content=content, headers={"content-type": content_type})
            assert answer.json() == {"predictions": [0, 0, 1, 1]}
        for content, content_type, status in (
            (table, "application/json", 400),
            (table, "text/csv; charset=latin-1", 415),
            (table, "text/plain", 415),
            (json.dumps({"inputs": [[1, 2, 3, 1e39]]}), "application/json", 422),
            (json.dumps({"inputs": [[1, 2, 3]]}), "application/json", 422),
        ):
            answer = await client.post("/invocations", content=content, headers={"content-type": content_type})
            assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE), answer.text
