"""Input examples in every form that MLflow and people write them."""

import json
from typing import Any

import pytest

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import example
from fairlead_service.loading.example import Example


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"columns": ["a", "b"], "data": [[1, 2.5]]}, Example(("a", "b"), ((1, 2.5),))),
        ({"inputs": [[1, 2], [3, None]]}, Example(None, ((1, 2), (3, None)))),
        ({"inputs": {"a": [1, 2], "b": [3, 4]}}, Example(("a", "b"), ((1, 3), (2, 4)))),
        ({"dataframe_records": [{"a": 1, "b": 2}]}, Example(("a", "b"), ((1, 2),))),
        ([{"a": 1, "b": 2}, {"b": 4, "a": 3}], Example(("a", "b"), ((1, 2), (3, 4)))),
        ({"a": 1, "b": "x"}, Example(("a", "b"), ((1, "x"),))),
        ([[True, 2]], Example(None, ((True, 2),))),
        ([1, 2], Example(None, ((1, 2),))),
        ({"columns": ["x", "x"], "data": [[1, 2]]}, Example(None, ((1, 2),))),
        ({"columns": [0, 1], "data": [[1, 2]]}, Example(("0", "1"), ((1, 2),))),
        ({"inputs": []}, None),
        ({}, None),
    ],
)
def test_forms(document: Any, expected: Example | None) -> None:
    assert example.parse(json.dumps(document).encode()) == expected


def test_numbers_are_of_the_columns_asked_for() -> None:
    found = Example(("a", "b", "c"), ((1, "x", 2), (3, "y", None), (10**400, "z", 4)))
    assert found.numbers([2, 0]) == ((2.0, 1.0),)
    assert found.numbers([0, 0]) == ((1.0, 1.0), (3.0, 3.0))
    assert [found.is_odd(column) for column in range(3)] == [False, True, False]
    with pytest.raises(LoadError, match="holds 'x'"):
        found.numbers([1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", FailureReason.MODEL_CORRUPT),
        (b"[[1], [1, 2]]", FailureReason.MODEL_CORRUPT),
        (b'{"columns": ["a"], "data": [[1, 2]]}', FailureReason.MODEL_CORRUPT),
        (b'{"inputs": {"a": [1], "b": [1, 2]}}', FailureReason.MODEL_CORRUPT),
        (b'[{"a": 1}, {"b": 1}]', FailureReason.MODEL_CORRUPT),
        (b'[["\\ud800"]]', FailureReason.MODEL_CORRUPT),
        (b"[" * 100_000, FailureReason.MODEL_CORRUPT),
        (b"[[" + b"1" * 5000 + b"]]", FailureReason.MODEL_CORRUPT),
        (b"[[1], 2]", FailureReason.MODEL_UNSUPPORTED),
        (b"[[" + b"1," * 150_000 + b"1]]", FailureReason.MODEL_UNSUPPORTED),
    ],
)
def test_what_is_refused(text: bytes, reason: FailureReason) -> None:
    with pytest.raises(LoadError) as caught:
        example.parse(text)
    assert caught.value.reason is reason
