"""The request that the server leaves for the trainer: `request.json` in a directory, and the data beside it."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from fairlead_service.contract import TrainingReason
from fairlead_service.models.bundle import Label
from fairlead_service.schemas_train import Search
from fairlead_service.training.errors import TrainingError

REQUEST_FILE: Final = "request.json"
MATRIX_FILE: Final = "data.npy"
"""A float64 matrix of shape (n, p), for a request with a `target`."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Part):
    """What a training may have at most."""

    rows: int = 1_000_000
    columns: int = 10_000
    bytes: int = 1 << 30
    """Of a file that is fetched."""
    estimators: int = 10_000
    """Of an ensemble (`n_estimators`)."""
    iterations: int = 100_000
    """Of a fit (`max_iter` and the like)."""


class TrainingRequest(_Part):
    """What to train and how to record it."""

    target: list[Label] | None = None
    """n labels (classification) or numbers (regression) for the matrix in `data.npy`; else the data are a table."""
    data_file: Literal["data.csv", "data.parquet"] | None = None
    """The table that was uploaded, beside this file."""
    data_name: str | None = None
    """What whoever sent it calls it."""
    data_uri: str | None = None
    """The table's place in MLflow's artifacts."""
    log_data: bool = False
    """Whether a file that was uploaded becomes an artifact of the run."""
    target_column: str | None = None
    """The table's column that is the target; all others are features."""
    limits: Limits = Limits()
    algorithm: str
    hyperparameters: dict[str, Any] = {}
    search: Search | None = None
    cross_validation: Annotated[int, Field(ge=2, le=20)] | None = None
    """Folds."""
    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the rows held out for evaluation, where the data allow it."""
    random_state: Annotated[int, Field(ge=0, lt=2**32)] = 42
    plots: bool = True
    """Whether to draw what can be seen of the model, as artifacts of its run."""
    model_name: Annotated[str, Field(pattern=r"^[^/:]+$", max_length=256)] | None = None
    """Registers the model as a new version under this name."""
    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=255)] | None = None
    """Points this alias of `model_name` at the new version."""
    semantic_version: str | None = None
    """A tag of the new version that no other version of the model has."""
    description: str | None = None
    """Of the new version."""
    experiment: Annotated[str, Field(min_length=1)] = "fairlead"
    run_name: str | None = None
    tags: dict[str, str] = {}
    feature_names: list[str] | None = None
    """p names, logged as the signature's columns."""

    @field_validator("alias", "semantic_version", "description")
    @classmethod
    def _needs_a_model(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("model_name", "") is None:
            raise ValueError(f"{info.field_name} needs model_name: it belongs to a version of a registered model")
        return value

    @field_validator("alias")
    @classmethod
    def _not_reserved(cls, alias: str | None) -> str | None:
        if alias is not None and (alias == "latest" or re.fullmatch(r"v\d+", alias)):
            raise ValueError(f"MLflow reserves the alias {alias!r}")
        return alias


def read(directory: Path) -> TrainingRequest:
    """Raises TrainingError(InvalidRequest)."""
    try:
        return TrainingRequest.model_validate_json((directory / REQUEST_FILE).read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"/{part}" for part in first["loc"][:2])
        raise TrainingError(TrainingReason.INVALID_REQUEST, first["msg"], where) from error
    except OSError as error:
        raise TrainingError(TrainingReason.INVALID_REQUEST, f"the request can't be read: {error}") from error
