"""Answers of the API as frozen dataclasses. What a newer server says beside is left out; `read` makes them from JSON.

Every class has the fields of the API's own answer (`/docs`), under the same names.
"""

import types
from collections.abc import Hashable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Label = bool | int | float | str
FINAL_STATES: Final = frozenset({"Succeeded", "Failed", "Cancelled", "Interrupted"})


@dataclass(frozen=True)
class Prediction:
    predictions: list[Label]
    """One a row: the class label, or the value of a regressor."""
    run_id: str
    """The run of the model that made all of them."""
    model_name: str | None = None
    model_version: str | None = None
    classes: list[Label] | None = None
    probabilities: list[list[float]] | None = None
    """Shape (rows, classes); only if asked for."""
    scores: Any = None
    """`decision_function`: shape (rows,) for two classes, else (rows, classes); only if asked for."""


@dataclass(frozen=True)
class Evaluation:
    method: str
    train_rows: int
    test_rows: int
    reason: str | None = None


@dataclass(frozen=True)
class Training:
    """A trained model."""

    run_id: str
    algorithm: str
    task: str
    metrics: dict[str, float]
    evaluation: Evaluation
    hyperparameters: dict[str, Any]
    n_features: int
    duration_seconds: float
    loaded: bool
    """Whether the server serves it now."""
    job_id: str | None = None
    model_id: str | None = None
    estimator: str | None = None
    cross_validation: dict[str, Any] | None = None
    search: dict[str, Any] | None = None
    fitted_on: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    alias: str | None = None
    classes: list[Label] | None = None
    warning: str | None = None


@dataclass(frozen=True)
class TrainingJob:
    """How far a training is."""

    id: str
    state: str
    """Queued, Running, Succeeded, Failed, Cancelled or Interrupted."""
    algorithm: str
    data: str
    created_at: datetime
    model_name: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    stage: str = "waiting"
    message: str = ""
    percent: float = 0.0
    """A guess."""
    metrics: dict[str, float] = field(default_factory=dict)
    run_id: str | None = None
    result: Training | None = None
    problem: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self.state in FINAL_STATES


@dataclass(frozen=True)
class TrainingJobs:
    jobs: list[TrainingJob]


@dataclass(frozen=True)
class LoadedModel:
    status: str
    """loaded, already-loaded or swapped-back."""
    run_id: str
    backend: str
    duration_seconds: float
    model_name: str | None = None
    model_version: str | None = None
    previous_run_id: str | None = None


@dataclass(frozen=True)
class ModelInfo:
    """The model that serves."""

    run_id: str
    model_uri: str
    estimator: str
    task: str
    backend: str
    """`native`: compiled; `sklearn`: scikit-learn itself."""
    n_features: int
    has_probabilities: bool
    has_scores: bool
    accepts_missing: bool
    has_drift_reference: bool
    trained_with: dict[str, str]
    warnings: list[str]
    proof: dict[str, Any]
    created_at: datetime
    loaded_at: datetime
    model_id: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    fallback_reason: str | None = None
    feature_names: list[str] | None = None
    classes: list[Label] | None = None
    signature: dict[str, Any] | None = None
    input_example: list[list[Any]] | None = None
    previous: str | None = None
    loading: dict[str, Any] | None = None
    failed_load: dict[str, Any] | None = None


@dataclass(frozen=True)
class Health:
    status: str
    """ok, no-model or draining."""
    role: str
    version: str
    model_loaded: bool
    uptime_seconds: float
    run_id: str | None = None


@dataclass(frozen=True)
class MetricsSummary:
    """Since the server's process started."""

    since: datetime
    uptime_seconds: float
    answered: int
    in_flight: int
    errors: dict[str, Any]
    predictions: dict[str, Any]
    requests: list[dict[str, Any]]
    trainings: list[dict[str, Any]]
    loads: list[dict[str, Any]]
    drift: dict[str, Any]
    model: dict[str, Any] | None = None


@dataclass(frozen=True)
class Algorithm:
    name: str
    package: str | None = None
    task: str | None = None
    description: str | None = None
    hyperparameters: dict[str, Any] | None = None
    """A JSON Schema."""
    error: str | None = None


@dataclass(frozen=True)
class Algorithms:
    algorithms: list[Algorithm]
    metrics: list[dict[str, Any]]


@dataclass(frozen=True)
class ModelVersion:
    version: str
    semantic_version: str | None = None
    description: str | None = None
    aliases: list[str] = field(default_factory=list)
    run_id: str | None = None
    status: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True)
class RegisteredModel:
    name: str
    description: str | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    """Version by alias."""
    tags: dict[str, str] = field(default_factory=dict)
    updated_at: datetime | None = None


@dataclass(frozen=True)
class RegisteredModels:
    models: list[RegisteredModel]
    next_page_token: str | None = None


@dataclass(frozen=True)
class ModelDetails(RegisteredModel):
    versions: list[ModelVersion] = field(default_factory=list)
    """The newest first."""


@dataclass(frozen=True)
class Run:
    run_id: str
    status: str
    metrics: dict[str, float]
    parameters: dict[str, str]
    name: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    parent_run_id: str | None = None


@dataclass(frozen=True)
class Runs:
    runs: list[Run]
    next_page_token: str | None = None


def read(kind: type[T], found: Any) -> T:
    """Decoded JSON as a dataclass. Raises ValueError for what is no such answer: another server, or another version."""
    if not isinstance(found, dict):
        raise ValueError(f"the answer is no {kind.__name__}: {str(found)[:100]}")
    known = _fields(cast(Hashable, kind))
    missing = [name for name, (_, needed) in known.items() if needed and name not in found]
    if missing:
        raise ValueError(f"the answer is no {kind.__name__}: it lacks {', '.join(missing)}")
    return kind(**{name: _read(hint, found[name]) for name, (hint, _) in known.items() if name in found})


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Type of each field, and whether it has to be there."""
    hints = get_type_hints(kind)
    return {
        one.name: (hints[one.name], one.default is MISSING and one.default_factory is MISSING) for one in fields(kind)
    }


def _read(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        nested = [one for one in get_args(hint) if is_dataclass(one) or one is datetime]
        return _read(nested[0], value) if nested else value
    if origin is list:
        (inner,) = get_args(hint)
        return [_read(inner, one) for one in value] if is_dataclass(inner) else value
    if hint is datetime:
        return datetime.fromisoformat(value)
    return read(cast(type, hint), value) if is_dataclass(hint) else value
