"""Bodies of requests and answers, with the examples that `/docs` shows.

`/predict` and the matrix of `/train` are read by `inference.codec`, not by pydantic: for those two the classes here
are documentation, and a test holds them to what the codec takes.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from fairlead_service import patterns
from fairlead_service.contract import SEMANTIC_VERSION_TAG, FailureReason
from fairlead_service.models.bundle import Label, Proof

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=patterns.MODEL_NAME)]
Alias = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=patterns.ALIAS)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=250)]
Value = Annotated[str, StringConstraints(max_length=5000)]
"""Of a tag, or of a description."""
_RESERVED = ("mlflow.", "fairlead.")
_OF_USERS = frozenset({"mlflow.note.content"})
"""The description of a run."""
Tags = TypeVar("Tags", bound=Mapping[str, object])

_RUN_ID = "6f2c1d0e9b3a4c5d8e7f60718293a4b5"


def own_tags(tags: Tags) -> Tags:
    """Raises ValueError for a tag that MLflow or Fairlead writes itself: it says who trained, below which run, which
    version of the model it is and what became of it, and nobody else may say that."""
    for name in tags:
        if name.startswith(_RESERVED) and name not in _OF_USERS:
            raise ValueError(f"{name[:100]!r} is reserved: tags of mlflow. and fairlead. are written by the server")
        if name == SEMANTIC_VERSION_TAG:
            raise ValueError(f"{name!r} is a field of its own, not a tag")
    return tags


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
    """Predictions, all of one model."""

    predictions: list[Label] = Field(description="One per row: the class label, or the value for a regressor")
    run_id: str = Field(description="The run of the model that made every prediction of this answer")
    model_name: str | None = Field(default=None, description="The registered model, if it is one")
    model_version: str | None = Field(default=None, description="The version of the registered model")
    classes: list[Label] | None = Field(
        default=None, description="What the columns of `probabilities` and `scores` stand for"
    )
    probabilities: list[list[float]] | None = Field(
        default=None, description="One a row and class, where they were asked for"
    )
    scores: list[float] | list[list[float]] | None = Field(
        default=None, description="One per row for two classes (above 0: the second), else one per row and class"
    )

    model_config = ConfigDict(json_schema_extra={"example": {"predictions": [0, 1], "run_id": _RUN_ID}})


class LoadResponse(Answer):
    """A model that serves now."""

    status: Literal["loaded", "already-loaded", "swapped-back"] = Field(
        description="Whether it was loaded, served already, or was the one before"
    )
    run_id: str = Field(description="The MLflow run that the model is from")
    model_name: str | None = Field(default=None, description="The registered model, if it is one")
    model_version: str | None = Field(default=None, description="Its version")
    backend: str = Field(description="`native`: compiled; `sklearn`: scikit-learn itself")
    previous_run_id: str | None = Field(default=None, description="The run that served before")
    duration_seconds: float = Field(description="From the request to the first answer that could be its")


class LoadBegun(Answer):
    """A load that goes on without the client."""

    status: Literal["loading"] = Field(default="loading", description="Always the same")
    run_id: str = Field(description="The MLflow run that the model is from")


class LoadProgress(Answer):
    """A load that is under way."""

    run_id: str = Field(description="The MLflow run that the model is from")
    stage: str = Field(description="waiting, cache, fetch, check, prove, write or serve")


class LoadFailure(Answer):
    """A load that failed."""

    run_id: str = Field(description="The MLflow run that the model is from")
    reason: FailureReason = Field(description="Why, in one word")
    message: str = Field(description="Why, in a sentence")
    at: datetime = Field(description="When")


class Health(Answer):
    """What the server is and how it is."""

    status: Literal["ok", "no-model", "draining"] = Field(
        description="`draining`: it ends as soon as the requests under way are answered"
    )
    role: str = Field(description="`api` or `predictor`")
    version: str = Field(description="Of Fairlead")
    model_loaded: bool = Field(description="Whether a model serves")
    run_id: str | None = Field(description="The MLflow run of the model that serves")
    uptime_seconds: float = Field(description="Since the process started")


class Live(Answer):
    """The process answers."""

    status: Literal["ok"] = Field(default="ok", description="Always the same")


class Ready(Answer):
    """Send traffic here."""

    status: Literal["ready"] = Field(default="ready", description="Always the same")
    model_loaded: bool = Field(description="Whether a model serves")
    run_id: str | None = Field(description="The MLflow run of the model that serves")


class ModelInfo(Answer):
    """The model that serves."""

    run_id: str = Field(description="The MLflow run that the model is from")
    model_uri: str = Field(description="Where its files are in MLflow")
    model_id: str | None = Field(description="MLflow's id of the logged model, if it has one")
    model_name: str | None = Field(description="The registered model, if it is one")
    model_version: str | None = Field(description="Its version")
    estimator: str = Field(description="Its class in scikit-learn")
    task: str = Field(description="classification or regression")
    backend: str = Field(description="`native`: compiled; `sklearn`: scikit-learn itself")
    fallback_reason: str | None = Field(description="Why scikit-learn serves the model, if it does")
    n_features: int = Field(description="Numbers that a row must have")
    feature_names: list[str] | None = Field(description="In the order of the numbers, if the model has them")
    classes: list[Label] | None = Field(description="What a classifier's answers may be")
    has_probabilities: bool = Field(description="Whether class probabilities can be asked for")
    has_scores: bool = Field(description="Whether raw scores (`decision_function`) can be asked for")
    accepts_missing: bool = Field(description="Whether a missing value may be given as null")
    has_drift_reference: bool = Field(description="Whether it is known how features or answers were at the training")
    trained_with: dict[str, str] = Field(description="Versions of the packages, by name")
    warnings: list[str] = Field(description="What was found and let pass, such as another version of scikit-learn")
    signature: dict[str, Any] | None = Field(description="MLflow's, if the model has one")
    input_example: list[list[float]] | None = Field(description="The rows that it was tried on, if the model has any")
    proof: Proof = Field(description="What was checked before it served")
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
    """Requests of one kind."""

    method: str = Field(description="HTTP method")
    path: str = Field(description="The route, with names in braces for what varies")
    status: int = Field(description="Of the answer")
    count: int = Field(description="How many")


class Quantiles(Answer):
    """Estimated from histogram buckets, so exact to the bucket's bounds only; null without observations."""

    mean: float | None = Field(description="Exact, as sum and count are")
    p50: float | None = Field(description="Median")
    p95: float | None = Field(description="95 of 100 were quicker")
    p99: float | None = Field(description="99 of 100 were quicker")


