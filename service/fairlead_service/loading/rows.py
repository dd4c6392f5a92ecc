"""Rows to prove a compiled model on: where two implementations of one model would part, if they do.

Trees part at their thresholds, so most rows lead to a node of the model's own and lie on its threshold, or next to
it. What is before the trees, or a linear model, parts anywhere, so the others are drawn from the range of the model's
own statistics. All is drawn from one seed: the same model gets the same rows.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead_service.loading.example import Rows
from fairlead_service.models.backends import Matrix
from fairlead_service.models.backends.native.program import MISSING_LEFT, NODE, Program, Trees
from fairlead_service.models.backends.native.record import Arrays

EVALUATIONS: Final = 200_000
"""Rows times trees that a proof may take, so that a model of many trees does not take minutes."""
MOST_ROWS: Final = 2000
FEWEST_ROWS: Final = 96
_FEWEST_WIDE_ROWS: Final = 16
"""Of a model of tens of thousands of columns."""
_CELLS: Final = 2_000_000
"""Numbers in all rows: 16 MB for a model of very many columns."""
_VALUES_A_COLUMN: Final = 64
_MAGNITUDES: Final = np.array([1e-30, 1e-6, 1e-2, 1.0, 1e2, 1e6, 1e30])
_SMALLEST: Final = (0.0, -0.0, 5e-324, -5e-324, 1e-310, 1e-45, -1e-45, 1e-38)
_LARGEST: Final = 3.4028234663852886e38
"""float32's largest number."""
_BEYOND: Final = (3.4028235677973366e38, 1e300)
"""The least number that float32 rounds to infinity, and one far beyond."""

Column = NDArray[np.float64]
Nodes = NDArray[Any]


@dataclass(frozen=True)
class RowSet:
    kind: str
    """For messages: `random rows`."""
    matrix: Matrix


