"""Whole pipelines: what the layout of the transformed matrix does to sums, and trees behind preprocessing."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from fairlead_service.loading.compile import NotCompiled, compile_model
from tests.examples import examples
from tests.unit.service.native import generated
from tests.unit.service.native.compared import difference, difference_together, open_native

pytestmark = pytest.mark.filterwarnings("ignore")
LINEAR = [LinearRegression(), LinearRegression(fit_intercept=False), Lasso(max_iter=3), LogisticRegression(max_iter=3)]
TREES = [
    DecisionTreeRegressor(max_depth=4),
    RandomForestClassifier(3, max_depth=4),
    GradientBoostingClassifier(n_estimators=3, max_depth=2),
    HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=3),
]
NAMES = ["a", "b", "c", "d", "e"]
_SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def fitted(pipeline: Any, x: Any, classes: int) -> Any:
    """Fits, and stores and loads it once, as every served model was."""
    final = pipeline[-1]
    y = np.arange(len(x)) % classes if hasattr(final, "predict_proba") or hasattr(final, "_label_binarizer") else x0(x)
    try:
        return pickle.loads(pickle.dumps(pipeline.fit(x, y)))
    except (ValueError, TypeError):  # what does not go together
        assume(False)


def x0(x: Any) -> Any:
    return np.nan_to_num(np.asarray(x)[:, -1]) * 3 + np.arange(len(x))


def check(data: st.DataObject, model: Any, width: int, missing: bool, directory: Any) -> None:
    backend = open_native(model, directory, width)
    for seed in (1, 2):
        rows = generated.training(width, seed, missing)
        for n in (1, 2, len(rows)):
            assert difference(model, backend, rows[:n]) is None
    assert difference(model, backend, data.draw(generated.matrices(width, missing=True))) is None
    requests = data.draw(st.lists(generated.matrices(width, missing), max_size=4))
    assert difference_together(model, backend, [rows[:1], *requests, rows, rows[1:2], rows[2:4]]) is None


@settings(_SETTINGS, max_examples=examples(60))
@given(st.data(), st.integers(2, 6), st.booleans(), st.sampled_from(LINEAR), st.integers(2, 3))
def test_linear_behind_columns_equal(
    tmp_path_factory: Any, data: st.DataObject, width: int, missing: bool, final: Any, classes: int
) -> None:
    columns = data.draw(generated.column_transformers(width, missing))
    before = data.draw(st.sampled_from(["nothing", "scaler"]))
    after = data.draw(st.one_of(generated.scalers(), st.just("passthrough")))
    steps = [
        *([MinMaxScaler()] if before == "scaler" and not missing else []),
        columns,
        *([SimpleImputer()] if missing else []),
        after,
    ]
    model = fitted(make_pipeline(*steps, final), generated.training(width, 0, missing), classes)
    assume(not isinstance(compile_model(model), NotCompiled))
    check(data, model, width, missing, tmp_path_factory.mktemp("pipeline") / "bundle")


@settings(_SETTINGS, max_examples=examples(25))
@given(st.data(), st.integers(2, 5), st.booleans(), st.sampled_from(TREES))
def test_trees_behind_columns_equal(
    tmp_path_factory: Any, data: st.DataObject, width: int, missing: bool, final: Any
) -> None:
    columns = data.draw(generated.column_transformers(width, missing))
    model = fitted(make_pipeline(columns, final), generated.training(width, 0, missing), 3)
    assume(not isinstance(compile_model(model), NotCompiled))
    check(data, model, width, missing, tmp_path_factory.mktemp("pipeline") / "bundle")


@settings(_SETTINGS, max_examples=examples(20))
@given(st.data(), st.booleans(), st.sampled_from([*LINEAR, RidgeClassifier()]))
def test_columns_by_name_equal(tmp_path_factory: Any, data: st.DataObject, missing: bool, final: Any) -> None:
    some = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True)
    columns = ColumnTransformer(
        [
            ("scaled", data.draw(generated.scalers()), data.draw(some)),
            ("filled", make_pipeline(SimpleImputer(), MinMaxScaler()), data.draw(st.one_of(some, st.just([0, 3])))),
            ("encoded", OneHotEncoder(handle_unknown="ignore", sparse_output=data.draw(st.booleans())), ["b"]),
        ],
        remainder=data.draw(st.sampled_from(["drop", "passthrough", StandardScaler()])),
        sparse_threshold=data.draw(st.sampled_from([0, 0.3, 1.0])),
    )
    steps = [columns, *([SimpleImputer()] if missing else [])]
    frame = pd.DataFrame(generated.training(5, 0, missing), columns=NAMES)
    model = fitted(make_pipeline(*steps, final), frame, 3)
    assume(not isinstance(compile_model(model), NotCompiled))
    check(data, model, 5, missing, tmp_path_factory.mktemp("pipeline") / "bundle")


@pytest.mark.parametrize("final", [ElasticNet(), Lasso(), Ridge()])
def test_only_elastic_nets_take_what_is_not_finite_in_a_sparse_matrix(tmp_path: Path, final: Any) -> None:
    x = generated.training(3, 0, missing=False)
    columns = ColumnTransformer(
        [("scaled", MaxAbsScaler(), [0]), ("encoded", OneHotEncoder(handle_unknown="ignore"), [1])]
    )
    columns.set_params(sparse_threshold=1.0)
    model = make_pipeline(columns, final).fit(x, x[:, 2])
    backend = open_native(model, tmp_path / "bundle", 3)
    for row in ([np.nan, 0, 0], [0, 0, 0], [1, 2, 3]):
        assert difference(model, backend, np.array([row], np.float64)) is None


def test_a_pipeline_around_an_unknown_estimator_says_which() -> None:
    from sklearn.neighbors import KNeighborsRegressor

    x = generated.training(3, 0, missing=False)
    result = compile_model(make_pipeline(StandardScaler(), KNeighborsRegressor()).fit(x, x[:, 0]))
    assert isinstance(result, NotCompiled)
    assert "KNeighborsRegressor" in result.reason


def test_a_sparse_matrix_is_not_imputed() -> None:
    x = generated.training(2, 0, missing=False)
    pipeline = make_pipeline(OneHotEncoder(), SimpleImputer(), LinearRegression()).fit(x, x[:, 0])
    assert isinstance(compile_model(pipeline), NotCompiled)
