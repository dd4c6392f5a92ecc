from typing import Any

import numpy as np
import pytest

from fairlead_service.contract import TrainingReason
from fairlead_service.training import data
from fairlead_service.training.errors import TrainingError

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
NAN_CELL = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])


@pytest.mark.parametrize(
    ("x", "target", "names", "where", "words"),
    [
        (X, [0, 1], None, "/target", "2 labels for 3 rows"),
        (X, [1, 1, 1], None, "/target", "one class only, 1"),
        (X, [0, "1", 1], None, "/target/1", "0 is an integer, '1' in row 1 is a string"),
        (X, [True, 1, 0], None, "/target/1", "boolean"),
        (X, [0.5, 1, 2], None, "/target/0", "fractions are measurements"),
        (X, [0, 1, 2**64], None, "/target", "64 bits"),
        (X, [0.0, 1.0, float("nan")], None, "/target/2", "finite"),
        (X, ["a\0", "b", "c"], None, "/target/0", "NUL"),
        (NAN_CELL, [0, 1, 1], None, "/data/1/1", "nan in row 1, column 1"),
        (X[0], [0, 1], None, "/data", "matrix"),
        (X[:0], [], None, "/data", "matrix"),
        (X, [0, 1, 1], ["a"], "/feature_names", "1 names for 2 columns"),
        (X, [0, 1, 1], ["a", "a"], "/feature_names", "differ"),
    ],
)
def test_what_cannot_be_learned_from(x: Any, target: Any, names: Any, where: str, words: str) -> None:
    with pytest.raises(TrainingError) as caught:
        data.prepare(x, target, "classification", names)
    assert caught.value.reason is TrainingReason.INVALID_DATA
    assert caught.value.where == where
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("target", "kind"), [([0, 1, 1], "i"), ([True, False, True], "b"), (["a", "b", "a"], "U"), ([0.0, 1, 2], "f")]
)
def test_labels_keep_their_kind(target: Any, kind: str) -> None:
    assert data.prepare(X, target, "classification").y.dtype.kind == kind


def test_regression_takes_numbers() -> None:
    np.testing.assert_array_equal(data.prepare(X, [1, 2.5, 3], "regression").y, [1.0, 2.5, 3.0])
    for target in ([1, "a", 2], [True, 1, 2], [1, 2, 10**400]):
        with pytest.raises(TrainingError):
            data.prepare(X, target, "regression")


@pytest.mark.parametrize(
    ("target", "weights", "expected"),
    [
        ([0, 1, 1], {"0": 2.0, "1": 1.0}, {0: 2.0, 1: 1.0}),
        ([True, False, True], {"true": 2.0}, {True: 2.0}),
        (["a", "b", "b"], {"a": 2.0}, {"a": 2.0}),
        ([0, 1, 1], "balanced", "balanced"),
    ],
)
def test_class_weights_are_keyed_by_label(target: Any, weights: Any, expected: Any) -> None:
    given = {"class_weight": weights, "C": 1.0}
    assert data.keyed_by_label(given, data.label_array(target)) == {"class_weight": expected, "C": 1.0}
    assert given["class_weight"] is weights
