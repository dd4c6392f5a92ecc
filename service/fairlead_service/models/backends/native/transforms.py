"""Evaluates the steps before the estimator: what `steps` describes, on matrices of float64.

The caller's matrix is never written to, and every operation that scikit-learn does on a copy is done on a copy of the
same memory order.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.backends.native import arrays as take
from fairlead_service.models.backends.native.encoders import Matrix, Transform, build_one_hot, build_ordinal
from fairlead_service.models.backends.native.program import ProgramError
from fairlead_service.models.backends.native.record import Arrays
from fairlead_service.models.backends.native.steps import (
    Block,
    Check,
    Columns,
    Frame,
    Impute,
    OneHot,
    Ordinal,
    Polynomial,
    Scale,
    Selection,
    Step,
)

_MAX_WIDTH = 1 << 20
"""Columns that a step may make: nested ColumnTransformers could multiply a few lines of JSON into any number."""
_INPLACE: Mapping[str, Callable[..., Any]] = {
    "subtract": np.subtract,
    "divide": np.divide,
    "multiply": np.multiply,
    "add": np.add,
}
_NO_NAN = (
    "\n{} does not accept missing values encoded as NaN natively. For supervised learning, you might want to consider"
    " sklearn.ensemble.HistGradientBoostingClassifier and Regressor which accept missing values encoded as NaNs"
    " natively. Alternatively, it is possible to preprocess the data, for instance by using an imputer transformer in a"
    " pipeline or drop samples with missing values. See https://scikit-learn.org/stable/modules/impute.html You can"
    " find a list of all estimators that handle NaN values at the following page:"
    " https://scikit-learn.org/stable/modules/impute.html#estimators-that-handle-nan-values"
)


def build_steps(records: Sequence[Step], arrays: Arrays, n_features: int) -> tuple[Transform, int]:
    """Makes the function from a matrix, shape (n, n_features), to the one that the estimator sees, shape (n, width);
    and says the width. The function raises ValueError, in scikit-learn's words, for what a step refuses.

    Raises ProgramError if the arrays are not those that the records promise.
    """
    evaluate, width = _chain(records, arrays, n_features)
    if not records:
        return evaluate, width

    def evaluate_silently(matrix: Matrix) -> Matrix:
        with np.errstate(all="ignore"):
            return evaluate(matrix)

    return evaluate_silently, width


def _chain(records: Sequence[Step], arrays: Arrays, width: int) -> tuple[Transform, int]:
    functions: list[Transform] = []
    for record in records:
        function, width = _BUILDERS[type(record)](record, arrays, width)
        if width > _MAX_WIDTH:
            raise ProgramError(f"a step of kind {record.kind} makes {width} columns")
        functions.append(function)

    def evaluate(matrix: Matrix) -> Matrix:
        for function in functions:
            matrix = function(matrix)
        return matrix

    return functions[0] if len(functions) == 1 else evaluate, width


def _build_check(record: Check, arrays: Arrays, width: int) -> tuple[Transform, int]:
    def evaluate(matrix: Matrix) -> Matrix:
        if not isfinite(np.add.reduce(matrix, None)):
            _check_each(record, matrix)
        return matrix

    def evaluate_float32(matrix: Matrix) -> Matrix:
        _check_each(record, matrix.astype(np.float32))
        return matrix

    return evaluate if record.dtype == "float64" else evaluate_float32, width


def _check_each(record: Check, matrix: NDArray[Any]) -> None:
    """Like `sklearn.utils.validation._assert_all_finite_element_wise`, which names NaN if there is infinity too."""
    name = "" if record.estimator is None else "X "
    if not record.nan and np.isnan(matrix).any():
        raise ValueError(f"Input {name}contains NaN." + (_NO_NAN.format(record.estimator) if name else ""))
    if np.isinf(matrix).any():
        raise ValueError(f"Input {name}contains infinity or a value too large for {matrix.dtype!r}.")


def _build_frame(record: Frame, arrays: Arrays, width: int) -> tuple[Transform, int]:
    def evaluate(matrix: Matrix) -> Matrix:
        return np.array(matrix.T, order="C", copy=True).T

    return evaluate, width


def _build_scale(record: Scale, arrays: Arrays, width: int) -> tuple[Transform, int]:
    operations = [
        (_INPLACE[operation.operator], take.floats(arrays, operation.operand, (width,)))
        for operation in record.operations
    ]

    def evaluate(matrix: Matrix) -> Matrix:
        out = np.array(matrix, order="K", copy=True)
        for function, operand in operations:
            function(out, operand, out)
        if record.clip is not None:
            np.clip(out, *record.clip, out=out)
        return out

    return evaluate, width


def _build_impute(record: Impute, arrays: Arrays, width: int) -> tuple[Transform, int]:
    keep = None if record.keep is None else take.indices(arrays, record.keep, width)
    indicators = None if record.indicators is None else take.indices(arrays, record.indicators, width)
    columns: Any = slice(None) if keep is None else keep
    values = take.floats(arrays, record.values, (width,))[columns]

    def evaluate(matrix: Matrix) -> Matrix:
        out = np.array(matrix, order="K", copy=True)
        missing = np.isnan(out) if record.missing is None else out == record.missing
        if keep is not None:
            out = out[:, keep]
        np.copyto(out, values, where=missing[:, columns])
        if indicators is None:
            return out
        # scikit-learn selects columns of the mask only if they are fewer than all; selecting changes the order.
        mask = missing if len(indicators) == width else missing[:, indicators]
        return np.concatenate((out, mask), axis=1)

    return evaluate, len(values) + (0 if indicators is None else len(indicators))


def _build_polynomial(record: Polynomial, arrays: Arrays, width: int) -> tuple[Transform, int]:
    first = int(record.bias)
    base = first + (width if record.linear else 0)
    parents = take.indices(arrays, record.parents, _MAX_WIDTH)
    factors = take.indices(arrays, record.factors, width)
    starts, total = (0, *record.levels[:-1]), base + len(parents)
    if len(factors) != len(parents) or (record.levels or (0,))[-1] != len(parents) or record.drop > total - first:
        raise ProgramError(f"arrays {record.parents} and {record.factors} are not what their levels need")
    levels = list(zip(starts, record.levels, strict=False))
    if not all(start <= stop and (parents[start:stop] < base + start).all() for start, stop in levels):
        raise ProgramError(f"array {record.parents} names columns that are not yet there")

    def evaluate(matrix: Matrix) -> Matrix:
        out = np.empty((len(matrix), total), order=record.order)
        if record.bias:
            out[:, 0] = 1
        if record.linear:
            out[:, first:base] = matrix
        for start, stop in levels:
            left, right = out.take(parents[start:stop], axis=1), matrix.take(factors[start:stop], axis=1)
            np.multiply(left, right, out=out[:, base + start : base + stop])
        return _cut(out, record) if record.drop else out

    return evaluate, total - record.drop


def _cut(matrix: Matrix, record: Polynomial) -> Matrix:
    if not record.bias:
        return np.array(matrix[:, record.drop :], copy=True)
    out = np.empty((len(matrix), matrix.shape[1] - record.drop), order=record.order)
    out[:, 0] = 1
    out[:, 1:] = matrix[:, 1 + record.drop :]
    return out


def _build_columns(record: Columns, arrays: Arrays, width: int) -> tuple[Transform, int]:
    built = [_build_block(block, arrays, width) for block in record.blocks]
    if not built:
        raise ProgramError("a step of kind columns has no blocks")
    functions = [function for function, _ in built]

    def evaluate(matrix: Matrix) -> Matrix:
        return np.concatenate([function(matrix) for function in functions], axis=1)

    def evaluate_sparse(matrix: Matrix) -> Matrix:
        # -0.0 is no entry of a sparse matrix: adding 0.0 makes 0.0 of it.
        return np.add(evaluate(matrix), 0.0, order="C")

    return evaluate_sparse if record.sparse else evaluate, sum(width for _, width in built)


def _build_block(block: Block, arrays: Arrays, width: int) -> tuple[Transform, int]:
    select, selected = _build_selection(block.columns, arrays, width)
    evaluate, out_width = _chain(block.steps, arrays, selected)
    weight = block.weight
    if weight is None:
        return lambda matrix: evaluate(select(matrix)), out_width
    return lambda matrix: evaluate(select(matrix)) * weight, out_width


def _build_selection(columns: Selection, arrays: Arrays, width: int) -> tuple[Transform, int]:
    if columns.indices is not None:
        indices = take.indices(arrays, columns.indices, width)
        return lambda matrix: matrix[:, indices], len(indices)
    if columns.slice is None:
        return lambda matrix: matrix, width
    part = slice(*columns.slice)
    if part.step == 0:
        raise ProgramError("a selection of columns has a step of 0")
    return lambda matrix: matrix[:, part], len(range(*part.indices(width)))


_BUILDERS: Mapping[type, Callable[[Any, Arrays, int], tuple[Transform, int]]] = {
    Check: _build_check,
    Columns: _build_columns,
    Frame: _build_frame,
    Impute: _build_impute,
    OneHot: build_one_hot,
    Ordinal: build_ordinal,
    Polynomial: _build_polynomial,
    Scale: _build_scale,
}
