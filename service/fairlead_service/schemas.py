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


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), defer_build=True)


class _Answer(BaseModel):
    model_config = ConfigDict(protected_namespaces=(), defer_build=True)


class PredictRequest(_Request):
    """One row or many, each with one number per feature of the model."""

    features: list[list[float | None]] | list[dict[str, float | None]] | list[float | None] = Field(
        description="Rows of numbers in the order of the model's features, or with their names, or one row of numbers"
    )
    probabilities: bool = Field(default=False, description="Whether class probabilities are wanted as well")
    scores: bool = Field(default=False, description="Whether raw scores (decision_function) are wanted as well")

    model_config = ConfigDict(json_schema_extra={"example": {"features": [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]]}})


class PredictResponse(_Answer):
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


class TrainOptions(_Request):
    """Everything of a training request but the data."""

    algorithm: Text = Field(description="A registered algorithm")
    hyperparameters: dict[str, Any] = Field(default_factory=dict, description="As scikit-learn names them")
    test_size: float = Field(default=0.25, gt=0, lt=1, description="Share of the rows held out for evaluation")
    random_state: int = Field(default=42, ge=0, le=2**32 - 1)
    feature_names: list[Text] | None = Field(default=None, description="One per column of `data`")
    experiment: Text = Field(default="fairlead", description="MLflow experiment; made if it does not exist")
    run_name: Text | None = None
    tags: dict[Text, Annotated[str, StringConstraints(max_length=5000)]] = Field(default_factory=dict, max_length=100)
    model_name: ModelName | None = Field(default=None, description="Registers the model as a new version of this one")
    alias: Alias | None = Field(default=None, description="Points this alias at the new version; needs `model_name`")
    load: bool = Field(default=True, description="Whether this server serves the model as soon as it is trained")


class TrainRequest(TrainOptions):
    """A matrix, its target, and what to make of them."""

    data: list[list[float]] = Field(description="Rows of numbers, all of the same length")
    target: list[Label] = Field(description="One label per row: integers, strings or booleans, not mixed")

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "data": [[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [5.9, 3.0, 4.2, 1.5]],
                "target": [0, 0, 1, 1],
                "algorithm": "random_forest",
                "hyperparameters": {"n_estimators": 100, "max_depth": 10},
            }
        }
    )


class Evaluation(_Answer):
    """How the metrics came about."""

    method: str
    train_rows: int
    test_rows: int
    reason: str | None = Field(default=None, description="Why no hold-out was possible, if it was not")


class TrainResponse(_Answer):
    run_id: str
    model_id: str | None = None
    algorithm: str
    task: str
    estimator: str | None = None
    metrics: dict[str, float]
    evaluation: Evaluation
    fitted_on: str | None = Field(default=None, description="Which rows the model that was logged has seen")
    hyperparameters: dict[str, Any]
    model_name: str | None = None
    model_version: str | None = None
    alias: str | None = None
    n_features: int
    classes: list[Label] | None = None
    duration_seconds: float
    loaded: bool = Field(description="Whether this server serves the model now")
    warning: str | None = Field(default=None, description="Why the trained model is not served, if it should be")


class LoadResponse(_Answer):
    status: Literal["loaded", "already-loaded", "swapped-back"]
    run_id: str
    model_name: str | None = None
    model_version: str | None = None
    backend: str
    previous_run_id: str | None = Field(default=None, description="The run that served before")
    duration_seconds: float


class LoadBegun(_Answer):
    status: Literal["loading"] = "loading"
    run_id: str


class LoadProgress(_Answer):
    run_id: str
    stage: str = Field(description="waiting, fetch, check, prove, write or serve")


class LoadFailure(_Answer):
    run_id: str
    reason: FailureReason
    message: str
    at: datetime


class Health(_Answer):
    status: Literal["ok", "no-model", "draining"]
    role: str
    version: str
    model_loaded: bool
    run_id: str | None
    uptime_seconds: float


class Live(_Answer):
    status: Literal["ok"] = "ok"


class Ready(_Answer):
    status: Literal["ready"] = "ready"
    model_loaded: bool
    run_id: str | None


class ModelInfo(_Answer):
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
    signature: dict[str, Any] | None
    input_example: list[list[float]] | None
    proof: Proof
    created_at: datetime = Field(description="When the bundle was written")
    loaded_at: datetime = Field(description="When this server took it")
    previous: str | None = Field(description="The run that can be served again at once; predictors with hot swap only")
    loading: LoadProgress | None = Field(description="What is being loaded while this model serves")
    failed_load: LoadFailure | None = Field(description="The last load, if it failed")


class Samples(_Answer):
    """Rows of users' requests."""

    features: list[list[float | None]] = Field(description="One number a feature; null is a missing value")
    columns: tuple[str, ...] | None = Field(description="The features' names, if the model has them")

    model_config = ConfigDict(json_schema_extra={"example": {"features": [[5.1, 3.5], [6.2, 2.9]], "columns": None}})


class RequestCount(_Answer):
    method: str
    path: str
    status: int
    count: int


class Quantiles(_Answer):
    """Estimated from histogram buckets, so exact to the bucket's bounds only; null without observations."""

    mean: float | None = Field(description="Exact, as sum and count are")
    p50: float | None
    p95: float | None
    p99: float | None


class PredictionSummary(_Answer):
    requests: int = Field(description="Answered with 200, by any protocol")
    model_calls: int
    rows: int
    rows_per_call: float | None
    request_milliseconds: Quantiles
    model_call_milliseconds: Quantiles


class TrainingCount(_Answer):
    algorithm: str
    outcome: str
    count: int
    mean_seconds: float


class LoadCount(_Answer):
    outcome: str
    count: int
    mean_seconds: float


class StatusCount(_Answer):
    status: int = Field(description="499: the client left before the answer; 0: the answer broke off")
    count: int


class Errors(_Answer):
    """Answers of 400 and above, without probes and scrapes."""

    count: int
    share: float | None = Field(description="Of all that were answered; null if none were")
    by_status: list[StatusCount]


class FeatureDrift(_Answer):
    feature: str
    psi: float


class DriftSummary(_Answer):
    """How far the newest rows are from the training data, as population stability indices."""

    threshold: float = Field(description="Above it a feature or the predictions have drifted")
    sample_rows: int = Field(description="Newest rows that the indices stand on")
    predictions: float | None
    features: list[FeatureDrift] = Field(description="Those that drifted most, the most first")
    why_none: str | None = Field(description="Why there is no index, if there is none")


class ModelReference(_Answer):
    run_id: str
    model_name: str | None
    model_version: str | None
    estimator: str
    backend: str
    proof: Proof
    loaded_at: datetime


class MetricsSummary(_Answer):
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
