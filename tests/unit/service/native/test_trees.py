"""Compiled tree ensembles answer as scikit-learn's own, bit for bit."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
from threadpoolctl import threadpool_limits

from fairlead_service.loading.compile import NotCompiled, compile_model
from fairlead_service.models.backends import Want
from tests.examples import examples
from tests.unit.service.native.compared import difference, open_native
from tests.unit.service.native.hostile import hostile_rows

TREES = {
    DecisionTreeClassifier: {"criterion": ["gini", "entropy", "log_loss"], "splitter": ["best", "random"]},
    ExtraTreeClassifier: {"max_features": [None, "sqrt"], "max_leaf_nodes": [None, 5]},
    RandomForestClassifier: {"class_weight": [None, "balanced", "balanced_subsample"], "max_depth": [1, 4, None]},
    ExtraTreesClassifier: {"bootstrap": [False, True], "max_leaf_nodes": [None, 7]},
    DecisionTreeRegressor: {"criterion": ["squared_error", "poisson", "absolute_error"], "ccp_alpha": [0.0, 0.1]},
    ExtraTreeRegressor: {"min_samples_leaf": [1, 7], "max_leaf_nodes": [None, 5]},
    RandomForestRegressor: {"max_features": [1.0, 0.5], "max_depth": [1, 4, None]},
    ExtraTreesRegressor: {"bootstrap": [False, True], "min_samples_split": [2, 20]},
    GradientBoostingClassifier: {
        "loss": ["log_loss", "exponential"],
        "init": [None, "zero", DummyClassifier(strategy="uniform")],
        "learning_rate": [0.1, 1.0],
        "subsample": [1.0, 0.7],
    },
    GradientBoostingRegressor: {
        "loss": ["squared_error", "absolute_error", "huber", "quantile"],
        "init": [None, "zero"],
        "max_leaf_nodes": [None, 4],
    },
    HistGradientBoostingClassifier: {"learning_rate": [0.1, 1.0], "l2_regularization": [0.0, 1.0]},
    HistGradientBoostingRegressor: {
        "loss": ["squared_error", "absolute_error", "gamma", "poisson", "quantile"],
        "monotonic_cst": [None, 1],
    },
}
ENSEMBLES = ("Forest", "ExtraTrees", "GradientBoosting")


@st.composite
def fitted(draw: st.DrawFn) -> tuple[Any, bool]:
    """A fitted tree model and whether it takes NaN."""
    kind = draw(st.sampled_from(list(TREES)))
    name = kind.__name__
    parameters = {key: draw(st.sampled_from(values)) for key, values in TREES[kind].items()}
    seed, n, p = draw(st.integers(0, 2**16)), draw(st.integers(20, 120)), draw(st.integers(1, 6))
    size = draw(st.sampled_from([1, 2, 7, 8, 9, 17]))
    if name.startswith("Hist"):
        parameters |= {"max_iter": size, "min_samples_leaf": draw(st.sampled_from([1, 5])), "early_stopping": False}
        if parameters.get("monotonic_cst"):
            parameters["monotonic_cst"] = [1] + [0] * (p - 1)
        if parameters.get("loss") == "quantile":
            parameters["quantile"] = 0.3
    elif any(part in name for part in ENSEMBLES):
        parameters["n_estimators"] = size
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, p)) * 10.0 ** draw(st.integers(-6, 6))
    if draw(st.booleans()):
        rows = np.round(rows, draw(st.integers(0, 2)))  # ties
    takes_missing = not name.startswith("Gradient")
    if takes_missing and parameters.get("splitter") != "random" and draw(st.booleans()):
        rows[random.random(rows.shape) < 0.2] = np.nan
        if "ExtraTree" in name or parameters.get("criterion") == "absolute_error":
            rows = np.nan_to_num(rows)
    weights = random.integers(0, 4, n) + random.random(n) if draw(st.booleans()) else None
    if "Classifier" in name:
        n_classes = 2 if parameters.get("loss") == "exponential" else draw(st.sampled_from([2, 3, 9]))
        labels = draw(st.sampled_from([np.arange(9), np.array(list("qwertzuio")), np.arange(9) - 4.0]))
        target: NDArray[Any] = labels[np.arange(n) % n_classes]
        random.shuffle(target)
    else:
        target = random.exponential(size=n) + 1e-3
    with threadpool_limits(1):  # on a busy machine the threads of small fits wait for each other
        estimator = kind(random_state=seed, **parameters).fit(rows, target, sample_weight=weights)
    return estimator, takes_missing


def assert_exact(estimator: Any, rows: NDArray[np.float64], directory: Path) -> None:
    """The backend answers as the estimator does for all rows together, and for each of some alone."""
    backend = open_native(estimator, directory, estimator.n_features_in_)
    for some in (rows, *(rows[i : i + 1] for i in range(0, len(rows), max(1, len(rows) // 3)))):
        assert difference(estimator, backend, some) is None
    bare = backend.evaluate(rows, Want())
    assert bare.predictions.tolist() == estimator.predict(rows).tolist()
    assert bare.probabilities is None
    assert bare.scores is None


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(model=fitted(), n=st.sampled_from([1, 7, 8, 63, 64, 65, 200]), seed=st.integers(0, 2**16))
def test_answers_are_scikit_learns_bit_for_bit(model: tuple[Any, bool], n: int, seed: int) -> None:
    estimator, missing = model
    with TemporaryDirectory() as directory:
        assert_exact(estimator, hostile_rows(estimator, n, seed, missing=missing), Path(directory) / "bundle")


@pytest.fixture(scope="module")
def data() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    return random.normal(size=(400, 5)), random.integers(0, 10, 400)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(60, random_state=0),
        GradientBoostingClassifier(n_estimators=4, random_state=0),
        HistGradientBoostingClassifier(max_iter=4, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_a_rows_answer_does_not_depend_on_its_company(
    estimator: Any, data: tuple[NDArray[np.float64], NDArray[np.int64]], tmp_path: Path
) -> None:
    backend = open_native(estimator.fit(*data), tmp_path / "bundle", 5)
    rows = hostile_rows(estimator, 1200, 1, missing=not isinstance(estimator, GradientBoostingClassifier))
    whole = backend.evaluate(rows, Want())
    for size in (1, 7, 63, 64, 65, 1024):
        for start in (0, 3, 1200 - size):
            answer = backend.evaluate(rows[start : start + size], Want())
            assert answer.predictions.tolist() == whole.predictions[start : start + size].tolist()


def test_ten_classes_are_summed_in_scikit_learns_memory_order(
    data: tuple[NDArray[np.float64], NDArray[np.int64]], tmp_path: Path
) -> None:
    """From eight columns on, numpy adds a row's values up in another order if the matrix lies the other way."""
    for number, kind in enumerate((HistGradientBoostingClassifier, GradientBoostingClassifier)):
        size = {"max_iter": 5} if number == 0 else {"n_estimators": 5}
        estimator = kind(random_state=0, **size).fit(*data)
        assert_exact(estimator, hostile_rows(estimator, 1024, 2, missing=False), tmp_path / str(number))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e308, -1e39, 3.4028235677973366e38])
