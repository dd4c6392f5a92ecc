"""Contents that scikit-learn's native code trusts without looking.

A skops file of allowed types holds arrays and attributes of its author's choice. scikit-learn's compiled parts follow
indices in some of them without bounds checks, so a crafted file could make `predict` read or write outside its memory
(skops names the same danger as its reason not to trust `Tree`). Here the arrays below an estimator that are known to be
such are checked once after loading; whatever scikit-learn itself wrote passes. The list is not complete (SECURITY.md).
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from fairlead_service.failures import corrupt
from fairlead_service.loading.mlmodel import too_wide
from fairlead_service.loading.untrusted import parsing
from fairlead_service.models.bundle import MOST_COLUMNS

MAX_DEPTH: Final = 200
"""Nesting of estimators, lists and dicts; scikit-learn's own models stay below 20."""


def check(estimator: Any) -> None:
    """Raises LoadError(ModelCorrupt) naming the part whose indices lead outside its arrays."""
    with parsing("what the model holds"):
        parts = list(_parts(estimator))
        for part in parts:
            _width(part)
        for rules in (_RULES, _RULES_THAT_PREDICT):
            for part in parts:
                for kind in type(part).__mro__:
                    rule = rules.get(f"{kind.__module__}.{kind.__name__}")
                    if rule is not None:
                        rule(part)


def _parts(root: Any) -> Iterator[Any]:
    """Every object below `root`, once."""
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(root, 0)]
    while waiting:
        part, depth = waiting.pop()
        if id(part) in seen or isinstance(part, str | bytes | int | float | bool | type(None)):
            continue
        if depth > MAX_DEPTH:
            raise corrupt("the model is nested too deeply")
        seen.add(id(part))
        yield part
        waiting.extend((child, depth + 1) for child in _children(part))


def _children(part: Any) -> list[Any]:
    if isinstance(part, dict):
        return list(part.values())
    if isinstance(part, list | tuple | set):
        return list(part)
    if isinstance(part, np.ndarray):
        return part.ravel().tolist() if part.dtype == object else []
    return list(getattr(part, "__dict__", {}).values())


def _require(condition: Any, what: str) -> None:
    if not condition:
        raise corrupt(f"the model's contents contradict each other: {what}")


def _within(values: "np.ndarray[Any, Any]", low: Any, high: Any, what: str) -> None:
    _require(bool(np.all((values >= low) & (values < high))), what)


def _width(part: Any) -> None:
    """Before anything is made of that width, which a file of any size can claim."""
    width = getattr(part, "__dict__", {}).get("n_features_in_")
    if width is None:
        return
    _require(isinstance(width, int | np.integer) and width >= 0, "a number of features is none")
    if width > MOST_COLUMNS:
        raise too_wide(width)


def _tree(tree: Any) -> None:
    _require(0 < tree.node_count <= tree.capacity, "a tree counts more nodes than it has")  # before reading any
    nodes = tree.__getstate__()["nodes"]
    inner = np.flatnonzero(nodes["left_child"] != -1)
    for side in ("left_child", "right_child"):
        # scikit-learn numbers children after their parent, which also rules out cycles
        _within(nodes[side][inner], inner + 1, tree.node_count, "a tree's child is no later node of it")
    _within(nodes["feature"][inner], 0, tree.n_features, "a tree splits on a feature it does not have")


def _tree_estimator(estimator: Any) -> None:
    tree = getattr(estimator, "tree_", None)
    if tree is not None:
        _require(tree.n_features == getattr(estimator, "n_features_in_", None), "a tree and its estimator differ")


def _width_of_parts(ensemble: Any) -> None:
    """Forests and boosting check the input against their own width, then hand it to their trees unchecked."""
    for part in np.asarray(getattr(ensemble, "estimators_", []), dtype=object).ravel():
        tree = getattr(part, "tree_", None)
        _require(tree is None or tree.n_features == ensemble.n_features_in_, "an ensemble and its trees differ")


def _gradient_boosting(ensemble: Any) -> None:
    estimators = getattr(ensemble, "estimators_", None)
    if estimators is None:
        return
    _width_of_parts(ensemble)
    _require(isinstance(estimators, np.ndarray) and estimators.ndim == 2, "boosting stages are not a matrix")
    classes = len(getattr(ensemble, "classes_", ()))
    expected = classes if classes > 2 else 1
    _require(estimators.shape[1] == expected, f"boosting has {estimators.shape[1]} trees a stage, not {expected}")
    for part in estimators.ravel():
        tree = getattr(part, "tree_", None)
        _require(tree is not None and tree.n_outputs == 1, "a boosting stage is no tree of one output")


def _first_scores(ensemble: Any) -> None:
    """Boosting adds its trees' answers into the array that its first guess has made, without asking for its shape."""
    if not hasattr(ensemble, "estimators_"):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = ensemble._raw_predict_init(np.zeros((2, ensemble.n_features_in_), dtype=np.float32))
    _require(scores.shape == (2, ensemble.estimators_.shape[1]), "boosting's first guess has another shape")


