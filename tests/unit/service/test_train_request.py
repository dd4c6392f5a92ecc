"""Whatever is put into any field of a training request, the answer is a checked request or a problem with 4xx."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead_service.api.train_request import TrainInput, decode_train
from fairlead_service.errors import InvalidInput, MalformedBody, Problem
from fairlead_service.schemas_train import TrainRequest

ALGORITHMS = ("random_forest",)
GOOD: dict[str, Any] = {"data": [[1, 2], [3, 4.5]], "target": [0, 1], "algorithm": "random_forest"}

scalars = st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner), max_leaves=12
)


def decoded(document: object) -> TrainInput | Problem:
    try:
        return decode_train(json.dumps(document).encode(), 100, ALGORITHMS)
    except Problem as problem:
        return problem


@given(st.sampled_from([*TrainRequest.model_fields, "other"]), values)
@example("hyperparameters", {"a": math.nan})
@example("target", [[0], [1]])
@example("target", [{}, 1])
@example("target", [10**25, 1])
@example("tags", {"a\x00/b~": "\u2028"})
@example("run_name", "NaN")
def test_any_value_in_any_field(field: str, value: object) -> None:
    got = decoded(GOOD | {field: value})
    if isinstance(got, Problem):
        assert 400 <= got.status < 500
        assert got.detail
    else:
        assert got.matrix.dtype == np.float64
        assert len(got.matrix) == len(got.target)
        assert json.loads(got.to_json())["algorithm"] == "random_forest"


@given(values)
def test_any_document(document: object) -> None:
    assert isinstance(decoded(document), Problem)


@pytest.mark.parametrize(
    "target",
    [[0, 1], ["a", "b"], [True, False], [0.5, 1.5], [0, 0.5], ['"quoted"', "back\\slash"], [-(2**63), 2**64 - 1]],
)
def test_labels_arrive_as_they_were_sent(target: list[Any]) -> None:
    got = decoded(GOOD | {"target": target})
    assert isinstance(got, TrainInput), got
    left = json.loads(got.to_json())["target"]
    assert left == target
    assert [type(label) for label in left] == [type(label) for label in target]


@pytest.mark.parametrize("text", ["plain", 'with "quotes"', "back\\slash", "é\n"])
def test_strings_are_not_taken_for_keys_given_twice(text: str) -> None:
    document = GOOD | {"target": [text, "other"], "tags": {text: text}, "hyperparameters": {text: [text, {text: 1}]}}
    assert isinstance(decoded(document), TrainInput)


@pytest.mark.parametrize("extra", ['"tags": {"\\u0061": "x", "a": "y"}', '"algorithm": "random_forest"'])
def test_keys_given_twice_are_found_behind_escapes(extra: str) -> None:
    body = json.dumps(GOOD)[:-1] + f', "run_name": "\\"", {extra}}}'
    with pytest.raises(MalformedBody, match="twice"):
        decode_train(body.encode(), 100, ALGORITHMS)


def test_several_mistakes_are_told_at_once() -> None:
    got = decoded(GOOD | {"test_size": 3, "random_state": -1})
    assert isinstance(got, InvalidInput)
    assert {error.pointer for error in got.errors} == {"/test_size", "/random_state"}
