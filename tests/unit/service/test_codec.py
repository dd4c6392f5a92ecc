"""Bytes to matrix and back: exact for what is right, a named place for what is wrong."""

import json
import math
import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.errors import InvalidInput, MalformedBody, Problem, TooManyRows
from fairlead_service.inference import codec
from fairlead_service.inference.codec import Expected

FREE = Expected(field="features", max_rows=50, one_row=True)
FOUR = Expected(field="features", max_rows=50, n_features=4, one_row=True)

finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = finite | st.integers(-(2**63), 2**64 - 1)
matrices = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1, max_size=8)
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


def decoded(body: bytes) -> codec.PredictRequest | Problem:
    try:
        return codec.decode_predict(body, FOUR)
    except Problem as problem:
        return problem


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


@given(matrices)
def test_a_matrix_arrives_bit_for_bit(rows: list[list[Any]]) -> None:
    got = codec.decode_predict(encode({"features": rows}), FREE).matrix
    assert got.dtype == np.float64
    assert got.flags.c_contiguous
    want = [[float(value) for value in row] for row in rows]
    assert got.tobytes() == b"".join(struct.pack(f"={len(row)}d", *row) for row in want)


@given(st.lists(finite, min_size=1, max_size=9))
def test_one_row_is_a_matrix_of_one_row(row: list[float]) -> None:
    assert codec.decode_predict(encode({"features": row}), FREE).matrix.tolist() == [row]


@given(st.lists(finite | st.floats(), min_size=1))
def test_predictions_leave_bit_for_bit(values: list[float]) -> None:
    answer = codec.encode_predict(np.array(values), {"run_id": "r"})
    for got, want in zip(json.loads(answer)["predictions"], values, strict=True):
        assert got == want or (got is None and not math.isfinite(want))


@pytest.mark.parametrize(
    "labels",
    [[1, 2], [True, False], ["é\n", ""], [-(2**63), 2**63 - 1]],
)
@pytest.mark.parametrize("dtype", [None, object])
def test_labels_keep_their_type(labels: list[Any], dtype: Any) -> None:
    got = json.loads(codec.encode_predict(np.array(labels, dtype=dtype), {}))["predictions"]
    assert got == labels
    assert [type(label) for label in got] == [type(label) for label in labels]


def test_columns_of_a_matrix_need_not_be_contiguous() -> None:
    probabilities = np.arange(6.0).reshape(2, 3).T
    answer = codec.encode_predict(np.array([1]), {}, probabilities=probabilities)
    assert json.loads(answer)["probabilities"] == probabilities.tolist()


@given(json_values)
def test_any_json_gives_a_matrix_or_a_problem_with_4xx(value: object) -> None:
    for document in (value, {"features": value}, {"features": [value, [1, 2, 3, 4]]}):
        match decoded(encode(document)):
            case Problem(status=status, detail=detail):
                assert 400 <= status < 500
                assert detail
            case codec.PredictRequest(matrix=matrix):
                assert matrix.shape[1] == 4
                assert np.isfinite(matrix).all()


@given(st.binary(max_size=200) | st.text(alphabet='[]{}"features:,-1.eENaInfity\\u ', max_size=200).map(str.encode))
def test_any_bytes_give_a_matrix_or_a_problem_with_4xx(body: bytes) -> None:
    answer = decoded(body)
    assert isinstance(answer, codec.PredictRequest) or 400 <= answer.status < 500


@given(matrices, st.data())
def test_the_offender_is_named(rows: list[list[Any]], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(0, len(rows[0]) - 1))
    rows[row][column] = data.draw(st.sampled_from([None, True, "1", [], {}, math.nan, math.inf, -math.inf]))
    with pytest.raises(InvalidInput) as raised:
        codec.decode_predict(encode({"features": rows}), FREE)
    assert raised.value.errors[0].pointer == f"/features/{row}/{column}"
    assert f"row {row}, column {column}" in raised.value.detail


@given(st.integers(2, 6), st.data())
def test_the_first_row_of_another_width_is_named(width: int, data: st.DataObject) -> None:
    rows = [[0.0] * width for _ in range(data.draw(st.integers(2, 6)))]
    at = data.draw(st.integers(1, len(rows) - 1))
    rows[at] = rows[at][1:]
    for expected in (FREE, Expected(field="features", max_rows=50, n_features=width)):
        with pytest.raises(InvalidInput, match=rf"features\[{at}\] \(row {at}\) has {width - 1} values"):
            codec.decode_predict(encode({"features": rows}), expected)


def test_too_many_rows_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(TooManyRows):
        codec.decode_predict(b'{"features": [' + b"[]," * 5000, FREE)  # not even JSON


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MalformedBody):
        codec.decode_predict(b'{"features": ' + b"[" * 1500 + b"]" * 1500 + b"}", FREE)


@pytest.mark.parametrize(
    "body",
    [
        b'{"features": [1], "features": [2]}',
        b'{"features": [1], "probabilities": true, "features": [2]}',
        b'{"features": [1], "\\u0066eatures": [2]}',
    ],
)
def test_a_key_given_twice_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody, match="twice"):
        codec.decode_predict(body, FREE)


def test_escapes_in_a_key_are_no_second_key() -> None:
    assert codec.decode_predict(b'{"\\u0066eatures": [2]}', FREE).matrix.tolist() == [[2.0]]


def test_integers_of_more_than_64_bits_are_the_nearest_double() -> None:
    assert (
        codec.decode_predict(b'{"features": [123456789012345678901234567890]}', FREE).matrix[0, 0]
        == 1.2345678901234568e29
    )


def test_nan_outside_the_matrix_is_named_too() -> None:
    with pytest.raises(InvalidInput) as raised:
        codec.parse_object(b'{"hyperparameters": {"a/b": [1, NaN]}}', FREE)
    assert raised.value.errors[0].pointer == "/hyperparameters/a~1b/1"


def test_text_that_says_nan_is_text() -> None:
    assert codec.parse_object(orjson.dumps({"run_name": "NaN Infinity"}), FREE) == {"run_name": "NaN Infinity"}
