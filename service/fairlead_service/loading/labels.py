"""Class labels between numpy and JSON, keeping their type: true stays true, 1 stays 1, "1" stays "1"."""

from typing import TYPE_CHECKING, Any

from fairlead_service.failures import unsupported
from fairlead_service.models.bundle import Label

if TYPE_CHECKING:
    import numpy as np


def json_labels(classes: "np.ndarray[Any, Any]") -> tuple[Label, ...]:
    """A fitted classifier's `classes_`, shape (k,), as JSON values in the same order.

    Raises LoadError(ModelUnsupported) for labels that JSON does not have.
    """
    labels = tuple(classes.tolist())
    for label in labels:
        if not isinstance(label, bool | int | float | str):
            raise unsupported(f"class label {label!r} is a {type(label).__name__}; use strings, numbers or booleans")
    return labels
