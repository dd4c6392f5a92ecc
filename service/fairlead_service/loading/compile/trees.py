"""Decision trees, forests and gradient boosting, from scikit-learn's own node arrays."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
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
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from fairlead_service.loading.compile.result import CompiledEstimator, Names, NotCompiled
from fairlead_service.models.backends.native.program import MISSING_LEFT, NODE, Output, Trees

_VOTE = Output(kind="vote", probabilities="vote")
_VALUE = Output(kind="value")
_CONSTANT_STRATEGIES = {"most_frequent", "prior", "uniform", "constant"}


def compile_tree(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """DecisionTree* and ExtraTree*."""
    return _averaged(estimator, [estimator], "single", names)


def compile_forest(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """RandomForest* and ExtraTrees*, as they predict with n_jobs=1: trees added up in their order."""
    return _averaged(estimator, estimator.estimators_, "mean", names)


def compile_gradient_boosting(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """GradientBoosting*, if what its trees are added to is the same for every row."""
    base = _constant_start(estimator)
    if isinstance(base, NotCompiled):
        return base
    trees = [tree.tree_ for tree in estimator.estimators_.ravel()]
    # predict_stages computes out += scale * value: two roundings, unless the compiler of a platform fuses them; so does
    # this, with the product rounded here.
    leaves = [estimator.learning_rate * tree.value[:, 0, :] for tree in trees]
    record = _record(
        [_from_tree(tree, values) for tree, values in zip(trees, leaves, strict=True)], "float32", "sum", base, names
    )
    if isinstance(estimator, GradientBoostingRegressor):
        return CompiledEstimator(record, _VALUE)
    if estimator.loss not in ("log_loss", "exponential"):
        return NotCompiled(
            f"GradientBoostingClassifier has the loss {estimator.loss!r}, which the compiler does not know"
        )
    if record.width > 1:
        return CompiledEstimator(record, Output(kind="multiclass", probabilities="softmax"))
    probabilities: Literal["expit", "expit_twice"] = "expit" if estimator.loss == "log_loss" else "expit_twice"
    return CompiledEstimator(record, Output(kind="binary", zero_is_positive=True, probabilities=probabilities))


def compile_hist_gradient_boosting(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """HistGradientBoosting*, without categorical features."""
    kind = type(estimator).__name__
    predictors = [predictor for iteration in estimator._predictors for predictor in iteration]
    if estimator.is_categorical_ is not None or any(
        predictor.nodes["is_categorical"].any() for predictor in predictors
    ):
        return NotCompiled(f"{kind} has categorical features")
    # Added to zeros there; it makes 0.0 of -0.0.
    base = 0.0 + np.ravel(estimator._baseline_prediction)
    record = _record([_from_predictor(predictor.nodes) for predictor in predictors], "float64", "sum", base, names)
    if isinstance(estimator, HistGradientBoostingRegressor):
        links: dict[str, Output] = {"IdentityLink": _VALUE, "LogLink": Output(kind="exp")}
        output = links.get(type(estimator._loss.link).__name__)
        if output is None:
            return _unknown_loss(estimator)
        return CompiledEstimator(record, output)
    if len(estimator.classes_) < 2:
        return NotCompiled(f"{kind} knows one class only")
    if record.width > 1:
        return CompiledEstimator(record, Output(kind="multiclass", probabilities="softmax"))
    return CompiledEstimator(record, Output(kind="binary", probabilities="expit"))


COMPILERS: Mapping[type, Callable[[Any, Names], CompiledEstimator | NotCompiled]] = {
    DecisionTreeClassifier: compile_tree,
    DecisionTreeRegressor: compile_tree,
    ExtraTreeClassifier: compile_tree,
    ExtraTreeRegressor: compile_tree,
    RandomForestClassifier: compile_forest,
    RandomForestRegressor: compile_forest,
    ExtraTreesClassifier: compile_forest,
    ExtraTreesRegressor: compile_forest,
    GradientBoostingClassifier: compile_gradient_boosting,
    GradientBoostingRegressor: compile_gradient_boosting,
    HistGradientBoostingClassifier: compile_hist_gradient_boosting,
    HistGradientBoostingRegressor: compile_hist_gradient_boosting,
}


class _Tree:
    """One tree in scikit-learn's numbering, its root node 0, from an array of structures, shape (n_nodes,).

    `columns` names left, right, feature, threshold and missing_left; leaf: bool, shape (n_nodes,); values: float64,
    shape (n_nodes, width), used at the leaves.
    """

    def __init__(self, nodes: Any, columns: Sequence[str], leaf: NDArray[Any], values: NDArray[np.float64]) -> None:
        self.left, self.right, self.feature = (nodes[name].astype(np.int64) for name in columns[:3])
        self.threshold = np.asarray(nodes[columns[3]], np.float64)
        self.missing_left = np.asarray(nodes[columns[4]], bool)
        self.leaf = np.asarray(leaf, bool)
        self.values = values


def _from_tree(tree: Any, values: NDArray[np.float64]) -> _Tree:
    nodes = tree.__getstate__()["nodes"]
    columns = ("left_child", "right_child", "feature", "threshold", "missing_go_to_left")
    return _Tree(nodes, columns, nodes["left_child"] < 0, values)


def _from_predictor(nodes: Any) -> _Tree:
    columns = ("left", "right", "feature_idx", "num_threshold", "missing_go_to_left")
    return _Tree(nodes, columns, nodes["is_leaf"], nodes["value"][:, None])


def _averaged(
    estimator: Any, trees: Iterable[Any], combine: Literal["single", "mean"], names: Names
) -> CompiledEstimator | NotCompiled:
    if estimator.n_outputs_ != 1:
        return NotCompiled(f"{type(estimator).__name__} predicts {estimator.n_outputs_} outputs")
    parts = [_from_tree(tree.tree_, tree.tree_.value[:, 0, :]) for tree in trees]
    return CompiledEstimator(
        _record(parts, "float32", combine, None, names), _VOTE if hasattr(estimator, "classes_") else _VALUE
    )


def _constant_start(estimator: Any) -> NDArray[np.float64] | NotCompiled:
    """What GradientBoosting* adds its trees to, shape (width,), from scikit-learn's own function."""
    start = estimator.init_
    constant = (
        (isinstance(start, str) and start == "zero")
        or type(start) is DummyRegressor
        or (type(start) is DummyClassifier and start.strategy in _CONSTANT_STRATEGIES)
    )
    if not constant:
        return NotCompiled(f"{type(estimator).__name__} starts from {start!r}, which is not a constant")
    rows = np.zeros((33, estimator.n_features_in_), np.float32)
    one: NDArray[np.float64] = np.asarray(estimator._raw_predict_init(rows[:1]), np.float64)
    many = np.asarray(estimator._raw_predict_init(rows), np.float64)
    if np.broadcast_to(one, many.shape).tobytes() != many.tobytes():
        return NotCompiled(
            f"{type(estimator).__name__} starts from {start!r}, whose last bit depends on the number of rows"
        )
    base: NDArray[np.float64] = one[0]
    return base