class PredictionSummary(Answer):
    """Predictions and how long they took."""

    requests: int = Field(description="Answered with 200, by any protocol")
    model_calls: int = Field(description="Calls of the model; one may answer several requests")
    rows: int = Field(description="Rows predicted")
    rows_per_call: float | None = Field(description="On average")
    request_milliseconds: Quantiles = Field(description="From the request to its answer")
    model_call_milliseconds: Quantiles = Field(description="In the model alone")


class TrainingCount(Answer):
    """Trainings that ended alike."""

    algorithm: str = Field(description="Its name")
    outcome: str = Field(description="How they ended")
    count: int = Field(description="How many")
    mean_seconds: float = Field(description="How long they took on average")


class LoadCount(Answer):
    """Loads that ended alike."""

    outcome: str = Field(description="How they ended")
    count: int = Field(description="How many")
    mean_seconds: float = Field(description="How long they took on average")


class StatusCount(Answer):
    """Answers with one status."""

    status: int = Field(description="499: the client left before the answer; 0: the answer broke off")
    count: int = Field(description="How many")


class Errors(Answer):
    """Answers of 400 and above, without probes and scrapes."""

    count: int = Field(description="How many")
    share: float | None = Field(description="Of all that were answered; null if none were")
    by_status: list[StatusCount] = Field(description="The same by status")


class FeatureDrift(Answer):
    """One feature's drift."""

    feature: str = Field(description="Its name or number")
    psi: float = Field(description="Population stability index; 0 is no drift")


class DriftSummary(Answer):
    """How far the newest rows are from the training data, as population stability indices."""

    threshold: float = Field(description="Above it a feature or the predictions have drifted")
    sample_rows: int = Field(description="Newest rows that the indices stand on")
    predictions: float | None = Field(description="The same of what the model answered, if it is known")
    features: list[FeatureDrift] = Field(description="Those that drifted most, the most first")
    why_none: str | None = Field(description="Why there is no index, if there is none")


class ModelReference(Answer):
    """The model that serves, in short."""

    run_id: str = Field(description="The MLflow run that the model is from")
    model_name: str | None = Field(description="The registered model, if it is one")
    model_version: str | None = Field(description="Its version")
    estimator: str = Field(description="Its class in scikit-learn")
    backend: str = Field(description="`native`: compiled; `sklearn`: scikit-learn itself")
    proof: Proof = Field(description="What was checked before it served")
    loaded_at: datetime = Field(description="When this server took it")


class MetricsSummary(Answer):
    """Since this process started; `/metrics` has the same figures for Prometheus, which keeps them."""

    since: datetime = Field(description="When the process started")
    uptime_seconds: float = Field(description="For how long it has run")
    requests: list[RequestCount] = Field(description="By method, route and status")
    answered: int = Field(description="Requests without probes and scrapes")
    in_flight: int = Field(description="Requests that are being answered now, without probes and scrapes")
    errors: Errors = Field(description="Answers of 400 and above")
    predictions: PredictionSummary = Field(description="Predictions and how long they took")
    trainings: list[TrainingCount] = Field(description="By algorithm and outcome")
    loads: list[LoadCount] = Field(description="By outcome")
    model: ModelReference | None = Field(description="The one that serves, if any does")
    drift: DriftSummary = Field(description="Of the newest rows")
