"""Bodies of requests and answers, with the examples that `/docs` shows.

`/predict` and the matrix of `/train` are read by `inference.codec`, not by pydantic: for those two the classes here
are documentation, and a test holds them to what the codec takes.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from fairlead_service.contract import FailureReason
from fairlead_service.models.bundle import Label, Proof

RUN_ID_PATTERN = r"^[0-9a-f]{32}$"
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=r"^[^/:\x00-\x1f\x7f]+$")]
Alias = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=r"^[A-Za-z0-9_-]+$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=250)]

_RUN_ID = "6f2c1d0e9b3a4c5d8e7f60718293a4b5"


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), defer_build=True)


class Answer(BaseModel):
    model_config = ConfigDict(protected_namespaces=(), defer_build=True)


class PredictRequest(Request):
    """One row or many, each with one number per feature of the model."""

    features: list[list[float | None]] | list[dict[str, float | None]] | list[float | None] = Field(
        description="Rows of numbers in the order of the model's features, or with their names, or one row of numbers"
    )
    probabilities: bool = Field(default=False, description="Whether class probabilities are wanted as well")
    scores: bool = Field(default=False, description="Whether raw scores (decision_function) are wanted as well")

    model_config = ConfigDict(json_schema_extra={"example": {"features": [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]]}})


class PredictResponse(Answer):
    predictions: list[Label] = Field(description="One per row: the class label, or the value for a regressor")
    run_id: str = Field(description="The run of the model that made every prediction of this answer")
    model_name: str | None = Field(default=None, description="The registered model, if it is one")
    model_version: str | None = None
    classes: list[Label] | None = Field(
        default=None, description="What the columns of `probabilities` and `scores` stand for"
    )
    probabilities: list[list[float]] | None = None
    scores: list[float] | list[list[float]] | None = Field(
        default=None, description="One per row for two classes (above 0: the second), else one per row and class"
    )

    model_config = ConfigDict(json_schema_extra={"example": {"predictions": [0, 1], "run_id": _RUN_ID}})


class LoadResponse(Answer):
    status: Literal["loaded", "already-loaded", "swapped-back"]
    run_id: str
    model_name: str | None = None
    model_version: str | None = None
    backend: str
    previous_run_id: str | None = Field(default=None, description="The run that served before")
    duration_seconds: float


class LoadBegun(Answer):
    status: Literal["loading"] = "loading"
    run_id: str


class LoadProgress(Answer):
    run_id: str
    stage: str = Field(description="waiting, cache, fetch, check, prove, write or serve")


class LoadFailure(Answer):
    run_id: str
    reason: FailureReason
    message: str
    at: datetime


class Health(Answer):
    status: Literal["ok", "no-model", "draining"]
    role: str
    version: str
    model_loaded: bool
    run_id: str | None
    uptime_seconds: float


class Live(Answer):
    status: Literal["ok"] = "ok"


class Ready(Answer):
    status: Literal["ready"] = "ready"
    model_loaded: bool
    run_id: str | None


class ModelInfo(Answer):
    run_id: str
    model_uri: str
    model_id: str | None
    model_name: str | None
    model_version: str | None
    estimator: str
    task: str
    backend: str = Field(description="`native`: compiled; `sklearn`: scikit-learn itself")
    fallback_reason: str | None = Field(description="Why scikit-learn serves the model, if it does")
    n_features: int
    feature_names: list[str] | None
    classes: list[Label] | None
    has_probabilities: bool
    has_scores: bool = Field(description="Whether raw scores (`decision_function`) can be asked for")
    accepts_missing: bool = Field(description="Whether a missing value may be given as null")
    has_drift_reference: bool = Field(description="Whether it is known how features or answers were at the training")
    trained_with: dict[str, str]
    warnings: list[str] = Field(description="What was found and let pass, such as another version of scikit-learn")
    signature: dict[str, Any] | None
    input_example: list[list[float]] | None
    proof: Proof
    created_at: datetime = Field(description="When the bundle was written")
    loaded_at: datetime = Field(description="When this server took it")
    previous: str | None = Field(description="The run that can be served again at once; predictors with hot swap only")
    loading: LoadProgress | None = Field(description="What is being loaded while this model serves")
    failed_load: LoadFailure | None = Field(description="The last load, if it failed")


class Samples(Answer):
    """Rows of users' requests."""

    features: list[list[float | None]] = Field(description="One number a feature; null is a missing value")
    columns: tuple[str, ...] | None = Field(description="The features' names, if the model has them")

    model_config = ConfigDict(json_schema_extra={"example": {"features": [[5.1, 3.5], [6.2, 2.9]], "columns": None}})


class RequestCount(Answer):
    method: str
    path: str
    status: int
    count: int


class Quantiles(Answer):
    """Estimated from histogram buckets, so exact to the bucket's bounds only; null without observations."""

    mean: float | None = Field(description="Exact, as sum and count are")
    p50: float | None
    p95: float | None
    p99: float | None


class PredictionSummary(Answer):
    requests: int = Field(description="Answered with 200, by any protocol")
    model_calls: int
    rows: int
    rows_per_call: float | None
    request_milliseconds: Quantiles
    model_call_milliseconds: Quantiles


class TrainingCount(Answer):
    algorithm: str
    outcome: str
    count: int
    mean_seconds: float


class LoadCount(Answer):
    outcome: str
    count: int
    mean_seconds: float


class StatusCount(Answer):
    status: int = Field(description="499: the client left before the answer; 0: the answer broke off")
    count: int


class Errors(Answer):
    """Answers of 400 and above, without probes and scrapes."""

    count: int
    share: float | None = Field(description="Of all that were answered; null if none were")
    by_status: list[StatusCount]


class FeatureDrift(Answer):
    feature: str
    psi: float


class DriftSummary(Answer):
    """How far the newest rows are from the training data, as population stability indices."""

    threshold: float = Field(description="Above it a feature or the predictions have drifted")
    sample_rows: int = Field(description="Newest rows that the indices stand on")
    predictions: float | None
    features: list[FeatureDrift] = Field(description="Those that drifted most, the most first")
    why_none: str | None = Field(description="Why there is no index, if there is none")


class ModelReference(Answer):
    run_id: str
    model_name: str | None
    model_version: str | None
    estimator: str
    backend: str
    proof: Proof
    loaded_at: datetime


class MetricsSummary(Answer):
    """Since this process started; `/metrics` has the same figures for Prometheus, which keeps them."""

    since: datetime
    uptime_seconds: float
    requests: list[RequestCount]
    answered: int = Field(description="Requests without probes and scrapes")
    in_flight: int = Field(description="Requests that are being answered now, without probes and scrapes")
    errors: Errors
    predictions: PredictionSummary
    trainings: list[TrainingCount]
    loads: list[LoadCount]
    model: ModelReference | None
    drift: DriftSummary
