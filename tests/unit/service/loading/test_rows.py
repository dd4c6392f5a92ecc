"""Rows that are made to lie on a model's thresholds do."""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from fairlead_service.loading import rows
from fairlead_service.loading.compile import Compiled, compile_model
from fairlead_service.models.backends.native.program import MISSING_LEFT, Trees

RANDOM = np.random.default_rng(2)
X = RANDOM.normal(size=(400, 5))
Y = RANDOM.integers(0, 3, 400)


def program(estimator: Any) -> tuple[Compiled, Trees]:
    made = compile_model(estimator)
    assert isinstance(made, Compiled)
    assert isinstance(made.program.estimator, Trees)
    return made, made.program.estimator


def sets(estimator: Any, *, missing: bool = False, width: int = 5) -> dict[str, Any]:
    made, _ = program(estimator)
    found = rows.for_program(made.program, made.arrays, estimator, None, width, missing=missing)
    return {each.kind: each.matrix for each in found}


def test_a_pair_of_rows_for_every_node() -> None:
    """A deep tree on noise: each node is reached by a row that then goes left, and by one that goes right."""
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
    visited = tree.decision_path(sets(tree)["rows on the model's thresholds"]).toarray()
    inner = tree.tree_.children_left >= 0
    assert 100 < inner.sum() < rows.MOST_ROWS / 4
    assert visited[:, tree.tree_.children_left[inner]].any(axis=0).all()
    assert visited[:, tree.tree_.children_right[inner]].any(axis=0).all()


@pytest.mark.parametrize("cast", ["float32", "float64"])
def test_they_are_next_to_each_other(cast: str) -> None:
    models = {"float32": RandomForestClassifier(3), "float64": HistGradientBoostingRegressor(max_iter=3)}
    made, trees = program(models[cast].fit(X, Y))
    nodes = made.arrays[trees.nodes]
    split = nodes[nodes["feature"] >= 0]
    pairs = sets(models[cast])["rows on the model's thresholds"].reshape(-1, 2, 5)
    assert len(pairs) == len(split)
    for (below, above), node in zip(pairs, split, strict=True):
        column = node["feature"] & ~MISSING_LEFT
        seen = [np.dtype(cast).type(row[column]) for row in (below, above)]
        assert seen[1] > node["threshold"]
        assert cast == "float64" or seen[0] <= seen[1]
        assert cast == "float32" or seen == [node["threshold"], np.nextafter(node["threshold"], np.inf)]


def test_missing_values_only_where_they_are_taken() -> None:
    forest = RandomForestClassifier(3).fit(X, Y)
    assert not np.isnan(np.vstack(list(sets(forest).values()))).any()
    lacking = sets(forest, missing=True)["rows with missing values"]
    assert np.isnan(lacking).any(axis=1).mean() > 0.7
    assert np.isnan(lacking).all(axis=1).sum() >= 1


def test_many_trees_get_few_rows() -> None:
    few = sets(RandomForestClassifier(2000, max_depth=1, max_samples=20).fit(X, Y))
    assert sum(map(len, few.values())) < 2 * rows.FEWEST_ROWS


def test_many_columns_get_few_rows() -> None:
    wide = RANDOM.normal(size=(20, 20_000))
    tree = DecisionTreeClassifier().fit(wide, Y[:20])
    assert sum(matrix.size for matrix in sets(tree, width=20_000).values()) < 8_000_000


def test_categories_are_used_as_they_are() -> None:
    encoder = OneHotEncoder().fit(np.round(X))
    matrix = rows.for_fallback(encoder, tuple(map(tuple, X[:2])), 5, 10)
    assert matrix.shape == (10, 5)
    assert (matrix[::2] == np.resize(X[:2], (5, 5))).all()


def test_the_largest_numbers_alone() -> None:
    for each in rows.largest(np.zeros((1, 3)))[1:]:
        assert each.matrix.shape == (1, 3)
