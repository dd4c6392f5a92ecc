"""What a pipeline does to the matrix before the estimator sees it: the records. `transforms` evaluates them.

Each record is one scikit-learn transformer and repeats its numpy operations one by one, with the memory order that they
leave the matrix in: BLAS answers differ in the last bit between orders. Where scikit-learn has a sparse matrix, a
dense one of the same values, in C order, stands for it.
"""

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from fairlead_service.models.backends.native.record import ArrayName, Record

Unsigned = Annotated[int, Field(ge=0)]


class Check(Record):
    """What `sklearn.utils.validation.check_array` refuses when it is called for an estimator."""

    kind: Literal["check"] = "check"
    estimator: str | None
    """The class that scikit-learn names in its message for NaN; None for the encoders, which name nothing."""
    nan: bool = False
    """Whether NaN is let through; infinity never is."""
    dtype: Literal["float32", "float64"] = "float64"
    """What the matrix is cast to for the check; it goes on as it came."""


class Frame(Record):
    """Lays the matrix out as a pandas DataFrame of it does, column by column: for pipelines that select columns by
    their names, and so take nothing but DataFrames in scikit-learn."""

    kind: Literal["frame"] = "frame"


class Operation(Record):
    operator: Literal["subtract", "divide", "multiply", "add"]
    operand: ArrayName
    """float64, shape (p,)."""


class Scale(Record):
    """X op= operand for each operation, then clipping: StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler."""

    kind: Literal["scale"] = "scale"
    operations: tuple[Operation, ...]
    clip: tuple[FiniteFloat, FiniteFloat] | None = None


class Impute(Record):
    """SimpleImputer on numbers."""

    kind: Literal["impute"] = "impute"
    missing: FiniteFloat | None
    """What stands for a missing value; None: NaN does."""
    values: ArrayName
    """float64, shape (p,): what takes a missing value's place."""
    keep: ArrayName | None = None
    """int64, shape (k,): columns that stay, the others had no value at all in training; None: all stay."""
    indicators: ArrayName | None = None
    """int64, shape (i,): columns whose being missing is appended as 0 or 1; None: no indicator is appended."""


class OneHot(Record):
    """OneHotEncoder on numbers."""

    kind: Literal["one_hot"] = "one_hot"
    categories: ArrayName
    """float64, shape (c,): the first column's categories in ascending order, NaN last, then the second's, …"""
    offsets: ArrayName
    """int64, shape (p + 1,): where each column's categories start, then c."""
    keep: ArrayName | None = None
    """int64, shape (k,): categories that have a column in the result; None: all have (no `drop`)."""
    unknown: Literal["error", "zeros"]


class Ordinal(Record):
    """OrdinalEncoder on numbers."""

    kind: Literal["ordinal"] = "ordinal"
    categories: ArrayName
    """As for OneHot."""
    offsets: ArrayName
    missing: float = float("nan")
    """The code of NaN where NaN is one of the categories."""
    unknown: float | None
    """The code of a value that is no category; None: it is refused."""


class Polynomial(Record):
    """PolynomialFeatures: column k is column parents[k] times input column factors[k], degree by degree."""

    kind: Literal["polynomial"] = "polynomial"
    bias: bool
    """Whether the first column is 1."""
    linear: bool = True
    """Whether the input columns follow: False for degree 0."""
    parents: ArrayName
    """int64, shape (m,): columns of the result before it is cut, for those of degree 2 and more."""
    factors: ArrayName
    """int64, shape (m,): columns of the input."""
    levels: tuple[Unsigned, ...]
    """Where each degree's columns end in `parents` and `factors`; the last is m."""
    drop: Unsigned = 0
    """How many columns are cut off after the bias: those of a degree below the least one asked for."""
    order: Literal["C", "F"] = "C"


class Selection(Record):
    """Columns as numpy selects them: a slice leaves the memory order alone, a list of indices makes it column by
    column."""

    indices: ArrayName | None = None
    """int64, shape (k,): for lists and masks."""
    slice: tuple[int | None, int | None, int | None] | None = None
    """Used if there are no indices; None: all columns, without any selection."""


class Block(Record):
    """One transformer of a ColumnTransformer or FeatureUnion."""

    columns: Selection
    steps: tuple["Step", ...] = ()
    weight: FiniteFloat | None = None


class Columns(Record):
    """ColumnTransformer and FeatureUnion: the blocks' results side by side."""

    kind: Literal["columns"] = "columns"
    blocks: tuple[Block, ...]
    sparse: bool = False
    """Whether scikit-learn makes a sparse matrix of it, which has no -0.0."""


Step = Annotated[
    Check | Frame | Scale | Impute | OneHot | Ordinal | Polynomial | Columns,
    Field(discriminator="kind"),
]

Block.model_rebuild()
Columns.model_rebuild()
