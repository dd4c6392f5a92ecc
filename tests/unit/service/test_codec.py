"""Bytes to matrix and back: exact for what is right, a named place for what is wrong."""

import json
import math
import struct
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.errors import InvalidInput, MalformedBody, Problem, TooManyRows
from fairlead_service.inference import codec, matrix_checks
from fairlead_service.inference.codec import Expected
from fairlead_service.inference.quick import Decoded, Decoder
from fairlead_service.models.backends import Outputs, Want

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


def decoded(body: bytes) -> Decoded | Problem:
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
    answer = codec.encode_predict(Outputs(np.array(values)), b'"run_id":"r"', b"null")
    for got, want in zip(json.loads(answer)["predictions"], values, strict=True):
        assert got == want or (got is None and not math.isfinite(want))


@pytest.mark.parametrize(
    "labels",
    [[1, 2], [True, False], ["é\n", ""], [-(2**63), 2**63 - 1]],
)
@pytest.mark.parametrize("dtype", [None, object])
def test_labels_keep_their_type(labels: list[Any], dtype: Any) -> None:
    got = json.loads(codec.encode_predict(Outputs(np.array(labels, dtype=dtype)), b'"run_id":"r"', b"null"))[
        "predictions"
    ]
    assert got == labels
    assert [type(label) for label in got] == [type(label) for label in labels]


def test_columns_of_a_matrix_need_not_be_contiguous() -> None:
    probabilities = np.arange(6.0).reshape(2, 3).T
    answer = json.loads(codec.encode_predict(Outputs(np.array([1]), probabilities), b'"run_id":"r"', b"[0,1]"))
    assert answer == {"predictions": [1], "run_id": "r", "classes": [0, 1], "probabilities": probabilities.tolist()}


@given(json_values)
def test_any_json_gives_a_matrix_or_a_problem_with_4xx(value: object) -> None:
    for document in (value, {"features": value}, {"features": [value, [1, 2, 3, 4]]}):
        match decoded(encode(document)):
            case Problem(status=status, detail=detail):
                assert 400 <= status < 500
                assert detail
            case Decoded(matrix=matrix):
                assert matrix.shape[1] == 4
                assert np.isfinite(matrix).all()


@given(st.binary(max_size=200) | st.text(alphabet='[]{}"features:,-1.eENaInfity\\u ', max_size=200).map(str.encode))
def test_any_bytes_give_a_matrix_or_a_problem_with_4xx(body: bytes) -> None:
    answer = decoded(body)
    assert isinstance(answer, Decoded) or 400 <= answer.status < 500


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


def same_as_the_careful_way(body: bytes, width: int) -> Decoded | None:
    """What the quick way makes of a body; it must be what the careful way makes of it, or nothing."""
    decoded = Decoder().decode(body, width, 50)
    for piece in (1, 7, 40):
        in_pieces = Decoder(piece).decode(body, width, 50)
        assert (in_pieces is None) == (decoded is None)
        assert in_pieces is None or in_pieces.matrix.tobytes() == decoded.matrix.tobytes()  # type: ignore[union-attr]
    if decoded is None:
        return None
    careful = codec.decode_predict(body, Expected(field="features", max_rows=50, n_features=width, one_row=True))
    assert decoded.matrix.shape == careful.matrix.shape
    assert decoded.matrix.tobytes() == careful.matrix.tobytes()
    assert decoded.want == careful.want
    assert decoded.matrix.flags.c_contiguous
    return decoded


padding = st.sampled_from([b"", b" " * 3000])
"""Without it a body is small enough for lists, with it large enough for the flat buffer."""
wants = st.dictionaries(st.sampled_from(["probabilities", "scores"]), st.booleans())


@given(matrices, wants, padding, st.booleans(), st.sampled_from([None, 1]))
def test_the_quick_way_takes_what_is_right(
    rows: list[list[Any]], more: dict[str, bool], pad: bytes, first: bool, indent: int | None
) -> None:
    document = {"features": rows} | more if first else more | {"features": rows}
    body = json.dumps(document, indent=indent).encode() + pad
    decoded = same_as_the_careful_way(body, len(rows[0]))
    assert decoded is not None
    assert decoded.want == Want(more.get("probabilities", False), more.get("scores", False))


@given(json_values, st.dictionaries(st.sampled_from(["features", "probabilities", "x"]), json_values), padding)
def test_the_quick_way_leaves_the_rest_to_the_careful_one(value: object, more: dict[str, Any], pad: bytes) -> None:
    for document in (value, {"features": value}, {"features": [value, [1, 2]]}, {"features": [[1, 2]]} | more):
        same_as_the_careful_way(json.dumps(document).encode() + pad, 2)


