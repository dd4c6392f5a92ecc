"""Programs on disk, and what is refused of those that someone else wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

from fairlead_service.loading.compile import Compiled, compile_model
from fairlead_service.models.backends.native.program import (
    ARRAYS_FILE,
    MISSING_LEFT,
    NODE,
    PROGRAM_FILE,
    ProgramError,
    Trees,
    encode,
    read,
)
from fairlead_service.models.backends.native.trees import build_trees
from tests.examples import examples


def compiled(kind: Any = RandomForestClassifier) -> Compiled:
    random = np.random.default_rng(0)
    model = kind(n_estimators=3, random_state=0).fit(random.normal(size=(50, 3)), random.integers(0, 3, 50))
    found = compile_model(model)
    assert isinstance(found, Compiled)
    return found


def written(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def test_a_program_comes_back_as_it_was_written(tmp_path: Path) -> None:
    original = compiled(GradientBoostingClassifier)
    program, arrays = read(written(tmp_path, encode(original.program, original.arrays)))
    assert program == original.program
    assert arrays.keys() == original.arrays.keys()
    for name, array in arrays.items():
        assert array.dtype == original.arrays[name].dtype
        assert array.shape == original.arrays[name].shape
        assert array.tobytes() == original.arrays[name].tobytes()
        assert array.ctypes.data % 8 == 0


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"extra": 1},
        {"program": {}},
        {"arrays": {"trees.nodes": {"dtype": "object", "shape": [1], "order": "C", "offset": 0}}},
        {"arrays": {"trees.nodes": {"dtype": "node", "shape": [-1], "order": "C", "offset": 0}}},
        {"arrays": {"trees.nodes": {"dtype": "node", "shape": [1 << 62], "order": "C", "offset": 0}}},
        {"arrays": {"trees.nodes": {"dtype": "node", "shape": [1], "order": "C", "offset": 8}}},
        {"arrays": {"trees.nodes": {"dtype": "node", "shape": [1], "order": "C", "offset": -64}}},
    ],
)
def test_another_file_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    files = encode(compiled().program, compiled().arrays)
    document = json.loads(files[PROGRAM_FILE]) | change
    with pytest.raises(ProgramError):
        read(written(tmp_path, files | {PROGRAM_FILE: json.dumps(document).encode()}))


def test_truncated_arrays_are_refused(tmp_path: Path) -> None:
    files = encode(compiled().program, compiled().arrays)
    with pytest.raises(ProgramError, match="outside"):
        read(written(tmp_path, files | {ARRAYS_FILE: files[ARRAYS_FILE][:-64]}))


# A split of column 0 at node 0, whose children, nodes 1 and 2, are leaves.
NODES = np.array([(0.5, 0, 1), (0, -1, 0), (0, -1, 1)], NODE)
WHOLE: dict[str, Any] = {
    "nodes": NODES,
    "leaves": np.array([[1.0], [2.0]]),
    "roots": np.zeros(1, np.int32),
    "base": np.zeros(1),
}


def trees(combine: Any = "sum", width: int = 1, base: str | None = "base") -> Trees:
    return Trees(nodes="nodes", leaves="leaves", roots="roots", cast="float32", combine=combine, width=width, base=base)


def node(index: int, **fields: int) -> dict[str, Any]:
    nodes = NODES.copy()
    for name, value in fields.items():
        nodes[name][index] = value
    return {"nodes": nodes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (node(0, left=0), "children at 0"),
        (node(0, left=-1), "children at -1"),
        (node(0, left=2), "children at 2"),
        (node(0, left=2**31 - 1), "children at"),
        (node(0, feature=1), "column 1 of 1"),
        (node(0, feature=-2), "column -2"),
        (node(0, feature=MISSING_LEFT + 1), "column 1 of 1"),
        (node(0, feature=-(2**31)), "column -"),
        (node(0, feature=2**31 - 1), "column"),
        (node(1, left=2), "row 2 of 2"),
        (node(1, left=-1), "row -1"),
        ({"nodes": NODES[:2]}, "children at 1"),
        ({"nodes": NODES[:0]}, "root"),
        ({"nodes": NODES.view(np.uint8)}, "nodes is missing"),
        ({"nodes": NODES.reshape(1, 3)}, "nodes is missing"),
        ({"leaves": np.zeros((2, 2))}, "2 values"),
        ({"leaves": np.zeros(2)}, "leaves is missing"),
        ({"leaves": np.zeros((2, 1), np.int64)}, "leaves is missing"),
        ({"roots": np.zeros(0, np.int32)}, "0 trees"),
        ({"roots": np.array([3], np.int32)}, "root at 3"),
        ({"roots": np.array([-1], np.int32)}, "root at -1"),
        ({"roots": np.zeros(1, np.int64)}, "roots is missing"),
        ({"base": np.zeros(2)}, "2 values"),
    ],
)
def test_arrays_that_would_lead_a_walk_astray_are_refused(change: dict[str, Any], message: str) -> None:
    build_trees(trees(), WHOLE, 1)(np.zeros((1, 1)))
    with pytest.raises(ProgramError, match=message):
        build_trees(trees(), WHOLE | change, 1)


def test_records_that_do_not_fit_their_arrays_are_refused() -> None:
    for record, n_features, change in [
        (trees(base=None), 1, {}),
        (trees("mean"), 1, {}),
        (trees("single", base=None), 1, {"roots": np.zeros(2, np.int32)}),
        (trees("mean", 2, None), 1, {}),
        (trees("sum", 2), 1, {}),
        (trees(), 0, {}),
        (trees(width=1 << 62), 1, {}),
        (trees("mean", 1 << 62, None), 1, {}),
        (trees("mean", 1 << 70, None), 1, {}),
    ]:
        with pytest.raises(ProgramError):
            build_trees(record, WHOLE | change, n_features)


@settings(max_examples=examples(300))
@given(data=st.binary(min_size=0, max_size=16 * 12), roots=st.lists(st.integers(-1, 12), min_size=1, max_size=4))
def test_random_bytes_are_refused_or_evaluated(data: bytes, roots: list[int]) -> None:
    """Whatever passes the checks ends, and answers with a leaf."""
    nodes = np.frombuffer(data[: len(data) // 16 * 16], NODE).copy()
    nodes["feature"] %= 3
    nodes["feature"] -= 1
    nodes["left"] %= 13
    arrays = WHOLE | {"nodes": nodes, "roots": np.array(roots, np.int32), "leaves": np.ones((9, 1))}
    try:
        evaluate = build_trees(trees(), arrays, 2)
    except ProgramError:
        return
    for n in (1, 20):
        assert (evaluate(np.random.default_rng(0).normal(size=(n, 2))) == len(roots)).all()
