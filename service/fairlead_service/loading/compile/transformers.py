"""Preprocessing: the transformers that work on one matrix, each as the step that repeats it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from fairlead_service.loading.compile.result import Names
from fairlead_service.models.backends.native.steps import (
    Check,
    Impute,
    OneHot,
    Operation,
    Ordinal,
    Polynomial,
    Scale,
    Step,
)

Finite = Literal["unknown", "no_infinity", "finite"]
_MAX_POLYNOMIAL = 1 << 16


class CannotCompileError(Exception):
    """Some part of a pipeline cannot be repeated; the message says which and why."""


@dataclass(frozen=True)
class State:
    """What scikit-learn has at a point of a pipeline."""

    width: int
    sparse: bool = False
    finite: Finite = "unknown"
    """What is certain of the values, so that a check that can find nothing is left out."""
    frame: bool = False
    """A pandas DataFrame, so that columns can be selected by name."""


Steps = tuple[Step, ...]
Compiler = Callable[[Any, State, Names], tuple[Steps, State]]


def check(estimator: str | None, state: State, nan: bool) -> Steps:
    """The check at the start of a transformer, if it can find anything."""
    if state.finite == "finite" or (nan and state.finite == "no_infinity"):
        return ()
    return (Check(estimator=estimator, nan=nan),)


def expect(condition: bool, reason: str) -> None:
    """Raises CannotCompileError unless the condition holds."""
    if not condition:
        raise CannotCompileError(reason)


def _scaler(estimator: Any, state: State, names: Names, parts: list[tuple[str, Any]], clip: Any) -> tuple[Steps, State]:
    kind = type(estimator).__name__
    expect(estimator.copy, f"{kind} has copy=False: it changes its input")
    operations = tuple(
        Operation.model_validate({"operator": operator, "operand": names.put(kind, _floats(operand))})
        for operator, operand in parts
    )
    step = Scale(operations=operations, clip=None if clip is None else (float(clip[0]), float(clip[1])))
    return (*check(kind, state, nan=True), step), replace(state, finite="unknown", frame=False)


def _standard(estimator: Any, state: State, names: Names) -> tuple[Steps, State]:
    if state.sparse:
        expect(not estimator.with_mean, "StandardScaler centres a sparse matrix")
        # A sparse matrix is multiplied by the reciprocal, a dense one divided.
        scaled = [("multiply", 1 / estimator.scale_)] if estimator.scale_ is not None else []
        return _scaler(estimator, state, names, scaled, None)
    parts = [("subtract", estimator.mean_)] if estimator.with_mean else []
    parts += [("divide", estimator.scale_)] if estimator.with_std else []
    return _scaler(estimator, state, names, parts, None)


def _robust(estimator: Any, state: State, names: Names) -> tuple[Steps, State]:
    if state.sparse:
        expect(not estimator.with_centering, "RobustScaler centres a sparse matrix")
        scaled = [("multiply", 1.0 / estimator.scale_)] if estimator.with_scaling else []
        return _scaler(estimator, state, names, scaled, None)
    parts = [("subtract", estimator.center_)] if estimator.with_centering else []
    parts += [("divide", estimator.scale_)] if estimator.with_scaling else []
    return _scaler(estimator, state, names, parts, None)


def _min_max(estimator: Any, state: State, names: Names) -> tuple[Steps, State]:
    expect(not state.sparse, "MinMaxScaler does not take a sparse matrix")
    parts = [("multiply", estimator.scale_), ("add", estimator.min_)]
    return _scaler(estimator, state, names, parts, estimator.feature_range if estimator.clip else None)


def _max_abs(estimator: Any, state: State, names: Names) -> tuple[Steps, State]:
    part = ("multiply", 1.0 / estimator.scale_) if state.sparse else ("divide", estimator.scale_)
    return _scaler(estimator, state, names, [part], (-1.0, 1.0) if getattr(estimator, "clip", False) else None)


def _imputer(estimator: Any, state: State, names: Names) -> tuple[Steps, State]:
    expect(not state.sparse, "SimpleImputer is given a sparse matrix")
    expect(estimator.copy, "SimpleImputer has copy=False: it changes its input")
    expect(estimator._fit_dtype.kind in "iuf", "SimpleImputer was fitted on values that are not numbers")
    marker = estimator.missing_values
    expect(isinstance(marker, int | float | np.number), f"SimpleImputer has missing_values={marker!r}")
    nan = bool(np.isnan(marker))
    # Statistics of strategy constant are objects. They take the dtype of training first, as scikit-learn has them do.
    statistics = np.asarray(estimator.statistics_, np.float64)
    kept = np.flatnonzero(~np.isnan(statistics)) if not estimator.keep_empty_features else np.arange(len(statistics))
    expect(len(kept) > 0, "SimpleImputer keeps no column")
    fill_dtype = getattr(estimator, "_fill_dtype", np.dtype(np.float64))
    values = np.zeros(len(statistics))
    values[kept] = statistics[kept].astype(fill_dtype)
    indicators = None
    if estimator.add_indicator:
        indicators = names.put("SimpleImputer.indicators", np.asarray(estimator.indicator_.features_, np.int64))
    step = Impute(
        missing=None if nan else float(marker),
        values=names.put("SimpleImputer.values", values),
        keep=None if len(kept) == len(statistics) else names.put("SimpleImputer.keep", kept.astype(np.int64)),
        indicators=indicators,
    )
    finite: Finite = "finite" if np.isfinite(values).all() else "unknown"
    width = len(kept) + (0 if indicators is None else len(estimator.indicator_.features_))
    return (*check("SimpleImputer", state, nan), step), State(width, finite=finite)


def _encoder(estimator: Any, state: State, names: Names) -> tuple[NDArray[np.float64], dict[str, str]]:
    """The categories of all columns, and the names of the two arrays that OneHot and Ordinal have in common."""
    kind = type(estimator).__name__
    expect(not state.sparse, f"{kind} is given a sparse matrix")
    expect(np.dtype(estimator.dtype) == np.float64, f"{kind} encodes as {np.dtype(estimator.dtype)}, not as float64")
    infrequent = getattr(estimator, "_infrequent_indices", None) or ()
    expect(all(found is None for found in infrequent), f"{kind} puts infrequent categories together")
    expect(
        all(categories.dtype.kind in "iuf" for categories in estimator.categories_),
        f"{kind} has categories that are not numbers",
    )
    columns = [_floats(categories) for categories in estimator.categories_]
    for column, categories in zip(columns, estimator.categories_, strict=True):
        expect(len(column) > 0, f"{kind} has a column without categories")
        expect(
            bool((np.diff(column[~np.isnan(column)]) > 0).all() and (column.astype(categories.dtype) == categories)[
                ~np.isnan(column)
            ].all() and not np.isnan(column[:-1]).any()),
            f"{kind} has categories that do not ascend as float64",
        )  # fmt: skip
    offsets = np.cumsum([0, *map(len, columns)], dtype=np.int64)
    table = np.concatenate(columns)
    return table, {
        "categories": names.put(f"{kind}.categories", table),
        "offsets": names.put(f"{kind}.offsets", offsets),
    }


def _one_hot(estimator: Any, state: State, names: Names) -> tuple[Steps, State]:
    table, arrays = _encoder(estimator, state, names)
    keep = None
    kept = np.arange(len(table))
    if estimator.drop_idx_ is not None:
        starts = np.cumsum([0, *map(len, estimator.categories_)])[:-1]
        dropped = [start + index for start, index in zip(starts, estimator.drop_idx_, strict=True) if index is not None]
        kept = np.setdiff1d(kept, np.asarray(dropped, np.int64)).astype(np.int64)
        expect(len(kept) > 0, "OneHotEncoder drops all its columns")
        keep = names.put("OneHotEncoder.keep", kept)
    # Without infrequent categories, infrequent_if_exist and warn do what ignore does.
    unknown: Literal["error", "zeros"] = "error" if estimator.handle_unknown == "error" else "zeros"
    step = OneHot(**arrays, keep=keep, unknown=unknown)
    state = State(len(kept), sparse=estimator.sparse_output, finite="finite")
    return (*check(None, replace(state, finite="unknown"), nan=True), step), state


def _ordinal(estimator: Any, state: State, names: Names) -> tuple[Steps, State]:
    table, arrays = _encoder(estimator, state, names)
    unknown = None if estimator.handle_unknown == "error" else float(estimator.unknown_value)
    missing = float(estimator.encoded_missing_value)
    step = Ordinal(**arrays, missing=missing, unknown=unknown)
    nan = (np.isnan(table).any() and np.isnan(missing)) or (unknown is not None and np.isnan(unknown))
    return (*check(None, state, nan=True), step), State(state.width, finite="no_infinity" if nan else "finite")


def _polynomial(estimator: Any, state: State, names: Names) -> tuple[Steps, State]:
    expect(not state.sparse, "PolynomialFeatures is given a sparse matrix")
    expect(estimator._n_out_full <= _MAX_POLYNOMIAL, f"PolynomialFeatures makes {estimator._n_out_full} columns")
    drop = estimator._n_out_full - estimator.n_output_features_
    expect(not drop or estimator.order == "C" or estimator.include_bias, "PolynomialFeatures cuts a matrix in F order")
    parents, factors, levels = _products(
        state.width, int(estimator.include_bias), estimator._max_degree, estimator.interaction_only
    )
    step = Polynomial(
        bias=estimator.include_bias,
        linear=estimator._max_degree > 0,
        parents=names.put("PolynomialFeatures.parents", np.asarray(parents, np.int64)),
        factors=names.put("PolynomialFeatures.factors", np.asarray(factors, np.int64)),
        levels=levels,
        drop=drop,
        order=estimator.order,
    )
    steps = (*check("PolynomialFeatures", state, nan=False), step)
    return steps, State(estimator.n_output_features_)


def _products(
    width: int, bias: int, degree: int, interaction_only: bool
) -> tuple[list[int], list[int], tuple[int, ...]]:
    """Which columns are multiplied, in the order and by the bookkeeping of `PolynomialFeatures.transform`."""
    parents: list[int] = []
    factors: list[int] = []
    levels: list[int] = []
    index = list(range(bias, bias + width + 1))
    base = current = bias + width
    for _ in range(2, degree + 1):
        new_index: list[int] = []
        end = index[-1]
        for feature in range(width):
            start = index[feature]
            new_index.append(current)
            if interaction_only:
                start += index[feature + 1] - index[feature]
            if end <= start:
                break
            parents += range(start, end)
            factors += [feature] * (end - start)
            current = base + len(parents)
        new_index.append(current)
        index = new_index
        levels.append(len(parents))
    return parents, factors, tuple(levels)


def _identity(estimator: Any, state: State, names: Names) -> tuple[Steps, State]:
    expect(estimator.func is None, "FunctionTransformer calls a function")
    expect(not estimator.validate, "FunctionTransformer has validate=True")
    return (), state


TRANSFORMERS: Mapping[type, Compiler] = {
    FunctionTransformer: _identity,
    MaxAbsScaler: _max_abs,
    MinMaxScaler: _min_max,
    OneHotEncoder: _one_hot,
    OrdinalEncoder: _ordinal,
    PolynomialFeatures: _polynomial,
    RobustScaler: _robust,
    SimpleImputer: _imputer,
    StandardScaler: _standard,
}


def _floats(values: Any) -> NDArray[np.float64]:
    """Values of any float or integer type as float64, exactly, but for integers beyond 2**53."""
    return np.ascontiguousarray(values, np.float64)