def for_program(
    program: Program, arrays: Arrays, estimator: Any, example: Rows | None, width: int, *, missing: bool
) -> list[RowSet]:
    """Sets of rows for a compiled model, largest numbers aside; with NaN where `missing`."""
    generator = np.random.default_rng(0)
    trees = program.estimator if isinstance(program.estimator, Trees) else None
    direct = trees is not None and all(step.kind == "check" for step in program.steps)
    number = 1 if trees is None else len(arrays[trees.roots])
    count = max(_FEWEST_WIDE_ROWS, min(max(FEWEST_ROWS, min(MOST_ROWS, EVALUATIONS // number)), _CELLS // width))
    found = [RowSet("rows of the input example", _matrix(example, width))] if example else []
    columns = _columns(estimator, example, width)
    if trees is not None and direct:
        _add_thresholds(columns, arrays[trees.nodes], generator)
    drawn = _uniform(columns, count // 4, generator)
    found.append(RowSet("random rows", np.vstack([drawn, _normal(width, len(_MAGNITUDES) * 4, generator)])))
    found.append(RowSet("rows of the model's own numbers", _mixed(columns, count // 8, generator)))
    near = [_neighbours(column) for column in columns]
    found.append(RowSet("rows next to the model's own numbers", _mixed(near, count // 8, generator)))
    own: NDArray[np.intp] = np.empty(0, np.intp)
    if trees is not None and direct:
        rows, own = _at_thresholds(arrays[trees.nodes], drawn, count // 2, trees.cast == "float32", generator)
        found.append(RowSet("rows on the model's thresholds", rows))
    if missing:
        found.append(RowSet("rows with missing values", _missing(drawn, found[-1].matrix, own, count // 4, generator)))
    found.append(RowSet("rows of the smallest numbers", np.repeat(np.array(_SMALLEST)[:, None], width, axis=1)))
    return [rows for rows in found if len(rows.matrix)]


def largest(base: Matrix) -> list[RowSet]:
    """float32's largest numbers; then one row a set, as they may be refused: `base`, shape (1, p), with one enormous
    number, and rows of nothing else."""
    kind, width = "rows of the largest numbers", base.shape[1]
    one = base.copy()
    one[0, -1] = _BEYOND[-1]
    beyond = [np.full((1, width), value) for largest in _BEYOND for value in (largest, -largest)]
    return [RowSet(kind, rows) for rows in (np.repeat([[_LARGEST], [-_LARGEST]], width, axis=1), one, *beyond)]


def for_fallback(estimator: Any, example: Rows | None, width: int, count: int) -> Matrix:
    """`count` rows near what the model was made for: its example, over and over, between random rows."""
    generator = np.random.default_rng(0)
    drawn = _uniform(_columns(estimator, example, width), count, generator)
    if example:
        drawn[::2] = np.resize(_matrix(example, width), drawn[::2].shape)
    return drawn


def _matrix(rows: Rows, width: int) -> Matrix:
    return np.array(rows, dtype=np.float64).reshape(-1, width)


def _columns(estimator: Any, example: Rows | None, width: int) -> list[Column]:
    """For each column some values that the model has seen or keeps; at least one."""
    kept = [_matrix(example, width)] if example else []
    lists: list[list[Column]] = [[] for _ in range(width)]
    for part, indices in _first_parts(estimator, np.arange(width)):
        for name, value in vars(part).items():
            if not name.endswith("_") or name.startswith("_"):
                continue
            for column, values in _values_by_column(value, len(indices)):
                lists[indices[column]].append(values)
    matrix = np.vstack(kept) if kept else np.empty((0, width))
    return [_tidy(np.concatenate([matrix[:, column], *lists[column]])) for column in range(width)]


def _first_parts(estimator: Any, indices: NDArray[np.intp]) -> list[tuple[Any, NDArray[np.intp]]]:
    """The estimators that see the matrix itself, with the columns that each sees."""
    if hasattr(estimator, "steps"):
        first = next((step for _, step in estimator.steps if step not in (None, "passthrough")), None)
        return [] if first is None else _first_parts(first, indices)
    inside = getattr(estimator, "_transformer_to_input_indices", None)
    if inside is None:
        return [(estimator, indices)] if getattr(estimator, "n_features_in_", -1) == len(indices) else []
    found = []
    for name, part in estimator.named_transformers_.items():
        if part not in ("drop", "passthrough") and name in inside:
            found += _first_parts(part, indices[np.asarray(inside[name], dtype=np.intp)])
    return found


def _values_by_column(value: Any, width: int) -> list[tuple[int, Column]]:
    """A fitted attribute as values of columns: one number a column (`mean_`), or a list a column (`categories_`)."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == (width,):
        return [(column, value[column : column + 1].astype(np.float64)) for column in range(width)]
    if isinstance(value, list) and len(value) == width and all(isinstance(part, np.ndarray) for part in value):
        return [
            (column, part.astype(np.float64).ravel()) for column, part in enumerate(value) if part.dtype.kind in "fiub"
        ]
    return []


def _tidy(values: Column) -> Column:
    values = np.unique(values[np.isfinite(values) & (np.abs(values) < 1e30)])
    return values[:: max(1, len(values) // _VALUES_A_COLUMN)] if len(values) else np.zeros(1)


def _add_thresholds(columns: list[Column], nodes: Nodes, generator: np.random.Generator) -> None:
    inner = nodes[nodes["feature"] >= 0]
    features = inner["feature"] & ~np.int32(MISSING_LEFT)
    order = np.argsort(features, kind="stable")
    stops = np.searchsorted(features[order], np.arange(len(columns) + 1))
    for column in np.unique(features):
        thresholds = inner["threshold"][order[stops[column] : stops[column + 1]]]
        if len(thresholds) > _VALUES_A_COLUMN:
            thresholds = generator.choice(thresholds, _VALUES_A_COLUMN, replace=False)
        columns[column] = _tidy(np.concatenate([columns[column], thresholds]))


def _uniform(columns: list[Column], count: int, generator: np.random.Generator) -> Matrix:
    """Uniform over each column's range and a quarter of it beyond either end."""
    low, high = (np.array([end(column) for column in columns]) for end in (np.min, np.max))
    margin = np.where(high > low, (high - low) / 4, 1.0)
    return generator.uniform(low - margin, high + margin, (count, len(columns)))


def _normal(width: int, count: int, generator: np.random.Generator) -> Matrix:
    return generator.normal(size=(count, width)) * np.resize(_MAGNITUDES, count)[:, None]


def _mixed(columns: list[Column], count: int, generator: np.random.Generator) -> Matrix:
    """Each number is one of its column's."""
    return np.column_stack([generator.choice(values, count) for values in columns])


def _neighbours(values: Column) -> Column:
    """The values and what is next to each of them in float32 and in float64."""
    single, infinity = values.astype(np.float32), np.float32(np.inf)
    near = [single, np.nextafter(single, infinity), np.nextafter(single, -infinity)]
    return np.concatenate([*near, np.nextafter(values, np.inf), np.nextafter(values, -np.inf)]).astype(np.float64)


def _missing(drawn: Matrix, rows: Matrix, own: NDArray[np.intp], count: int, generator: np.random.Generator) -> Matrix:
    """Rows with NaN: where their own node splits, for the rows that were made for one; anywhere for the rest."""
    scattered = np.where(generator.random(drawn.shape) < 0.3, np.nan, drawn)[: count // 2]
    found = [np.full((1, drawn.shape[1]), np.nan), scattered]
    if len(own):
        chosen = np.arange(len(own))[:: max(1, 2 * len(own) // count)]
        lacking = rows[chosen].copy()
        lacking[np.arange(len(chosen)), own[chosen]] = np.nan
        found.append(lacking)
    return np.vstack(found)


def _at_thresholds(
    nodes: Nodes, base: Matrix, count: int, single: bool, generator: np.random.Generator
) -> tuple[Matrix, NDArray[np.intp]]:
    """Rows that come to a node with a number on its threshold, or next below, and just above: `count` in all.

    Returns them and for each the column of its node. `single`: the trees compare float32.
    """
    assert nodes.dtype == NODE
    inner = np.flatnonzero(nodes["feature"] >= 0)
    if len(inner) > count // 2:
        inner = np.sort(generator.choice(inner, count // 2, replace=False))
    parent = np.full(len(nodes), -1)
    splits = np.flatnonzero(nodes["feature"] >= 0)
    parent[nodes["left"][splits]] = parent[nodes["left"][splits] + 1] = splits
    features = np.where(nodes["feature"] >= 0, nodes["feature"] & ~np.int32(MISSING_LEFT), 0).astype(np.intp)
    seen = base.astype(np.float32).astype(np.float64) if single else base
    rows = np.repeat(np.resize(seen, (len(inner), base.shape[1])), 2, axis=0)
    for position, node in enumerate(inner.tolist()):
        pair = rows[2 * position : 2 * position + 2]
        _lead_to(node, pair, nodes, parent, features, single)
        threshold, column = float(nodes["threshold"][node]), features[node]
        pair[:, column] = _below(threshold, single), _above(threshold, single)
    return rows, np.repeat(features[inner], 2)


def _lead_to(
    node: int, rows: Matrix, nodes: Nodes, parent: NDArray[Any], features: NDArray[np.intp], single: bool
) -> None:
    """Changes the rows, all equal, so that they come to the node."""
    bounds: dict[int, tuple[float, float]] = {}
    while (above := int(parent[node])) >= 0:
        column, threshold = int(features[above]), float(nodes["threshold"][above])
        low, high = bounds.get(column, (-np.inf, np.inf))
        left = node == nodes["left"][above]
        bounds[column] = (low, min(high, threshold)) if left else (max(low, threshold), high)
        node = above
    for column, (low, high) in bounds.items():
        if not low < rows[0, column] <= high:
            rows[:, column] = _below(high, single) if np.isfinite(high) else _above(low, single)


def _below(threshold: float, single: bool) -> float:
    """The largest number, as the trees see numbers, that is not above the threshold."""
    if not single:
        return threshold
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))


def _above(threshold: float, single: bool) -> float:
    """The smallest number, as the trees see numbers, that is above the threshold."""
    if not single:
        return float(np.nextafter(threshold, np.inf))
    return float(np.nextafter(np.float32(_below(threshold, single)), np.float32(np.inf)))
