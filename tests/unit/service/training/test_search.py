from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from fairlead_service.schemas_train import Search
from fairlead_service.training import metrics, search, splits
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.metrics import Metric

X = np.random.default_rng(0).random((60, 2))
Y = (X[:, 0] > 0.5).astype(int)
UP = Metric("up", "classification", lambda found: None, "")
DOWN = Metric("down", "classification", lambda found: None, "", greater_is_better=False)


def asked(method: str, parameters: dict[str, Any], **more: Any) -> Search:
    return Search.model_validate({"method": method, "parameters": parameters} | more)


def test_a_grid_is_all_combinations() -> None:
    found = search.candidates(asked("grid", {"a": [1, 2], "b": ["x", None, 0.5]}), 42)
    assert len(found) == 6
    assert {"a": 2, "b": None} in found


def test_none_is_tried_twice() -> None:
    assert search.candidates(asked("grid", {"a": [1, 1]}), 42) == [{"a": 1}]
    assert len(search.candidates(asked("random", {"a": [1, 2]}, iterations=50), 42)) == 2


@given(st.integers(-1000, 1000), st.integers(1, 1000), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_ranges(low: int, width: int, whole: bool, log: bool, seed: int) -> None:
    low = abs(low) + 1 if log else low
    ends = (low, low + width) if whole else (low / 7, (low + width) / 7)
    wanted = asked("random", {"a": {"low": ends[0], "high": ends[1], "log": log}}, iterations=20)
    found = [candidate["a"] for candidate in search.candidates(wanted, seed)]
    assert found
    assert all(ends[0] <= value <= ends[1] for value in found)
    assert all(type(value) is (int if whole else float) for value in found)
    assert [candidate["a"] for candidate in search.candidates(wanted, seed)] == found


def test_both_ends_of_a_whole_range_are_drawn() -> None:
    wanted = asked("random", {"a": {"low": 1, "high": 3}, "b": {"low": 1, "high": 2, "log": True}}, iterations=200)
    found = search.candidates(wanted, 42)
    assert {candidate["a"] for candidate in found} == {1, 2, 3}
    assert {candidate["b"] for candidate in found} == {1, 2}


@pytest.mark.parametrize(
    ("method", "parameters", "more", "words", "where"),
    [
        ("grid", {"a": {"low": 1, "high": 2}}, {}, "a grid needs a list of values for 'a'", "/search/parameters/a"),
        ("grid", {"a": list(range(30)), "b": list(range(30))}, {}, "900 candidates, and 500 may be tried", "/search"),
        ("random", {"a": [1, 2]}, {"iterations": 501}, "501 iterations", "/search/iterations"),
    ],
)
def test_what_is_not_tried(method: str, parameters: Any, more: Any, words: str, where: str) -> None:
    with pytest.raises(TrainingError, match=words) as caught:
        search.candidates(asked(method, parameters, **more), 42)
    assert caught.value.where == where


@pytest.mark.parametrize(
    "values", [[], {"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}, {"low": 0, "high": 1e999}, 3]
)
def test_what_is_no_space(values: Any) -> None:
    with pytest.raises(ValidationError):
        asked("random", {"a": values})


def test_cross_validation_scores_every_fold() -> None:
    known, told, said = metrics.installed("classification"), [], []
    folds = splits.folds(Y, "classification", 4, 42)
    found = search.cross_validate(LogisticRegression, X, Y, folds, known, told.append, said.append)
    assert told == [1, 2, 3, 4]
    assert said == []
    assert len(found["accuracy"].folds) == 4
    assert found["accuracy"].mean == pytest.approx(np.mean(found["accuracy"].folds))
    assert found["accuracy"].std == pytest.approx(np.std(found["accuracy"].folds))


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=20))
def test_the_best_is_the_best_in_the_metric_s_direction(means: list[float | None]) -> None:
    tried = [({"a": number}, mean) for number, mean in enumerate(means)]
    known = [mean for mean in means if mean is not None]
    highest, lowest = search.best(tried, UP), search.best(tried, DOWN)
    if not known:
        assert highest is lowest is None
    else:
        assert highest == ({"a": means.index(max(known))}, max(known))
        assert lowest == ({"a": means.index(min(known))}, min(known))
