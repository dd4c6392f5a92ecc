import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from fairlead_service.training import evaluate

X = np.random.default_rng(0).random((40, 2))
Y = (X[:, 0] > 0.5).astype(int)
THREE = np.digitize(X[:, 0], [0.3, 0.6])


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
@example([0] * 7 + [1] * 2, 0.75, 0)  # stratified, and yet no row of class 1 is left to learn from
def test_splits(labels: list[int], test_size: float, seed: int) -> None:
    y = np.array(labels)
    split = evaluate.split(y, "classification", test_size, seed)
    if split.method == "holdout":
        assert sorted([*split.train, *split.test]) == list(range(len(y)))
        assert set(y[split.train]) == set(y)
        assert len(split.test) >= len(set(labels))
        assert split.reason is None
    else:
        assert split.reason
        np.testing.assert_array_equal(split.train, np.arange(len(y)))
        np.testing.assert_array_equal(split.test, split.train)
    again = evaluate.split(y, "classification", test_size, seed)
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
    split = evaluate.split(np.array(y), "classification", 0.25, 42)
    assert split.report() == {
        "method": "training_data",
        "train_rows": len(y),
        "test_rows": len(y),
        "reason": reason,
    }


def test_regression_needs_two_rows_on_each_side() -> None:
    assert evaluate.split(np.arange(4.0), "regression", 0.25, 42).method == "training_data"
    assert evaluate.split(np.arange(5.0), "regression", 0.25, 42).report()["test_rows"] == 2


@pytest.mark.parametrize("y", [Y, THREE, Y.astype(bool), np.array(["no", "yes"])[Y], Y.astype(float)])
def test_classification_metrics(y: Any) -> None:
    found = evaluate.metrics(LogisticRegression().fit(X, y), X, y, "classification")
    assert set(found) == {"accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"}
    assert all(0 <= found[name] <= 1 for name in found if name != "log_loss")
    assert found["roc_auc"] > 0.9


def test_without_probabilities() -> None:
    found = evaluate.metrics(LinearSVC().fit(X, Y), X, Y, "classification")
    assert set(found) == {"accuracy", "precision", "recall", "f1"}


def test_an_undefined_area_is_left_out() -> None:
    fitted = LogisticRegression().fit(X, Y)
    found = evaluate.metrics(fitted, X[Y == 1], Y[Y == 1], "classification")
    assert "roc_auc" not in found
    assert math.isfinite(found["log_loss"])


def test_regression_metrics() -> None:
    y = 2 * X[:, 0] + 1
    found = evaluate.metrics(LinearRegression().fit(X, y), X, y, "regression")
    assert found["r2"] == pytest.approx(1)
    assert found["root_mean_squared_error"] == pytest.approx(0)
