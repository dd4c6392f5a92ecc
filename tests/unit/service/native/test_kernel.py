"""The C kernel: its arithmetic against SciPy's, and its refusal of arrays that are not what it takes."""

import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special
from scipy.sparse import csr_matrix

from fairlead_service import native
from fairlead_service.models.backends.native.program import MISSING_LEFT, NODE
from fairlead_service.native import NativeUnavailableError, forest
from tests.examples import examples

ANY = st.floats(width=64)
STUMP = np.array([(0.5, 0, 1), (0, -1, 0), (0, -1, 1)], NODE)
LEAVES = np.array([[1.0], [2.0]])
ROOTS = np.zeros(1, np.int32)


def stump(nodes: Any = STUMP, leaves: Any = LEAVES, **changes: Any) -> forest.Forest:
    arguments = {"roots": ROOTS, "base": None, "n_features": 1, "width": 1, "combine": forest.SINGLE, "float32": True}
    return forest.Forest(nodes, leaves, **(arguments | changes))


def test_expit_is_scipys_on_millions_of_values() -> None:
    random = np.random.default_rng(0)
    patterns = random.integers(0, 2**64, 1_500_000, np.uint64).view(np.float64)
    spread = np.concatenate([random.normal(size=1_000_000) * 10, random.uniform(-760, 760, 500_000), patterns])
    extremes = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324, 709.78, -709.79, 745.2, -745.2, 1e308, -1e308]
    values = np.concatenate([spread, extremes, np.nextafter(extremes, np.inf)])
    values = values[~np.isnan(values)]
    with np.errstate(all="ignore"):
        expected = special.expit(values)
    forest.expit(values)
    assert values.tobytes() == expected.tobytes()
    missing = np.array([np.nan])
    forest.expit(missing)
    assert np.isnan(missing).all()


@settings(max_examples=examples(60))
@given(
    matrix=arrays(np.float64, st.tuples(st.integers(0, 9), st.integers(1, 9)), elements=st.floats(-1e9, 1e9)),
    width=st.integers(1, 4),
    seed=st.integers(0, 99),
    order=st.sampled_from("CF"),
)
def test_sparse_products_are_scipys(matrix: Any, width: int, seed: int, order: Any) -> None:
    random = np.random.default_rng(seed)
    matrix[random.random(matrix.shape) < 0.5] = 0
    coef = np.asarray(random.normal(size=(width, matrix.shape[1])), order=order)
    raw = np.zeros((len(matrix), width))
    forest.sparse_dot(matrix, coef, raw)
    assert raw.tobytes() == np.ascontiguousarray(csr_matrix(matrix) @ coef.T).tobytes()


@settings(max_examples=examples(200))
@given(value=ANY, threshold=ANY, float32=st.booleans(), missing_left=st.booleans(), n=st.sampled_from([1, 9]))
def test_a_split_is_decided_as_scikit_learn_decides_it(
    value: float, threshold: float, float32: bool, missing_left: bool, n: int
) -> None:
    nodes = STUMP.copy()
    nodes[0] = (threshold, MISSING_LEFT if missing_left else 0, 1)
    raw = np.zeros((n, 1))
    status = stump(nodes, float32=float32).evaluate(np.full((n, 1), value), raw)
    with np.errstate(over="ignore"):
        compared = np.float64(np.float32(value)) if float32 else np.float64(value)
    assert bool(status & forest.BEYOND_FLOAT32) == bool(float32 and np.isinf(compared))
    assert bool(status & forest.HAS_NAN) == bool(np.isnan(value))
    if not status & forest.BEYOND_FLOAT32:
        goes_left = missing_left if np.isnan(value) else compared <= threshold
        assert raw.ravel().tolist() == [1.0 if goes_left else 2.0] * n


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 11])
@pytest.mark.parametrize("n_trees", [1, 7, 8, 9, 40])
def test_leaves_are_added_in_the_order_of_the_trees(width: int, n_trees: int) -> None:
    random = np.random.default_rng(width * n_trees)
    leaves = random.normal(size=(2 * n_trees, width)) * 10.0 ** random.integers(-9, 9, (2 * n_trees, 1))
    nodes = np.concatenate([STUMP] * n_trees)
    nodes["left"][0::3] = 3 * np.arange(n_trees) + 1
    nodes["left"][1::3] = 2 * np.arange(n_trees)
    nodes["left"][2::3] = 2 * np.arange(n_trees) + 1
    roots = 3 * np.arange(n_trees, dtype=np.int32)
    base = random.normal(size=width)
    for n in (1, 7, 8, 9, 64, 600):
        matrix = random.integers(0, 2, (n, 1)).astype(np.float64)
        chosen = 2 * np.arange(n_trees)[:, None] + matrix.ravel().astype(int)
        mean, total = np.zeros((n, width)), np.tile(base, (n, 1))
        for tree in range(n_trees):
            mean += leaves[chosen[tree]]
            total[:, tree % width] += leaves[chosen[tree], 0]
        mean /= n_trees
        raw = np.empty((n, width))
        stump(nodes, leaves, roots=roots, width=width, combine=forest.MEAN).evaluate(matrix, raw)
        assert raw.tobytes() == mean.tobytes()
        first = np.ascontiguousarray(leaves[:, :1])
        stump(nodes, first, roots=roots, base=base, width=width, combine=forest.SUM).evaluate(matrix, raw)
        assert raw.tobytes() == total.tobytes()


