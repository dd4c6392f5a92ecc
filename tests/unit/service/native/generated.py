"""Hypothesis strategies: transformers with parameters of any kind, and matrices of odd numbers."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

ROWS = 24
_ODD = [0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 1e-300, 1.0, -1.0, 2.0, 3.0, 7.0, 0.1, -2.5, 1e8, 1e16, 1e154, -1.7e308]
_BOTH = st.booleans()


def training(width: int, seed: int, missing: bool) -> NDArray[np.float64]:
    """Shape (ROWS, width): small integers in the first two columns, as encoders want them."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(ROWS, width)) * 10.0 ** rng.integers(-3, 4, size=width)
    matrix[:, :2] = rng.integers(0, 4, size=(ROWS, 2))[:, :width]
    if missing:
        matrix[rng.random(matrix.shape) < 0.2] = np.nan
    return matrix


def matrices(width: int, missing: bool) -> st.SearchStrategy[NDArray[np.float64]]:
    """One to six rows of odd numbers; NaN among them if `missing`, and rarely infinity."""
    odd = st.sampled_from([*_ODD, *([np.nan] * 4 if missing else [])])
    elements = st.one_of(odd, st.integers(0, 4).map(float), st.floats(-1e6, 1e6))
    shape = st.integers(1, 6).map(lambda rows: (rows, width))
    return shape.flatmap(lambda shape: numpy_st.arrays(np.float64, shape, elements=elements))


def scalers() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(StandardScaler, with_mean=_BOTH, with_std=_BOTH),
        st.builds(MinMaxScaler, clip=_BOTH, feature_range=st.sampled_from([(0, 1), (-2.5, 3)])),
        st.builds(RobustScaler, with_centering=_BOTH, with_scaling=_BOTH, unit_variance=_BOTH),
        st.builds(MaxAbsScaler),
    )


def imputers(add_indicator: st.SearchStrategy[bool] = _BOTH) -> st.SearchStrategy[Any]:
    strategies = st.sampled_from(["mean", "median", "most_frequent"])
    shared: dict[str, Any] = {"add_indicator": add_indicator, "keep_empty_features": _BOTH}
    return st.one_of(
        st.builds(SimpleImputer, strategy=strategies, **shared),
        st.builds(SimpleImputer, strategy=st.just("constant"), fill_value=st.sampled_from([None, -3.5, 7]), **shared),
    )


def one_hot() -> st.SearchStrategy[Any]:
    return st.builds(
        OneHotEncoder,
        handle_unknown=st.sampled_from(["error", "ignore", "infrequent_if_exist"]),
        drop=st.sampled_from([None, "first", "if_binary"]),
        sparse_output=_BOTH,
    )


def ordinal() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(OrdinalEncoder, encoded_missing_value=st.sampled_from([np.nan, -1])),
        st.builds(
            OrdinalEncoder,
            handle_unknown=st.just("use_encoded_value"),
            unknown_value=st.sampled_from([np.nan, -5, 99]),
            encoded_missing_value=st.sampled_from([np.nan, -1]),
        ),
    )


def polynomials() -> st.SearchStrategy[Any]:
    return st.builds(
        PolynomialFeatures,
        degree=st.sampled_from([1, 2, 3, (0, 2), (2, 3)]),
        interaction_only=_BOTH,
        include_bias=st.just(True),
        order=st.sampled_from(["C", "F"]),
    ) | st.builds(PolynomialFeatures, degree=st.sampled_from([1, 2, (2, 3)]), include_bias=st.just(False))


def selections(width: int) -> st.SearchStrategy[Any]:
    """Columns as ColumnTransformer takes them: indices, a slice, a mask."""
    indices = st.lists(st.integers(-width, width - 1), min_size=1, max_size=width, unique_by=lambda i: i % width)
    masks = st.lists(_BOTH, min_size=width, max_size=width).filter(any)
    slices = st.tuples(st.integers(0, width - 1), st.integers(1, width)).filter(lambda ends: ends[0] < ends[1])
    return st.one_of(indices, masks, masks.map(np.array), slices.map(lambda ends: slice(*ends)))


@st.composite
def column_transformers(draw: st.DrawFn, width: int, missing: bool) -> ColumnTransformer:
    """Overlapping blocks of everything there is; the encoders get the columns of small integers."""
    parts = []
    for number in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["scale", "impute", "one hot", "ordinal", "passthrough", "pipeline", "union"]))
        columns = (
            draw(selections(width)) if kind not in ("one hot", "ordinal") else draw(st.sampled_from([[0], [0, 1]]))
        )
        choices: dict[str, st.SearchStrategy[Any]] = {
            "scale": scalers(),
            "impute": imputers(),
            "one hot": one_hot(),
            "ordinal": ordinal(),
            "passthrough": st.just("passthrough"),
            "pipeline": st.builds(make_pipeline, imputers(), scalers(), polynomials()),
            "union": st.builds(
                lambda left, right, weights: FeatureUnion([("a", left), ("b", right)], transformer_weights=weights),
                scalers(),
                st.just("passthrough") if missing else polynomials(),
                st.sampled_from([None, {"a": 2.5}]),
            ),
        }
        parts.append((f"part{number}", draw(choices[kind]), columns))
    return ColumnTransformer(
        parts,
        remainder=draw(st.sampled_from(["drop", "passthrough"])),
        sparse_threshold=draw(st.sampled_from([0, 0.3, 1.0])),
        transformer_weights=draw(st.sampled_from([None, {"part0": 0.7}])),
    )
