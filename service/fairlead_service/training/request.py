"""The request that the server leaves for the trainer: `request.json` and `data.npy` in one directory."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from fairlead_service.contract import TrainingReason
from fairlead_service.models.bundle import Label
from fairlead_service.training.errors import TrainingError, invalid_data

if TYPE_CHECKING:
    import numpy as np

REQUEST_FILE: Final = "request.json"
DATA_FILE: Final = "data.npy"


class TrainingRequest(BaseModel):
    """What to train and how to record it. The matrix, float64 of shape (n, p), is beside it in `data.npy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: list[Label]
    """n labels (classification) or numbers (regression)."""
    algorithm: str
    hyperparameters: dict[str, Any] = {}
    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the rows held out for evaluation, where the data allow it."""
    random_state: Annotated[int, Field(ge=0, lt=2**32)] = 42
    model_name: Annotated[str, Field(pattern=r"^[^/:]+$", max_length=256)] | None = None
    """Registers the model as a new version under this name."""
    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=255)] | None = None
    """Points this alias of `model_name` at the new version."""
    experiment: Annotated[str, Field(min_length=1)] = "fairlead"
    run_name: str | None = None
    tags: dict[str, str] = {}
    feature_names: list[str] | None = None
    """p names, logged as the signature's columns."""

    @field_validator("alias")
    @classmethod
    def _alias_needs_a_model(cls, alias: str | None, info: ValidationInfo) -> str | None:
        if alias is not None and info.data.get("model_name", "") is None:
            raise ValueError("alias needs model_name: an alias belongs to a registered model")
        if alias is not None and (alias == "latest" or re.fullmatch(r"v\d+", alias)):
            raise ValueError(f"MLflow reserves the alias {alias!r}")
        return alias


def read(directory: Path) -> tuple[TrainingRequest, "np.ndarray[Any, np.dtype[np.float64]]"]:
    """Reads a request and its matrix, float64 of shape (n, p).

    Raises TrainingError(InvalidRequest or InvalidData).
    """
    try:
        request = TrainingRequest.model_validate_json((directory / REQUEST_FILE).read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"/{part}" for part in first["loc"][:2])
        raise TrainingError(TrainingReason.INVALID_REQUEST, first["msg"], where) from error
    except OSError as error:
        raise TrainingError(TrainingReason.INVALID_REQUEST, f"the request can't be read: {error}") from error
    import numpy as np

    try:
        data = np.load(directory / DATA_FILE, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise invalid_data(f"the matrix can't be read: {error}", "/data") from error
    return request, np.ascontiguousarray(data, dtype=np.float64)
