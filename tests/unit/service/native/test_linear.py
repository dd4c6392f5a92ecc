"""Linear models: every type that is compiled, the same bits for one row and for many."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    OrthogonalMatchingPursuitCV,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from fairlead_service.loading.compile import NotCompiled, compile_model
from fairlead_service.loading.compile.linear import COMPILERS, compile_log_regressor, compile_regressor
from fairlead_service.models.backends.native.linear import build_linear
from fairlead_service.models.backends.native.program import Linear, ProgramError
from tests.unit.service.native.compared import compiled, difference, difference_together, open_native

pytestmark = pytest.mark.filterwarnings("ignore")
_REGRESSORS = [kind for kind, how in COMPILERS.items() if how in (compile_regressor, compile_log_regressor)]
_CLASSIFIERS = [kind for kind in COMPILERS if kind not in _REGRESSORS]


def matrix(rows: int, width: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(rows).normal(size=(rows, width)) * 10.0 ** (np.arange(width) % 5 - 2)


def target(kind: type, x: np.ndarray[Any, Any], classes: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(1)
    if kind in _REGRESSORS:
        return np.exp(x[:, 0] / 10 + rng.normal(size=len(x)))
    return np.resize(np.arange(classes), len(x))


def fit(model: Any, width: int, classes: int) -> Any:
    x = matrix(60, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, target(type(model), x, classes))


def small(kind: type) -> Any:
    """The model with few iterations: how well it fits is not the question."""
    model = kind()
    if kind is OrthogonalMatchingPursuitCV:
        return model
    few = {"max_iter": 9, "max_subpopulation": 30, "n_alphas": 3, "Cs": 2, "cv": 2, "use_legacy_attributes": False}
    return model.set_params(**{name: few[name] for name in few if name in model.get_params()})


def check(model: Any, width: int, directory: Path) -> None:
    backend = open_native(model, directory, width)
    for rows in (1, 2, 3, 5, 8, 33):
        assert difference(model, backend, matrix(rows, width)) is None
    # Rows on the decision boundary, denormals, zeros of both signs, numbers that overflow the product.
    odd = np.resize([0.0, -0.0, 5e-324, -5e-324, 1e-308, 1e16, 1.7e308, -1.7e308, 1.0], (9, width))
    for row in range(len(odd)):
        assert difference(model, backend, odd[row : row + 1]) is None
    assert difference(model, backend, odd) is None
    requests = [matrix(rows, width) for rows in (1, 1, 5, 1, 2, 33)] + [odd, odd[:1], odd[6:7]]
    assert difference_together(model, backend, requests) is None
    for bad in (np.nan, np.inf):
        assert difference(model, backend, np.full((2, width), bad)) is None


@pytest.mark.parametrize("kind", _REGRESSORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("width", [2, 6])
def test_regressors_equal(kind: type, width: int, tmp_path: Path) -> None:
    check(fit(small(kind), width, 2), width, tmp_path / "bundle")


@pytest.mark.parametrize("kind", _CLASSIFIERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("width", "classes"), [(1, 2), (5, 2), (4, 3), (30, 7)])
def test_classifiers_equal(kind: type, width: int, classes: int, tmp_path: Path) -> None:
    check(fit(small(kind), width, classes), width, tmp_path / "bundle")


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_without_intercept_equals(classes: int, tmp_path: Path) -> None:
    check(fit(LogisticRegression(fit_intercept=False, max_iter=5), 3, classes), 3, tmp_path / "bundle")


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_memory_order_of_coefficients_is_kept(order: Any, tmp_path: Path) -> None:
    model = fit(LogisticRegression(max_iter=5), 17, 5)
    model.coef_ = np.asarray(model.coef_, order=order)
    check(model, 17, tmp_path / "bundle")


@pytest.mark.parametrize("classes", [2, 3])
def test_a_sparse_product_adds_column_by_column(classes: int, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 4, size=(60, 6)).astype(float)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(max_iter=5))
    model.fit(x, np.resize(np.arange(classes), 60))
    estimator = compiled(model).program.estimator
    assert isinstance(estimator, Linear)
    assert estimator.product == "sparse"
    backend = open_native(model, tmp_path / "bundle", 6)
    for rows in (1, 3, 60):
        assert difference(model, backend, x[:rows] + (rows == 3)) is None
    assert difference_together(model, backend, [x[:1], x[1:4], x]) is None


class Mine(LinearRegression):
    pass


@pytest.mark.parametrize(
    "model",
    [
        Mine(),
        SGDClassifier(loss="modified_huber", max_iter=5),
        OneVsRestClassifier(LogisticRegression()),
    ],
)
def test_what_predicts_in_another_way_is_not_compiled(model: Any) -> None:
    x = matrix(20, 2)
    assert isinstance(compile_model(model.fit(x, np.resize([0, 1, 2], 20))), NotCompiled)


def test_several_outputs_are_not_compiled() -> None:
    x = matrix(20, 2)
    result = compile_model(LinearRegression().fit(x, x))
    assert isinstance(result, NotCompiled)
    assert "several outputs" in result.reason


def test_ridge_on_several_labels_is_not_compiled() -> None:
    x = matrix(20, 2)
    assert isinstance(compile_model(RidgeClassifier().fit(x, np.resize([[0, 1], [1, 0]], (20, 2)))), NotCompiled)


@pytest.mark.parametrize(
    ("coef", "intercept"),
    [
        (np.zeros((2, 4)), np.zeros(2)),
        (np.zeros((3, 3)), np.zeros(2)),
        (np.zeros(3), np.zeros(2)),
        (np.zeros((2, 3), np.float32), np.zeros(2)),
        (np.zeros((2, 3)), np.zeros(3)),
        (np.zeros((2, 3)), np.zeros((2, 2))),
        (None, np.zeros(2)),
    ],
)
def test_arrays_of_other_shapes_are_refused(coef: Any, intercept: Any) -> None:
    arrays = {"intercept": intercept, **({} if coef is None else {"coef": coef})}
    with pytest.raises(ProgramError):
        build_linear(Linear(coef="coef", intercept="intercept", width=2), arrays, 3)
