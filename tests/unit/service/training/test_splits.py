from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead_service.contract import TrainingReason
from fairlead_service.training import splits
from fairlead_service.training.errors import TrainingError


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
@example([0] * 7 + [1] * 2, 0.75, 0)  # stratified, and yet no row of class 1 is left to learn from
def test_splits(labels: list[int], test_size: float, seed: int) -> None:
    y = np.array(labels)
    split = splits.split(y, "classification", test_size, seed)
    if split.method == "holdout":
        assert sorted([*split.train, *split.test]) == list(range(len(y)))
        assert set(y[split.train]) == set(y)
        assert len(split.test) >= len(set(labels))
        assert split.reason is None
    else:
        assert split.reason
        np.testing.assert_array_equal(split.train, np.arange(len(y)))
        np.testing.assert_array_equal(split.test, split.train)
    again = splits.split(y, "classification", test_size, seed)
    np.testing.assert_array_equal(split.test, again.test)


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (["a", "a", "b", "b"], "the test part would have 1 row for 2 classes"),
        (["a"] * 20 + ["b"], "class 'b' has a single row"),
        ([0, 0, 1, 1, 2, 2, 3, 3], "the test part would have 2 rows for 4 classes"),
    ],
)
def test_why_nothing_is_held_out(y: list[Any], reason: str) -> None:
    split = splits.split(np.array(y), "classification", 0.25, 42)
    assert split.report() == {
        "method": "training_data",
        "train_rows": len(y),
        "test_rows": len(y),
        "reason": reason,
    }


def test_regression_needs_two_rows_on_each_side() -> None:
    assert splits.split(np.arange(4.0), "regression", 0.25, 42).method == "training_data"
    assert splits.split(np.arange(5.0), "regression", 0.25, 42).report()["test_rows"] == 2


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_folds_leave_each_row_out_once(labels: list[int], count: int, seed: int) -> None:
    y = np.array(labels)
    if min(np.unique(y, return_counts=True)[1]) < count:
        with pytest.raises(TrainingError, match=f"{count} folds need {count} of each") as caught:
            splits.folds(y, "classification", count, seed)
        assert caught.value.reason is TrainingReason.INVALID_DATA
        return
    folds = splits.folds(y, "classification", count, seed)
    assert sorted(row for fold in folds for row in fold.test) == list(range(len(y)))
    for fold in folds:
        assert set(y[fold.train]) == set(y)
        assert not set(fold.train) & set(fold.test)


def test_folds_of_too_few_numbers() -> None:
    with pytest.raises(TrainingError, match="5 rows are too few for 3 folds"):
        splits.folds(np.arange(5.0), "regression", 3, 42)
