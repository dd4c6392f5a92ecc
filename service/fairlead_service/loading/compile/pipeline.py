"""Whole models: pipelines of transformers around a final estimator, and estimators alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import ElasticNet
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags

from fairlead_service.loading.compile.result import Compiled, CompiledEstimator, Names, NotCompiled
from fairlead_service.loading.compile.transformers import (
    TRANSFORMERS,
    CannotCompileError,
    Finite,
    State,
    Steps,
    check,
    expect,
)
from fairlead_service.models.backends.native.program import Linear, Program
from fairlead_service.models.backends.native.steps import Block, Check, Columns, Frame, Selection

CompileEstimator = Callable[[Any, Names], CompiledEstimator | NotCompiled]


def compile_whole(estimator: Any, names: Names, compile_estimator: CompileEstimator) -> Compiled | NotCompiled:
    """Compiles a fitted pipeline, or an estimator alone, with `compile_estimator` for the final one."""
    try:
        return _compile(estimator, names, compile_estimator)
    except CannotCompileError as error:
        return NotCompiled(str(error))


def selects_by_name(transformer: Any) -> bool:
    """Whether it selects columns of its input by their names: then scikit-learn takes DataFrames only."""
    if type(transformer) is Pipeline:
        steps = [step for _, step in transformer.steps if not _passes(step)]
        return bool(steps) and selects_by_name(steps[0])
    if type(transformer) is FeatureUnion:
        return any(selects_by_name(part) for _, part in transformer.transformer_list)
    if type(transformer) is ColumnTransformer:
        return any(_names_columns(columns) or selects_by_name(part) for _, part, columns in _parts(transformer))
    return False


def _compile(estimator: Any, names: Names, compile_estimator: CompileEstimator) -> Compiled | NotCompiled:
    steps: Steps = ()
    alone = type(estimator) is not Pipeline
    state = State(_n_features(estimator))
    final = estimator
    while type(final) is Pipeline:
        if selects_by_name(final):
            steps, state = (*steps, Frame()), replace(state, frame=True)
        more, state = _chain([step for _, step in final.steps[:-1]], state, names)
        steps, final = steps + more, final.steps[-1][1]
    last = compile_estimator(final, names)
    if isinstance(last, NotCompiled):
        return last
    record = last.estimator
    if isinstance(record, Linear):
        if not (state.sparse and isinstance(final, ElasticNet)):  # it multiplies sparse matrices without a look at them
            steps += check(type(final).__name__, state, nan=False)
        record = record.model_copy(update={"product": "sparse" if state.sparse else "dense"})
    elif not alone and record.cast == "float32" and state.finite != "finite" and not _takes_nan(final, state):
        # Alone, a model that takes no NaN is never given any.
        steps += (Check(estimator=type(final).__name__, dtype="float32"),)
    return Compiled(Program(steps=steps, estimator=record, output=last.output), names.arrays)


def _n_features(estimator: Any) -> int:
    """Pipelines and unions that begin with `passthrough` do not say it of themselves."""
    if hasattr(estimator, "n_features_in_"):
        return int(estimator.n_features_in_)
    parts = getattr(estimator, "steps", None) or getattr(estimator, "transformer_list", None) or []
    known = [_n_features(part) for _, part in parts if part is not None and not isinstance(part, str)]
    expect(bool(known), f"nothing says how many columns {type(estimator).__name__} takes")
    return known[0]


def _takes_nan(tree: Any, state: State) -> bool:
    """Like `BaseDecisionTree._support_missing_values`."""
    takes = get_tags(tree).input_tags.allow_nan and getattr(tree, "monotonic_cst", None) is None
    return bool(takes) and not state.sparse


def _chain(transformers: list[Any], state: State, names: Names) -> tuple[Steps, State]:
    steps: Steps = ()
    for transformer in transformers:
        if not _passes(transformer):
            more, state = _transformer(transformer, state, names)
            steps += more
    return steps, state


def _transformer(transformer: Any, state: State, names: Names) -> tuple[Steps, State]:
    kind = type(transformer)
    if kind is Pipeline:
        return _chain([step for _, step in transformer.steps], state, names)
    config = getattr(transformer, "_sklearn_output_config", {})
    expect(config.get("transform") in (None, "default"), f"{kind.__name__} makes DataFrames (set_output)")
    if kind is FeatureUnion:
        return _union(transformer, state, names)
    expected = getattr(transformer, "n_features_in_", state.width)
    expect(expected == state.width, f"{kind.__name__} takes {expected} columns but is given {state.width}")
    if kind is ColumnTransformer:
        return _column_transformer(transformer, state, names)
    compiler = TRANSFORMERS.get(kind)
    if compiler is None:
        raise CannotCompileError(f"{kind.__module__}.{kind.__qualname__} is not a transformer that the compiler knows")
    return compiler(transformer, state, names)


def _column_transformer(transformer: Any, state: State, names: Names) -> tuple[Steps, State]:
    expect(not state.sparse, "ColumnTransformer is given a sparse matrix")
    parts = [
        (name, part, _selection(transformer, columns, state, names)) for name, part, columns in _parts(transformer)
    ]
    return _blocks(transformer, parts, state, names, lambda sparse: bool(transformer.sparse_output_))


def _union(transformer: Any, state: State, names: Names) -> tuple[Steps, State]:
    listed = [
        (name, part) for name, part in transformer.transformer_list if not isinstance(part, str) or part != "drop"
    ]
    parts = [(name, part, (Selection(), state.width)) for name, part in listed]
    return _blocks(transformer, parts, state, names, any)


def _blocks(
    transformer: Any,
    parts: list[tuple[str, Any, tuple[Selection, int]]],
    state: State,
    names: Names,
    is_sparse: Callable[[list[bool]], bool],
) -> tuple[Steps, State]:
    kind = type(transformer).__name__
    expect(len(parts) > 0, f"{kind} drops all columns")
    weights = transformer.transformer_weights or {}
    blocks: list[Block] = []
    ends: list[State] = []
    for name, part, (selection, width) in parts:
        steps, end = _chain([part], replace(state, width=width), names)
        weight = weights.get(name)
        expect(weight is None or 0 < weight < np.inf, f"{kind} has a weight of {weight}")
        blocks.append(Block(columns=selection, steps=steps, weight=weight))
        ends.append(end if weight is None else replace(end, finite="unknown"))
    certain: list[Finite] = [end.finite for end in ends]
    finite: Finite = next((level for level in ("unknown", "no_infinity") if level in certain), "finite")
    sparse = is_sparse([end.sparse for end in ends])
    return (Columns(blocks=tuple(blocks), sparse=sparse),), State(sum(end.width for end in ends), sparse, finite)


def _parts(transformer: Any) -> list[tuple[str, Any, Any]]:
    """The fitted transformers of a ColumnTransformer that have columns and keep them."""
    return [
        (name, part, columns)
        for name, part, columns in transformer.transformers_
        if not (isinstance(part, str) and part == "drop") and not _is_empty(columns)
    ]


def _is_empty(columns: Any) -> bool:
    if isinstance(columns, slice | str) or not hasattr(columns, "__len__"):
        return False
    listed = list(columns)
    return not listed or (all(isinstance(column, bool | np.bool_) for column in listed) and not any(listed))


def _names_columns(columns: Any) -> bool:
    if isinstance(columns, slice):
        return isinstance(columns.start, str) or isinstance(columns.stop, str)
    return isinstance(columns, str) or (hasattr(columns, "__len__") and any(isinstance(one, str) for one in columns))


def _selection(transformer: Any, columns: Any, state: State, names: Names) -> tuple[Selection, int]:
    """The columns as they are selected, and how many they are."""
    if isinstance(columns, slice) and not _names_columns(columns):
        parts = [None if part is None else int(part) for part in (columns.start, columns.stop, columns.step)]
        return Selection(slice=(parts[0], parts[1], parts[2])), len(range(*columns.indices(state.width)))
    indices = np.asarray(_indices(transformer, columns, state), np.int64) % state.width
    return Selection(indices=names.put("columns", indices)), len(indices)


def _indices(transformer: Any, columns: Any, state: State) -> list[int]:
    if _names_columns(columns):
        expect(state.frame and hasattr(transformer, "feature_names_in_"), "ColumnTransformer names unknown columns")
        known = list(transformer.feature_names_in_)
        if isinstance(columns, slice):
            start = 0 if columns.start is None else known.index(columns.start)
            return list(range(start, len(known) if columns.stop is None else known.index(columns.stop) + 1))
        expect(not isinstance(columns, str), "ColumnTransformer selects a single column as a vector")
        return [known.index(name) for name in columns]
    expect(hasattr(columns, "__len__"), "ColumnTransformer selects a single column as a vector")
    listed = list(columns)
    if all(isinstance(column, bool | np.bool_) for column in listed):
        return [index for index, selected in enumerate(listed) if selected]
    expect(all(isinstance(column, int | np.integer) for column in listed), "ColumnTransformer selects columns oddly")
    return [int(column) for column in listed]


def _passes(transformer: Any) -> bool:
    return transformer is None or (isinstance(transformer, str) and transformer == "passthrough")
