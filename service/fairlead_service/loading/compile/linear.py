"""Linear models: those whose predictions are one matrix product, plus the intercept."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    HuberRegressor,
    Lars,
    LarsCV,
    Lasso,
    LassoCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    OrthogonalMatchingPursuit,
    OrthogonalMatchingPursuitCV,
    Perceptron,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
    TheilSenRegressor,
)
from sklearn.svm import LinearSVC, LinearSVR

from fairlead_service.loading.compile.result import CompiledEstimator, Names, NotCompiled
from fairlead_service.models.backends.native.program import Linear, Output


def compile_regressor(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """What predicts by `LinearModel._decision_function`, or by the same product."""
    if estimator.coef_.ndim != 1:
        return NotCompiled(f"{_name(estimator)} predicts several outputs, or was fitted with y as a matrix")
    return _linear(estimator, names, 1, Output(kind="value"))


def compile_log_regressor(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """Generalised linear models with a log link."""
    return _linear(estimator, names, 1, Output(kind="exp"))


def compile_classifier(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """What predicts by `LinearClassifierMixin` and has no probabilities."""
    width = _width(estimator)
    if isinstance(width, NotCompiled):
        return width
    return _linear(estimator, names, width, Output(kind="binary" if width == 1 else "multiclass"))


def compile_logistic(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """LogisticRegression and LogisticRegressionCV: expit for two classes, softmax for more."""
    # Until 1.8 there is a parameter for other formulas; it is on its way out.
    if getattr(estimator, "multi_class", "deprecated") not in ("deprecated", "auto"):
        return NotCompiled(f"{_name(estimator)} has multi_class={estimator.multi_class!r}")
    width = _width(estimator)
    if isinstance(width, NotCompiled):
        return width
    if width == 1:
        return _linear(estimator, names, 1, Output(kind="binary", probabilities="expit"))
    if estimator.solver == "liblinear":
        return NotCompiled(f"{_name(estimator)} makes its probabilities one class at a time (liblinear)")
    return _linear(estimator, names, width, Output(kind="multiclass", probabilities="softmax"))


def compile_sgd_classifier(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """SGDClassifier, if its loss gives no probabilities or logistic ones of two classes."""
    width = _width(estimator)
    if isinstance(width, NotCompiled):
        return width
    if not hasattr(estimator, "predict_proba"):
        return compile_classifier(estimator, names)
    if estimator.loss != "log_loss" or width > 1:
        return NotCompiled(f"SGDClassifier has probabilities of the loss {estimator.loss!r} for {width} scores")
    return _linear(estimator, names, 1, Output(kind="binary", probabilities="expit"))


_Compiler = Callable[[Any, Names], CompiledEstimator | NotCompiled]

COMPILERS: Mapping[type, _Compiler] = {
    ARDRegression: compile_regressor,
    BayesianRidge: compile_regressor,
    ElasticNet: compile_regressor,
    ElasticNetCV: compile_regressor,
    GammaRegressor: compile_log_regressor,
    HuberRegressor: compile_regressor,
    Lars: compile_regressor,
    LarsCV: compile_regressor,
    Lasso: compile_regressor,
    LassoCV: compile_regressor,
    LassoLars: compile_regressor,
    LassoLarsCV: compile_regressor,
    LassoLarsIC: compile_regressor,
    LinearRegression: compile_regressor,
    LinearSVC: compile_classifier,
    LinearSVR: compile_regressor,
    LogisticRegression: compile_logistic,
    LogisticRegressionCV: compile_logistic,
    OrthogonalMatchingPursuit: compile_regressor,
    OrthogonalMatchingPursuitCV: compile_regressor,
    Perceptron: compile_classifier,
    PoissonRegressor: compile_log_regressor,
    QuantileRegressor: compile_regressor,
    Ridge: compile_regressor,
    RidgeCV: compile_regressor,
    RidgeClassifier: compile_classifier,
    RidgeClassifierCV: compile_classifier,
    SGDClassifier: compile_sgd_classifier,
    SGDRegressor: compile_regressor,
    TheilSenRegressor: compile_regressor,
}


def _width(estimator: Any) -> int | NotCompiled:
    """How many scores a row has: 1 for two classes, else as many as classes."""
    if not isinstance(estimator.coef_, np.ndarray):
        return NotCompiled(f"{_name(estimator)} has sparse coefficients")
    classes = np.asarray(estimator.classes_)
    expected = 1 if len(classes) == 2 else len(classes)
    # RidgeClassifier has a vector for two classes.
    shapes = [(expected,), ()] if expected == 1 else [(expected,)]
    if classes.ndim != 1 or len(classes) < 2 or estimator.coef_.shape[:-1] not in shapes:
        return NotCompiled(f"{_name(estimator)} does not have one row of coefficients a class")
    return expected


def _linear(estimator: Any, names: Names, width: int, output: Output) -> CompiledEstimator | NotCompiled:
    coef = estimator.coef_
    if not isinstance(coef, np.ndarray) or coef.dtype != np.float64:
        return NotCompiled(f"{_name(estimator)} has coefficients that are not a matrix of float64")
    # A float64, or an array of one element a score; a scalar and one element are added alike.
    intercept = np.asarray(estimator.intercept_, np.float64)
    if intercept.shape not in ((), (width,)):
        return NotCompiled(f"{_name(estimator)} has intercepts of shape {intercept.shape}")
    record = Linear(
        coef=names.put("linear.coef", coef), intercept=names.put("linear.intercept", intercept), width=width
    )
    return CompiledEstimator(record, output)


def _name(estimator: Any) -> str:
    return type(estimator).__name__
