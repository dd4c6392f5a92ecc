"""Files whose types are allowed and whose contents would lead native code outside its arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import structure

RNG = np.random.default_rng(3)
X = RNG.random((120, 3))
Y = (X[:, 0] > 0.5).astype(int)
THREE = np.digitize(X[:, 0], [0.3, 0.6])


def alter_tree(tree: Any, change: Callable[[dict[str, Any]], None]) -> None:
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    change(state)
    tree.__setstate__(state)


def set_field(field: str, value: int) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        state["nodes"][field][0] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_field("left_child", 10**6),
        set_field("right_child", -7),
        set_field("left_child", 0),
        set_field("feature", 3),
        set_field("feature", -2),
        lambda state: state.update(node_count=10**9),
        lambda state: state.update(node_count=0),
    ],
)
def test_trees(change: Callable[[dict[str, Any]], None]) -> None:
    forest = RandomForestClassifier(3).fit(X, Y)
    structure.check(forest)
    alter_tree(forest.estimators_[1].tree_, change)
    refuses(make_pipeline(forest))


def test_forest_narrower_than_its_trees() -> None:
    forest = RandomForestClassifier(3).fit(X, Y)
    forest.n_features_in_ = 1
    refuses(forest)


def test_tree_wider_than_its_estimator() -> None:
    tree = DecisionTreeClassifier().fit(X, Y)
    tree.n_features_in_ = 1
    refuses(tree)


def test_boosting_whose_first_guess_is_too_narrow() -> None:
    boosting = GradientBoostingClassifier(n_estimators=2).fit(X, THREE)
    boosting.init_ = DummyClassifier(strategy="prior").fit(X, Y)
    refuses(boosting)


def test_boosting_with_too_many_trees_a_stage() -> None:
    boosting = GradientBoostingClassifier(n_estimators=2).fit(X, Y)
    boosting.estimators_ = np.hstack([boosting.estimators_] * 40)
    refuses(boosting)


@pytest.mark.parametrize("field", ["left", "right", "feature_idx"])
def test_histogram_boosting(field: str) -> None:
    boosting = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    structure.check(boosting)
    boosting._predictors[0][0].nodes[field][0] = 10**6
    refuses(boosting)


def test_histogram_boosting_with_a_category_set_it_does_not_have() -> None:
    boosting = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    boosting._predictors[0][0].nodes["is_categorical"][0] = 1
    refuses(boosting)


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
@pytest.mark.parametrize(
    ("position", "change"),
    [
        (1, lambda order: np.full_like(order, 10**6)),
        (1, lambda order: order[:5].copy()),
        (3, lambda bounds: bounds[:, :1].copy()),
        (5, lambda levels: levels + 30),
    ],
)
def test_neighbours(algorithm: str, position: int, change: Callable[[Any], Any]) -> None:
    neighbours = KNeighborsClassifier(algorithm=algorithm, leaf_size=5).fit(X, Y)
    structure.check(neighbours)
    state = list(neighbours._tree.__getstate__())
    state[position] = change(state[position])
    neighbours._tree.__setstate__(tuple(state))
    refuses(neighbours)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("_n_support", np.array([10**6, 1], dtype=np.int32)),
        ("_dual_coef_", np.ones((1, 1))),
        ("_intercept_", np.ones(0)),
        ("_probA", np.ones(3)),
        ("support_vectors_", np.ones((1, 3))),
    ],
)
def test_support_vectors(attribute: str, value: Any) -> None:
    machine = SVC().fit(X, Y)
    structure.check(machine)
    setattr(machine, attribute, value)
    refuses(machine)


def test_sparse_coefficients() -> None:
    model = LogisticRegression().fit(X, Y).sparsify()
    structure.check(model)
    model.coef_ = scipy.sparse.csr_matrix(model.coef_)
    model.coef_.indices[0] = 10**6
    refuses(model)


def test_splines() -> None:
    splines = SplineTransformer().fit(X)
    structure.check(splines)
    splines.bsplines_[0].c = splines.bsplines_[0].c[:2]
    refuses(splines)


def test_missing_parts_are_corrupt_too() -> None:
    boosting = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    del boosting._bin_mapper
    refuses(boosting)


def test_nested_too_deeply() -> None:
    model = LogisticRegression()
    nest: list[Any] = []
    for _ in range(1000):
        nest = [nest]
    model.C = nest
    refuses(model)


def refuses(estimator: Any) -> None:
    with pytest.raises(LoadError) as caught:
        structure.check(estimator)
    assert caught.value.reason is FailureReason.MODEL_CORRUPT