@pytest.mark.parametrize("n", [1, 8, 100])
def test_numbers_beyond_float32_are_refused_in_scikit_learns_words(
    bad: float, n: int, data: tuple[NDArray[np.float64], NDArray[np.int64]], tmp_path: Path
) -> None:
    estimator = DecisionTreeClassifier().fit(*data)
    rows = data[0][:n].copy()
    rows[-1, -1] = bad
    with pytest.raises(ValueError, match=r"Input X contains .* large") as theirs:
        estimator.predict(rows)
    with pytest.raises(ValueError, match=r"Input X contains .* large") as ours:
        open_native(estimator, tmp_path / "bundle", 5).evaluate(rows, Want())
    assert str(ours.value) == str(theirs.value)


def test_a_leaf_of_minus_zero_stays_minus_zero(tmp_path: Path) -> None:
    rows = np.array([[0.0], [1.0], [2.0]])
    estimator = DecisionTreeRegressor(criterion="absolute_error").fit(rows, np.array([-0.0, -0.0, 5.0]))
    assert_exact(estimator, rows, tmp_path / "bundle")


@pytest.mark.parametrize("labels", [[False, True], ["no", "yes"], [1.0, 2.0], [-3, 7]])
def test_labels_keep_their_type(labels: list[Any], tmp_path: Path) -> None:
    rows = np.array([[0.0], [1.0]])
    assert_exact(DecisionTreeClassifier().fit(rows, labels), rows, tmp_path / "bundle")


def test_what_cannot_be_repeated_is_not_compiled() -> None:
    random = np.random.default_rng(0)
    rows, target = random.normal(size=(60, 2)), random.integers(0, 2, 60)
    rows[:, 1] = random.integers(0, 3, 60)

    class Subclass(RandomForestClassifier):
        pass

    several = np.stack([target, target], axis=1)
    for estimator, reason in [
        (SVC().fit(rows, target), "sklearn.svm._classes.SVC is not an estimator that the compiler knows"),
        (Subclass(2).fit(rows, target), "Subclass is not an estimator"),
        (DecisionTreeClassifier().fit(rows, several), "DecisionTreeClassifier predicts 2 outputs"),
        (RandomForestRegressor(2).fit(rows, several), "RandomForestRegressor predicts 2 outputs"),
        (GradientBoostingClassifier(init=LogisticRegression()).fit(rows, target), "which is not a constant"),
        (
            GradientBoostingClassifier(init=DummyClassifier(strategy="stratified")).fit(rows, target),
            "which is not a constant",
        ),
        (HistGradientBoostingClassifier(categorical_features=[1]).fit(rows, target), "has categorical features"),
        (HistGradientBoostingClassifier(max_iter=2).fit(rows, np.zeros(60)), "knows one class only"),
    ]:
        compiled = compile_model(estimator)
        assert isinstance(compiled, NotCompiled)
        assert reason in compiled.reason