@pytest.mark.parametrize(
    ("matrix", "raw"),
    [
        (np.zeros((2, 2)), np.zeros((2, 1))),
        (np.zeros((2, 1)), np.zeros((1, 1))),
        (np.zeros((2, 1)), np.zeros((2, 2))),
        (np.zeros((2, 1), np.float32), np.zeros((2, 1))),
        (np.zeros((2, 1), np.int64), np.zeros((2, 1))),
        (np.zeros((2, 1)), np.zeros((2, 1), np.int64)),
        (np.zeros(2), np.zeros((2, 1))),
        (np.zeros((4, 2))[::2, :1], np.zeros((2, 1))),
        (np.zeros((2, 1)), np.zeros((2, 2))[:, :1]),
        (np.zeros((2, 1)), np.broadcast_to(np.zeros(1), (2, 1))),
        (np.zeros((2, 1), ">f8"), np.zeros((2, 1))),
    ],
)
def test_arrays_of_another_form_are_refused(matrix: Any, raw: Any) -> None:
    with pytest.raises(ValueError, match=r"matrix|raw"):
        stump().evaluate(matrix, raw)


def test_other_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        stump().evaluate(np.zeros((1, 1)))  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        stump().evaluate([[0.0]], np.zeros((1, 1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="values"):
        forest.expit(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="values"):
        forest.expit(np.zeros(4)[::2])
    with pytest.raises(ValueError, match="shapes"):
        forest.sparse_dot(np.zeros((2, 3)), np.zeros((1, 2)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="shapes"):
        forest.sparse_dot(np.zeros((2, 3)), np.zeros((1, 3), np.float32), np.zeros((2, 1)))


def test_no_rows_are_no_answers() -> None:
    assert stump().evaluate(np.empty((0, 1)), np.empty((0, 1))) == 0


def test_threads_share_an_ensemble() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(50_000, 1))
    expected = np.where(matrix <= 0.5, 1.0, 2.0)
    trees, wrong = stump(float32=False), []

    def evaluate() -> None:
        for _ in range(10):
            raw = np.empty_like(matrix)
            trees.evaluate(matrix, raw)
            wrong.extend([1] if raw.tobytes() != expected.tobytes() else [])

    threads = [threading.Thread(target=evaluate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_ensembles_free_what_they_hold() -> None:
    nodes = STUMP.copy()
    before = sys.getrefcount(nodes)
    for _ in range(100):
        stump(nodes).evaluate(np.zeros((1, 1)), np.zeros((1, 1)))
        with pytest.raises(ValueError, match="column"):
            stump(nodes, n_features=0)
    assert sys.getrefcount(nodes) == before


def test_a_missing_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    native.require()
    monkeypatch.setattr(native, "available", lambda: False)
    with pytest.raises(NativeUnavailableError, match="C compiler"):
        native.require()
