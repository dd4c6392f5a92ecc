"""What a pipeline does to the matrix before the estimator sees it: the records."""

from typing import Literal

from fairlead_service.models.backends.native.record import ArrayName, Record


class Elementwise(Record):
    """X op= operand, column by column: StandardScaler, MinMaxScaler, RobustScaler are one or two of these."""

    kind: Literal["elementwise"] = "elementwise"
    operation: Literal["subtract", "divide", "multiply", "add"]
    operand: ArrayName
    """float64, shape (p,)."""


Step = Elementwise
