"""Every kind of estimator that the README promises passes the allow-list and the structure check."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn import (
    calibration,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    kernel_ridge,
    linear_model,
    model_selection,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from fairlead_service.loading import estimator as estimators
from fairlead_service.loading import proof
from fairlead_service.loading.example import Example
from fairlead_service.loading.traits import traits

LIMIT = 2**28
RNG = np.random.default_rng(7)
X = RNG.random((60, 4)).round(3)
LABELS = (X[:, 0] + X[:, 1] > 1).astype(int)
THREE = np.digitize(X[:, 0], [0.3, 0.6])
WORDS = np.array(["no", "yes"])[LABELS]
VALUES = X @ np.array([1.0, 2.0, 0.5, -1.0]) + 0.1 * X[:, 1]

linear = linear_model.LogisticRegression
columns = ColumnTransformer(
    [("scale", preprocessing.StandardScaler(), [0, 1]), ("fill", impute.SimpleImputer(), [2])], remainder="passthrough"
)
encoder = preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False)

KINDS: dict[str, tuple[Any, Any]] = {
    "decision tree": (tree.DecisionTreeClassifier(), WORDS),
    "regression tree": (tree.DecisionTreeRegressor(), VALUES),
    "random forest": (ensemble.RandomForestClassifier(5), THREE),
    "random forest, its own random state": (
        ensemble.RandomForestClassifier(3, random_state=np.random.RandomState(1)),
        LABELS,
    ),
    "random forest regressor": (ensemble.RandomForestRegressor(5), VALUES),
    "extra trees": (ensemble.ExtraTreesClassifier(5), LABELS.astype(bool)),
    "bagging": (ensemble.BaggingClassifier(n_estimators=3, max_features=0.5), LABELS),
    "adaboost": (ensemble.AdaBoostClassifier(n_estimators=3), LABELS),
    "gradient boosting": (ensemble.GradientBoostingClassifier(n_estimators=5), WORDS),
    "gradient boosting, three classes": (ensemble.GradientBoostingClassifier(n_estimators=5), THREE),
    "gradient boosting, exponential": (ensemble.GradientBoostingClassifier(loss="exponential", n_estimators=5), LABELS),
    "gradient boosting, init zero": (ensemble.GradientBoostingClassifier(init="zero", n_estimators=5), THREE),
    "gradient boosting, init forest": (ensemble.GradientBoostingClassifier(init=linear(), n_estimators=5), LABELS),
    "gradient boosting regressor": (ensemble.GradientBoostingRegressor(n_estimators=5), VALUES),
    "gradient boosting, huber": (ensemble.GradientBoostingRegressor(loss="huber", n_estimators=5), VALUES),
    "gradient boosting, quantile": (ensemble.GradientBoostingRegressor(loss="quantile", n_estimators=5), VALUES),
    "hist gradient boosting": (ensemble.HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5), LABELS),
    "hist gradient boosting, three classes": (
        ensemble.HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5),
        THREE,
    ),
    "hist gradient boosting regressor": (
        ensemble.HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5),
        VALUES,
    ),
    "hist gradient boosting, poisson": (ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=5), VALUES + 5),
    "voting": (
        ensemble.VotingClassifier([("a", linear()), ("b", tree.DecisionTreeClassifier())], voting="soft"),
        LABELS,
    ),
    "stacking": (ensemble.StackingClassifier([("a", linear()), ("b", neighbors.KNeighborsClassifier())], cv=2), LABELS),
    "logistic regression": (linear(), WORDS),
    "logistic regression, cross-validated": (linear_model.LogisticRegressionCV(cv=2), LABELS),
    "linear regression": (linear_model.LinearRegression(), VALUES),
    "ridge": (linear_model.RidgeCV(), VALUES),
    "ridge classifier": (linear_model.RidgeClassifier(), THREE),
    "lasso": (linear_model.Lasso(0.01), VALUES),
    "elastic net": (linear_model.ElasticNet(0.01), VALUES),
    "sgd, log loss": (linear_model.SGDClassifier(loss="log_loss"), LABELS),
    "sgd, hinge": (linear_model.SGDClassifier(), THREE),
    "sgd regressor": (linear_model.SGDRegressor(), VALUES),
    "huber": (linear_model.HuberRegressor(), VALUES),
    "poisson": (linear_model.PoissonRegressor(), VALUES + 5),
    "tweedie": (linear_model.TweedieRegressor(power=1.5, link="log"), VALUES + 5),
    "svc": (svm.SVC(), WORDS),
    "svc, three classes": (svm.SVC(kernel="poly"), THREE),
    "nu-svc": (svm.NuSVC(nu=0.3), LABELS),
    "svr": (svm.SVR(), VALUES),
    "linear svc": (svm.LinearSVC(), THREE),
    "nearest neighbours": (neighbors.KNeighborsClassifier(leaf_size=5), WORDS),
    "nearest neighbours, ball tree": (neighbors.KNeighborsRegressor(algorithm="ball_tree", leaf_size=5), VALUES),
    "nearest neighbours, manhattan": (neighbors.KNeighborsRegressor(metric="manhattan", algorithm="kd_tree"), VALUES),
    "nearest neighbours, brute": (neighbors.KNeighborsClassifier(algorithm="brute"), THREE),
    "nearest centroid": (neighbors.NearestCentroid(), THREE),
    "gaussian naive bayes": (naive_bayes.GaussianNB(), THREE),
    "bernoulli naive bayes": (naive_bayes.BernoulliNB(), LABELS),
    "linear discriminant analysis": (discriminant_analysis.LinearDiscriminantAnalysis(), THREE),
    "gaussian process": (gaussian_process.GaussianProcessRegressor(), VALUES),
    "gaussian process classifier": (gaussian_process.GaussianProcessClassifier(), LABELS),
    "kernel ridge": (kernel_ridge.KernelRidge(), VALUES),
    "neural network": (neural_network.MLPClassifier((4,), max_iter=20), LABELS),
    "calibrated": (calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2), LABELS),
    "calibrated, isotonic": (
        calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=2, method="isotonic"),
        LABELS,
    ),
    "one against the rest": (multiclass.OneVsRestClassifier(svm.LinearSVC()), THREE),
    "grid search": (model_selection.GridSearchCV(linear(), {"C": [0.1, 1]}, cv=2), LABELS),
    "scaled": (make_pipeline(preprocessing.StandardScaler(), linear()), LABELS),
    "robust, min-max, power, quantile": (
        make_pipeline(
            preprocessing.RobustScaler(),
            preprocessing.MinMaxScaler(),
            preprocessing.PowerTransformer(),
            preprocessing.QuantileTransformer(n_quantiles=10),
            linear_model.Ridge(),
        ),
        VALUES,
    ),
    "columns": (make_pipeline(columns, linear()), LABELS),
    "encoded": (make_pipeline(ColumnTransformer([("e", encoder, [0])], remainder="passthrough"), linear()), LABELS),
    "binned, sparse": (make_pipeline(preprocessing.KBinsDiscretizer(3, quantile_method="linear"), linear()), LABELS),
    "polynomial": (make_pipeline(preprocessing.PolynomialFeatures(2), linear_model.Ridge()), VALUES),
    "splines": (make_pipeline(preprocessing.SplineTransformer(), linear_model.Ridge()), VALUES),
    "principal components": (make_pipeline(PCA(2), linear()), LABELS),
    "best features": (make_pipeline(feature_selection.SelectKBest(k=2), linear()), LABELS),
    "important features": (
        make_pipeline(feature_selection.SelectFromModel(ensemble.RandomForestClassifier(3)), linear()),
        LABELS,
    ),
    "union": (
        Pipeline([("u", FeatureUnion([("p", PCA(2)), ("s", preprocessing.StandardScaler())])), ("c", linear())]),
        LABELS,
    ),
    "logarithm": (make_pipeline(preprocessing.FunctionTransformer(np.log1p), linear()), LABELS),
    "imputed": (make_pipeline(impute.SimpleImputer(), impute.KNNImputer(), linear()), LABELS),
    "transformed target": (
        TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1),
        VALUES + 5,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_passes_and_predicts_the_same(kind: str, tmp_path: Path) -> None:
    unfitted, target = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = unfitted.fit(X, target)
        expected = fitted.predict(X)
    file = tmp_path / "model.skops"
    file.write_bytes(skops.io.dumps(fitted))

    opened = estimators.open_skops(file, LIMIT)

    example = tuple(map(tuple, X[:5].tolist()))
    found = traits(opened.estimator, None, Example(None, example))
    assert proof.self_test(opened.estimator, found, example).verdict == "loaded"
    if found.task == "classification":
        np.testing.assert_array_equal(opened.estimator.predict(X), expected)
    else:  # arrays may come back in another memory order, and with it another order of summation
        np.testing.assert_allclose(opened.estimator.predict(X), expected, rtol=1e-12)
    assert found.columns.n_features == 4
    assert found.task == ("regression" if target.dtype == np.float64 else "classification")
    assert skops.io.loads(opened.skops, trusted=list(opened.trusted_types)) is not None


def test_categories_of_histogram_boosting(tmp_path: Path) -> None:
    x = np.column_stack([RNG.integers(0, 6, 200), RNG.random(200)])
    fitted = ensemble.HistGradientBoostingClassifier(categorical_features=[0], max_iter=10).fit(
        x, (x[:, 0] % 2).astype(int)
    )
    file = tmp_path / "model.skops"
    file.write_bytes(skops.io.dumps(fitted))

    opened = estimators.open_skops(file, LIMIT)

    assert any(p.nodes["is_categorical"].any() for stage in opened.estimator._predictors for p in stage)
    np.testing.assert_array_equal(opened.estimator.predict(x), fitted.predict(x))
