"""How large a training's data may be."""

from fairlead_service.training.errors import invalid_data
from fairlead_service.training.request import Limits


def check_rows(limits: Limits, rows: int) -> None:
    """Raises TrainingError(InvalidData) beyond the limit."""
    if rows > limits.rows:
        raise invalid_data(f"the data have more rows than the {limits.rows} that a training may have", "/data")


def check_columns(limits: Limits, columns: int) -> None:
    """Raises TrainingError(InvalidData) beyond the limit."""
    if columns > limits.columns:
        message = f"the data have {columns} columns, and a training may have {limits.columns}"
        raise invalid_data(message, "/data")