def _tree_predictor(predictor: Any) -> None:
    nodes, bitsets = predictor.nodes, predictor.raw_left_cat_bitsets
    fields = ("left", "right", "feature_idx", "bitset_idx", "is_leaf", "is_categorical")
    _require(len(nodes) and set(fields) <= set(nodes.dtype.names or ()), "a histogram tree has no nodes")
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    for side in ("left", "right"):
        _within(nodes[side][inner].astype(np.int64), inner + 1, len(nodes), "a histogram tree's child is no later node")
    categorical = inner[nodes["is_categorical"][inner] != 0]
    _require(bitsets.ndim == 2 and bitsets.shape[1] == 8, "a histogram tree's category sets have another shape")
    _within(nodes["bitset_idx"][categorical], 0, len(bitsets), "a histogram tree names a category set it does not have")


def _hist_gradient_boosting(ensemble: Any) -> None:
    width = ensemble.n_features_in_
    flags = np.asarray(ensemble._bin_mapper.is_categorical_)
    _require(flags.shape == (width,), "histogram boosting knows the categories of other features")
    for stage in ensemble._predictors:
        for predictor in stage:
            inner = predictor.nodes[predictor.nodes["is_leaf"] == 0]
            _within(inner["feature_idx"], 0, width, "a histogram tree splits on a feature it does not have")
            split_on = inner["feature_idx"][inner["is_categorical"] != 0]
            _require(bool(np.all(flags[split_on] != 0)), "a histogram tree treats a number as a category")


def _neighbour_tree(tree: Any) -> None:
    data, order, nodes, bounds, *_ = tree.__getstate__()
    levels, count = tree.__getstate__()[5:7]
    rows, sides = len(data), 2 if "KDTree" in type(tree).__name__ else 1
    _require(0 < levels < 64, "a neighbours tree has no levels")
    _require(len(order) == rows and len(nodes) == count == 2**levels - 1, "a neighbours tree has another size")
    _require(bounds.shape == (sides, count, data.shape[1]), "a neighbours tree's bounds have another shape")
    _within(order, 0, rows, "a neighbours tree names rows it does not have")
    _within(nodes["idx_start"], 0, rows + 1, "a neighbours tree's node starts outside its rows")
    _within(nodes["idx_end"], nodes["idx_start"], rows + 1, "a neighbours tree's node ends outside its rows")
    last_level = np.arange(count) >= 2 ** (levels - 1) - 1
    _require(bool(np.all(nodes["is_leaf"][last_level] != 0)), "a neighbours tree's last level has children")


def _sparse(matrix: Any) -> None:
    _require(hasattr(matrix, "check_format"), f"a sparse matrix is in the form {matrix.format}; use csr")
    matrix.check_format(full_check=True)


def _spline(spline: Any) -> None:
    knots, degree = np.asarray(spline.t), spline.k
    _require(isinstance(degree, int) and 0 <= degree < 32, "a spline has no usable degree")
    _require(knots.ndim == 1 and len(knots) > 2 * degree + 1, "a spline has too few knots")
    _require(bool(np.all(np.diff(knots) >= 0)), "a spline's knots are not in order")
    _require(len(spline.c) >= len(knots) - degree - 1, "a spline has too few coefficients")


def _support_vectors(machine: Any) -> None:
    if not hasattr(machine, "support_"):
        return
    _require(not machine._sparse, "support vectors in sparse form are not served; fit on a dense matrix")
    vectors, coefficients, counts = machine.support_vectors_, machine._dual_coef_, machine._n_support
    number = len(machine.support_)
    classifies = hasattr(machine, "classes_")
    classes = len(counts) if classifies else 2
    pairs = classes * (classes - 1) // 2
    _require(classes >= 2 and coefficients.shape == (classes - 1, number), "support vectors and coefficients differ")
    _require(len(vectors) == number or machine.kernel == "precomputed", "support vectors are missing")
    _require(not classifies or int(np.sum(counts)) == number, "support vectors a class do not add up")
    _require(bool(np.all(np.asarray(counts) >= 0)), "support vectors a class are negative")
    _require(len(machine._intercept_) == pairs, "a support vector machine has another number of intercepts")
    for name in ("_probA", "_probB"):
        _require(len(getattr(machine, name)) in (0, pairs), "a support vector machine's probabilities do not fit")
    if machine.kernel != "precomputed":
        _require(vectors.shape[1:] == (machine.n_features_in_,), "support vectors have another width")


_RULES: Final[dict[str, Callable[[Any], None]]] = {
    "sklearn.tree._tree.Tree": _tree,
    "sklearn.tree._classes.BaseDecisionTree": _tree_estimator,
    "sklearn.ensemble._forest.BaseForest": _width_of_parts,
    "sklearn.ensemble._gb.BaseGradientBoosting": _gradient_boosting,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": _tree_predictor,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.BaseHistGradientBoosting": _hist_gradient_boosting,
    "sklearn.neighbors._kd_tree.BinaryTree64": _neighbour_tree,
    "sklearn.neighbors._kd_tree.BinaryTree32": _neighbour_tree,
    "sklearn.neighbors._ball_tree.BinaryTree64": _neighbour_tree,
    "sklearn.neighbors._ball_tree.BinaryTree32": _neighbour_tree,
    "sklearn.svm._base.BaseLibSVM": _support_vectors,
    "scipy.sparse._base._spbase": _sparse,
    "scipy.interpolate._bsplines.BSpline": _spline,
}

_RULES_THAT_PREDICT: Final[dict[str, Callable[[Any], None]]] = {
    "sklearn.ensemble._gb.BaseGradientBoosting": _first_scores,
}
"""Applied when all else has passed: they run parts of the model."""