@given(st.text(alphabet='[]{}"features:,-1.eE0\\u ', max_size=60).map(str.encode), padding)
def test_the_quick_way_never_fails(body: bytes, pad: bytes) -> None:
    for text in (body, b'{"features":[[1,2]' + body, b'{"features":[[1,2],[3,4]]' + body + b"}"):
        same_as_the_careful_way(text + pad, 2)


@pytest.mark.parametrize(
    "features", ["[[1,2,3],[4]]", "[[1,[2]],3]", "[[[1,2]],[]]", "[[1,2],[]]", '[[1,2],{"a":3}]', "[[1,true],[2,3]]"]
)
@pytest.mark.parametrize("pad", [b"", b" " * 3000])
def test_rows_that_do_not_end_where_they_must_are_seen(features: str, pad: bytes) -> None:
    assert Decoder().decode(b'{"features":%b}' % features.encode() + pad, 2, 50) is None


def test_lengths_are_compared_before_anything_is_built() -> None:
    tracemalloc.start()
    try:
        for body in (b"[]," * 9000 + b"[]", b"[1]," * 9000 + b"[1]", b"1," * 9000 + b"1"):
            assert Decoder().decode(b'{"features":[%b]}' % body, 10_000, 10_000) is None
            with pytest.raises(InvalidInput):
                codec.decode_predict(b'{"features":[%b]}' % body, Expected("features", 10_000, 10_000, one_row=True))
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


NAMED = Expected(field="features", max_rows=50, n_features=2, feature_names=("age", 'in"come'), accepts_missing=True)


def test_rows_with_names_are_put_in_order() -> None:
    rows = [{"age": 3, 'in"come': 1.5}, {'in"come': None, "age": 4}]
    matrix = codec.decode_predict(encode({"features": rows}), NAMED).matrix
    assert np.array_equal(matrix, [[3, 1.5], [4, math.nan]], equal_nan=True)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"age": 3}], "row 0) is an object without 'in\"come'"),
        ([{"age": 3, "x": 0}], "row 0) is an object without 'in\"come'"),
        ([{"age": 3, 'in"come': 1}, [1, 2]], "row 1) is a list and another row is an object"),
        ([{"age": 3, 'in"come': "1"}], 'row 0, column 1, in"come) is a string; send a finite number, or null'),
    ],
)
def test_what_is_wrong_with_a_row_with_names_is_said(rows: list[Any], says: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        codec.decode_predict(encode({"features": rows}), NAMED)
    assert says in raised.value.detail


def test_columns_that_the_model_does_not_have_are_ignored_and_counted() -> None:
    rows = [{"id": "x", "age": 3, 'in"come': 1.5}, {"age": 4, 'in"come': None, "seen": [1], "id": {}}]
    found = codec.decode_predict(encode({"features": rows, "scores": True}), NAMED)
    assert np.array_equal(found.matrix, [[3, 1.5], [4, math.nan]], equal_nan=True)
    assert found.extra == 2


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(MalformedBody, match="twice"):
        codec.decode_predict(b'{"features": [{"age": 1, "age": 2, "in\\"come": 3}]}', NAMED)
    with pytest.raises(MalformedBody, match="twice"):
        codec.decode_predict(b'{"features": [{"age": 1, "in\\"come": 3, "id": "a", "id": "b"}]}', NAMED)
    assert codec.decode_predict(b'{"features": [{"age": 1, "in\\u0022come": 3}]}', NAMED).matrix.tolist() == [[1, 3]]


def test_null_is_a_missing_value_only_where_the_model_takes_one() -> None:
    body = encode({"features": [[1, None]]})
    assert np.isnan(codec.decode_predict(body, NAMED).matrix[0, 1])
    with pytest.raises(InvalidInput, match="null"):
        codec.decode_predict(body, Expected(field="features", max_rows=1, n_features=2))


@pytest.mark.parametrize("padding", [0, 2000, 3000, 300_000])
def test_a_byte_order_mark_is_refused_in_words_whatever_the_size(padding: int) -> None:
    body = b"\xef\xbb\xbf" + encode({"features": [[1, 2]]}) + b" " * padding
    assert Decoder().decode(body, 2, 50) is None
    with pytest.raises(MalformedBody, match="begins with a byte order mark"):
        codec.decode_predict(body, Expected(field="features", max_rows=50, n_features=2))
    with pytest.raises(MalformedBody, match="begins with a byte order mark"):
        matrix_checks.json_object(body + b"NaN", 50, "")
