"""The compiled form of a model: what `loading.compile` writes and the native backend evaluates.

A program is a small tree of frozen records whose numbers are in named arrays. On disk it is two files of the bundle:
`program.json` (the records and where each array lies) and `arrays.bin` (the arrays, aligned, memory-mapped).

Evaluation: the matrix, shape (n, n_features), float64, goes through `steps`, one after the other; the `estimator` makes
raw values of shape (n, width), float64, of it; `output` says what predictions, probabilities and scores are made of
those. Every record names the scikit-learn arithmetic that it repeats, operation by operation, because the promise is
equality of every bit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from fairlead_service.models.backends.native.record import ArrayName, Arrays, Record
from fairlead_service.models.backends.native.steps import Step

PROGRAM_FILE: Final = "program.json"
ARRAYS_FILE: Final = "arrays.bin"
PROGRAM_FORMAT: Final = 1

NODE: Final = np.dtype([("threshold", "<f8"), ("feature", "<i4"), ("left", "<i4")])
"""One node of a tree, 16 bytes; all trees of an ensemble are in one array.

A split: `feature` is the column, plus MISSING_LEFT if NaN goes left; `left` is the index of the left child, and the
right child follows it; both lie after their parent. A value goes left when it is <= threshold.
A leaf: `feature` is -1 and `left` the row of `leaves` that holds its values.
"""
MISSING_LEFT: Final = 1 << 30

_ALIGNMENT: Final = 64
_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "node": NODE,
    "float64": np.dtype("<f8"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint8": np.dtype("u1"),
}


class Trees(Record):
    """An ensemble of binary trees over the columns that the steps leave.

    combine:
      `single`: one tree; raw is its leaf (DecisionTree*).
      `mean`: raw starts as zeros, each tree's leaf is added in order, then raw is divided by the number of trees
      (RandomForest*, ExtraTrees*).
      `sum`: raw starts as `base`, tree t adds its one leaf value to column t % width, in order (GradientBoosting*, with
      the learning rate already multiplied in; HistGradientBoosting*).
    """

    kind: Literal["trees"] = "trees"
    nodes: ArrayName
    """dtype NODE, shape (n_nodes,)."""
    leaves: ArrayName
    """float64, shape (n_leaves, width) for single and mean, (n_leaves, 1) for sum."""
    roots: ArrayName
    """int32, shape (n_trees,): each tree's first node."""
    cast: Literal["float32", "float64"]
    """float32: values are rounded to float32 before they are compared, as scikit-learn's own trees do, and a number
    beyond float32 is refused in scikit-learn's words; float64: compared as they are (HistGradientBoosting*)."""
    combine: Literal["single", "mean", "sum"]
    width: Annotated[int, Field(ge=1)]
    base: ArrayName | None = None
    """float64, shape (width,); only for `sum`."""


class Linear(Record):
    """raw = X @ coef.T + intercept, as scikit-learn does it for the rows of one request: the product is never of the
    rows of several, because BLAS answers differ in the last bit with the shape of the matrix."""

    kind: Literal["linear"] = "linear"
    coef: ArrayName
    """float64, shape (width, p) or (p,), in the memory order that the estimator has it in."""
    intercept: ArrayName
    """float64, shape (width,) or ()."""
    product: Literal["dense", "sparse"] = "dense"
    """sparse: the steps before it make a sparse matrix in scikit-learn, whose product adds the columns one by one."""
    width: Annotated[int, Field(ge=1)]


class Output(Record):
    """kind:
    `value`: a regressor; predictions are raw[:, 0].
    `exp`: a regressor with a log link; predictions are exp(raw[:, 0]) (HistGradientBoostingRegressor, Poisson, gamma).
    `vote`: raw are probabilities; predictions are the classes at their argmax. No scores (trees and forests).
    `binary`: scores are raw[:, 0]; the second class when the score is above 0, or, if `zero_is_positive`, at least 0.
    `multiclass`: scores are raw; predictions are the classes at their argmax.
    """

    kind: Literal["value", "exp", "vote", "binary", "multiclass"]
    zero_is_positive: bool = False
    probabilities: Literal["none", "vote", "expit", "expit_twice", "softmax"] = "none"
    """expit: [1 - p, p] with p = expit(raw[:, 0]); expit_twice: the same of 2 * raw[:, 0] (exponential loss);
    softmax: as sklearn.utils.extmath.softmax."""


Estimator = Annotated[Trees | Linear, Field(discriminator="kind")]


class Program(Record):
    """A whole model."""

    steps: tuple[Step, ...] = ()
    estimator: Estimator
    output: Output


class _Placed(Record):
    """Where an array lies in `arrays.bin`."""

    dtype: Literal["node", "float64", "int32", "int64", "uint8"]
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    order: Literal["C", "F"]
    offset: Annotated[int, Field(ge=0)]
    """Bytes from the start of the file, a multiple of 64."""


class _File(Record):
    format: Literal[1] = PROGRAM_FORMAT
    program: Program
    arrays: dict[ArrayName, _Placed]


class ProgramError(Exception):
    """The two files are not a program, or its arrays are not what its records need; the message says which."""


def encode(program: Program, arrays: Arrays) -> dict[str, bytes]:
    """The two files of a program: name → content. Arrays keep their memory order and every bit.

    Raises ValueError for an array whose dtype is not one of node, float64, int32, int64, uint8.
    """
    names = {dtype: name for name, dtype in _DTYPES.items()}
    placed: dict[ArrayName, _Placed] = {}
    content = bytearray()
    for name, array in arrays.items():
        if array.dtype not in names:
            raise ValueError(f"array {name} has dtype {array.dtype}, which programs do not have")
        order: Literal["C", "F"] = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
        content.extend(bytes(-len(content) % _ALIGNMENT))
        placed[name] = _Placed(dtype=names[array.dtype], shape=array.shape, order=order, offset=len(content))
        content.extend(array.tobytes(order))
    document = _File(program=program, arrays=placed)
    return {PROGRAM_FILE: document.model_dump_json(indent=1).encode(), ARRAYS_FILE: bytes(content)}


def read(directory: Path) -> tuple[Program, dict[ArrayName, NDArray[Any]]]:
    """Reads `program.json` and maps `arrays.bin` into memory, read-only. Raises ProgramError, OSError."""
    try:
        document = _File.model_validate_json((directory / PROGRAM_FILE).read_bytes())
    except ValidationError as error:
        raise ProgramError(f"{directory / PROGRAM_FILE} is not a program: {error}") from error
    path = directory / ARRAYS_FILE
    content = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    return document.program, {name: _view(content, name, where) for name, where in document.arrays.items()}


def _view(content: NDArray[np.uint8], name: ArrayName, where: _Placed) -> NDArray[Any]:
    dtype = _DTYPES[where.dtype]
    count = 1
    for length in where.shape:
        count *= length
    stop = where.offset + count * dtype.itemsize
    if stop > len(content) or where.offset % _ALIGNMENT:
        raise ProgramError(f"array {name} lies outside {ARRAYS_FILE} or between its places")
    view: NDArray[Any] = np.asarray(content[where.offset : stop]).view(dtype).reshape(where.shape, order=where.order)
    return view
