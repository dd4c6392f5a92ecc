"""The steps, one transformer at a time: the same bits in the same memory order, the same refusals."""

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
)

from fairlead_service.loading.compile import NotCompiled, compile_model
from fairlead_service.models.backends.native.program import ProgramError
from fairlead_service.models.backends.native.steps import Step
from fairlead_service.models.backends.native.transforms import build_steps
from tests.examples import examples
from tests.unit.service.native import generated
from tests.unit.service.native.compared import steps_of

pytestmark = pytest.mark.filterwarnings("ignore")
WIDTH = 4


def fitted(*transformers: Any, matrix: Any) -> Any:
    return make_pipeline(*transformers, LinearRegression()).fit(matrix, np.arange(len(matrix)))


def outcome(evaluate: Any, matrix: Any) -> tuple[Any, ...]:
    """Bits and strides of what comes out, or the words of the refusal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = evaluate(matrix)
    except ValueError as error:
        return ("refused", str(error))
    out = out.toarray() if hasattr(out, "toarray") else out
    return out.shape, out.strides, out.dtype, np.where(np.isnan(out), np.nan, out).tobytes()


def check(pipeline: Any, matrix: Any) -> None:
    """Compares what the final estimator is given, or the refusal."""
    whole = outcome(pipeline.predict, matrix.copy())
    expected = whole if whole[0] == "refused" else outcome(pipeline[:-1].transform, matrix.copy())
    before = matrix.tobytes()
    assert outcome(steps_of(pipeline, matrix.shape[1]), matrix) == expected
    assert matrix.tobytes() == before


@settings(max_examples=examples(70), deadline=None)
@given(st.data(), generated.scalers(), st.integers(0, 9))
def test_scalers_equal(data: st.DataObject, scaler: Any, seed: int) -> None:
    pipeline = fitted(scaler, matrix=generated.training(WIDTH, seed, missing=False))
    check(pipeline, data.draw(generated.matrices(WIDTH, missing=True)))


@settings(max_examples=examples(70), deadline=None)
@given(st.data(), generated.imputers(), st.integers(0, 9), st.booleans())
def test_imputers_equal(data: st.DataObject, imputer: Any, seed: int, empty: bool) -> None:
    matrix = generated.training(WIDTH, seed, missing=True)
    if empty:
        matrix[:, 2] = np.nan
    check(fitted(imputer, matrix=matrix), data.draw(generated.matrices(WIDTH, missing=True)))


@settings(max_examples=examples(25), deadline=None)
@given(st.data(), st.sampled_from([0, -1.0, 3]), st.booleans())
def test_imputers_of_a_number_equal(data: st.DataObject, marker: Any, indicator: bool) -> None:
    imputer = SimpleImputer(missing_values=marker, add_indicator=indicator)
    pipeline = fitted(imputer, matrix=generated.training(WIDTH, 0, missing=False))
    check(pipeline, data.draw(generated.matrices(WIDTH, missing=data.draw(st.booleans()))))


@settings(max_examples=examples(70), deadline=None)
@given(st.data(), st.one_of(generated.one_hot(), generated.ordinal()), st.integers(0, 9), st.booleans())
def test_encoders_equal(data: st.DataObject, encoder: Any, seed: int, missing: bool) -> None:
    matrix = generated.training(2, seed, missing)
    pipeline = make_pipeline(encoder, SimpleImputer() if isinstance(encoder, OrdinalEncoder) else None)
    pipeline = fitted(*(step for _, step in pipeline.steps if step is not None), matrix=matrix)
    check(pipeline, data.draw(generated.matrices(2, missing)))


@settings(max_examples=examples(60), deadline=None)
@given(st.data(), generated.polynomials(), st.integers(1, 4))
def test_polynomials_equal(data: st.DataObject, polynomial: Any, width: int) -> None:
    if polynomial.interaction_only and polynomial.degree == (2, 3) and width < 2:
        width = 2
    pipeline = fitted(polynomial, matrix=generated.training(width, 1, missing=False))
    check(pipeline, data.draw(generated.matrices(width, missing=True)))


def test_infinity_made_inside_is_refused_in_scikit_learns_words() -> None:
    pipeline = fitted(PolynomialFeatures(), StandardScaler(), matrix=generated.training(WIDTH, 0, missing=False))
    with pytest.raises(ValueError, match=r"^Input X contains infinity or a value too large for dtype\('float64'\)\.$"):
        steps_of(pipeline, WIDTH)(np.full((1, WIDTH), 1e200))


def test_an_unknown_category_is_refused_in_scikit_learns_words() -> None:
    pipeline = fitted(OneHotEncoder(), matrix=generated.training(2, 0, missing=False))
    with pytest.raises(ValueError, match=r"^Found unknown categories \[np\.float64\(9\.0\)\] in column 1 during"):
        steps_of(pipeline, 2)(np.array([[0.0, 9.0], [8.0, 9.0]])[:1])


@pytest.mark.parametrize(
    "transformer",
    [
        StandardScaler(copy=False),
        SimpleImputer(copy=False),
        FunctionTransformer(np.log1p),
        FunctionTransformer(validate=True),
        QuantileTransformer(n_quantiles=5),
        StandardScaler().set_output(transform="pandas"),
        OneHotEncoder(min_frequency=0.3, handle_unknown="infrequent_if_exist"),
        OneHotEncoder(dtype=np.float32, handle_unknown="ignore"),
        OrdinalEncoder(dtype=np.int64),
        ColumnTransformer([("a", FunctionTransformer(np.abs), [0])]),
        type("Scaler", (StandardScaler,), {})(),
    ],
)
def test_what_cannot_be_repeated_is_not_compiled(transformer: Any) -> None:
    matrix = np.abs(generated.training(2, 0, missing=False)).round()
    result = compile_model(fitted(transformer, matrix=matrix))
    assert isinstance(result, NotCompiled)
    assert result.reason


HOSTILE: list[dict[str, Any]] = [
    {"kind": "scale", "operations": [{"operator": "add", "operand": "short"}]},
    {"kind": "scale", "operations": [{"operator": "add", "operand": "int"}]},
    {"kind": "scale", "operations": [{"operator": "add", "operand": "absent"}]},
    {"kind": "impute", "missing": None, "values": "short"},
    {"kind": "impute", "missing": None, "values": "floats", "keep": "beyond"},
    {"kind": "impute", "missing": None, "values": "floats", "indicators": "negative"},
    {"kind": "one_hot", "categories": "floats", "offsets": "int", "unknown": "error"},
    {"kind": "one_hot", "categories": "floats", "offsets": "offsets", "unknown": "error", "keep": "beyond"},
    {"kind": "ordinal", "categories": "nan_first", "offsets": "late", "unknown": None},
    {"kind": "ordinal", "categories": "floats", "offsets": "gap", "unknown": None},
    {"kind": "polynomial", "bias": True, "parents": "beyond", "factors": "int", "levels": [2]},
    {"kind": "polynomial", "bias": True, "parents": "int", "factors": "beyond", "levels": [2]},
    {"kind": "polynomial", "bias": True, "parents": "int", "factors": "int", "levels": [9]},
    {"kind": "polynomial", "bias": True, "parents": "int", "factors": "int", "levels": [2], "drop": 99},
    {"kind": "columns", "blocks": []},
    {"kind": "columns", "blocks": [{"columns": {"indices": "beyond"}}]},
    {"kind": "columns", "blocks": [{"columns": {"slice": [0, 2, 0]}}]},
]
ARRAYS = {
    "floats": np.arange(2.0),
    "short": np.arange(1.0),
    "int": np.arange(2),
    "beyond": np.array([0, 2000000000]),
    "negative": np.array([-1, 0]),
    "offsets": np.array([0, 1, 2]),
    "gap": np.array([0, 0, 2]),
    "late": np.array([0, 2, 3]),
    "nan_first": np.array([np.nan, 1.0, 2.0]),
}


@pytest.mark.parametrize("record", HOSTILE)
def test_arrays_that_are_not_what_a_record_needs_are_refused(record: dict[str, Any]) -> None:
    step = TypeAdapter(Step).validate_json(json.dumps(record))
    with pytest.raises(ProgramError):
        build_steps([step], ARRAYS, 2)


def test_steps_cannot_multiply_columns_without_end() -> None:
    block = {"columns": {}}
    step = TypeAdapter(Step).validate_python({"kind": "columns", "blocks": [block] * 10})
    with pytest.raises(ProgramError, match="columns"):
        build_steps([step] * 40, {}, 2)