def _unknown_loss(estimator: Any) -> NotCompiled:
    return NotCompiled(f"{type(estimator).__name__} has the loss {estimator.loss!r}, which the compiler does not know")


def _record(
    trees: list[_Tree],
    cast: Literal["float32", "float64"],
    combine: Literal["single", "mean", "sum"],
    base: NDArray[np.float64] | None,
    names: Names,
) -> Trees:
    """Lays the trees out one after the other, each level by level, brothers beside each other."""
    nodes, leaves, roots = [], [], []
    n_nodes = n_leaves = 0
    for tree in trees:
        laid, values = _lay_out(tree, n_nodes, n_leaves)
        roots.append(n_nodes)
        nodes.append(laid)
        leaves.append(values)
        n_nodes += len(laid)
        n_leaves += len(values)
    width = leaves[0].shape[1] if base is None else len(base)
    return Trees(
        nodes=names.put("trees.nodes", np.concatenate(nodes)),
        leaves=names.put("trees.leaves", np.ascontiguousarray(np.concatenate(leaves))),
        roots=names.put("trees.roots", np.asarray(roots, np.int32)),
        cast=cast,
        combine=combine,
        width=width,
        base=None if base is None else names.put("trees.base", base),
    )


def _lay_out(tree: _Tree, first_node: int, first_leaf: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """One tree's nodes, dtype NODE, shape (n_nodes,), with its root at `first_node` of the ensemble; and its leaves'
    values, shape (n_leaves, width), with the first at row `first_leaf`."""
    level = np.zeros(1, np.int64)
    levels = []
    while len(level):
        levels.append(level)
        splits = level[~tree.leaf[level]]
        level = np.stack([tree.left[splits], tree.right[splits]], axis=1).ravel()
    order = np.concatenate(levels)
    leaf = tree.leaf[order]
    split = ~leaf
    laid = np.zeros(len(order), NODE)
    laid["threshold"][split] = tree.threshold[order][split]
    laid["feature"] = np.where(leaf, -1, tree.feature[order] + MISSING_LEFT * tree.missing_left[order])
    # The children of the i-th split, counted level by level, are the i-th pair after the root.
    laid["left"][split] = first_node + 1 + 2 * np.arange(np.count_nonzero(split))
    laid["left"][leaf] = first_leaf + np.arange(np.count_nonzero(leaf))
    return laid, tree.values[order[leaf]]
