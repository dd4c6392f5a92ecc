"""Bodies of training requests and answers. The trainer reads what crosses the wall by `Search` and `Range`, too."""

import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from fairlead_service import patterns
from fairlead_service.errors import FieldError
from fairlead_service.models.bundle import Label
from fairlead_service.schemas import Alias, Answer, ModelName, Request, Text, Value, own_tags

SemanticVersion = Annotated[str, StringConstraints(max_length=100, pattern=patterns.SEMANTIC_VERSION)]


class Range(Request):
    """Between `low` and `high`, both included; whole numbers if both are."""

    low: int | float = Field(description="The smallest value")
    high: int | float = Field(description="The largest value")
    log: bool = Field(default=False, description="As many between 0.01 and 0.1 as between 0.1 and 1")

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @model_validator(mode="after")
    def _low_is_low(self) -> "Range":
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError("low must be less than high, and both finite")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range must be above 0")
        return self


class Search(Request):
    """Every candidate is cross-validated on the rows to learn from; the best one is trained."""

    method: Literal["grid", "random"] = Field(description="`grid` tries all combinations, `random` draws some")
    parameters: dict[str, Annotated[list[Any], Field(min_length=1)] | Range] = Field(
        min_length=1, description="For each hyperparameter the values to try, or (random) a range to draw from"
    )
    iterations: int = Field(default=20, ge=1, description="Candidates of a random search")
    folds: int = Field(default=3, ge=2, le=20, description="Parts that the rows are cut into; each is left out once")
    metric: Text | None = Field(default=None, description="One of `GET /algorithms`; accuracy or r2 by default")


class TrainOptions(Request):
    """Everything of a training request but the data."""

    algorithm: Text = Field(description="One of `GET /algorithms`")
    hyperparameters: dict[str, Any] = Field(default_factory=dict, description="As `GET /algorithms` describes them")
    search: Search | None = Field(default=None, description="Tries candidates as nested runs, and trains the best")
    cross_validation: int | None = Field(default=None, ge=2, le=20, description="Folds of the rows to learn from")
    data_uri: Text | None = Field(
        default=None,
        description="A CSV or Parquet file among MLflow's artifacts: `runs:/RUN_ID/PATH`, `mlflow-artifacts:/PATH`; or "
        "`runs:/RUN_ID`, the dataset of that run",
    )
    target_column: Text | None = Field(default=None, description="The target, in a file or at `data_uri`")
    log_data: bool = Field(default=False, description="Whether an uploaded file becomes an artifact of the run")
    plots: bool = Field(default=True, description="Whether confusion matrix, ROC curve and importances are drawn")
    test_size: float = Field(default=0.25, gt=0, lt=1, description="Share of the rows held out for evaluation")
    random_state: int = Field(default=42, ge=0, le=2**32 - 1, description="Seed of the split, the search and the model")
    feature_names: list[Text] | None = Field(default=None, description="One per column of `data`")
    experiment: Text = Field(default="fairlead", description="MLflow experiment; made if it does not exist")
    run_name: Text | None = Field(default=None, description="Of the MLflow run; MLflow makes one up if left out")
    tags: Annotated[dict[Text, Value], AfterValidator(own_tags)] = Field(
        default_factory=dict, max_length=100, description="Of the MLflow run"
    )

    model_name: ModelName | None = Field(default=None, description="Registers the model as a new version of this one")
    alias: Alias | None = Field(default=None, description="Points this alias at the new version; needs `model_name`")
    semantic_version: SemanticVersion | None = Field(
        default=None, description="Tag of the new version, such as 1.4.0, that no other version has"
    )
    description: str | None = Field(default=None, max_length=5000, description="Of the new version")
    load: bool = Field(default=True, description="Whether this server serves the model as soon as it is trained")


class TrainRequest(TrainOptions):
    """A matrix, its target, and what to make of them."""

    data: list[list[float]] | None = Field(default=None, description="Rows of numbers, all of the same length")
    target: list[Label] | None = Field(
        default=None, description="One label per row of `data`: integers, strings or booleans, not mixed"
    )

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


class AlgorithmInfo(Answer):
    """What can be trained."""

    name: str = Field(description="What `algorithm` of `POST /train` calls it")
    package: str | None = Field(description="The installed package that brings it")
    task: str | None = Field(default=None, description="classification or regression")
    description: str | None = Field(default=None, description="What it is")
    hyperparameters: dict[str, Any] | None = Field(default=None, description="JSON Schema of what it takes")
    error: str | None = Field(default=None, description="Why it can't be used, if it can't")


class MetricInfo(Answer):
    """What is computed of a trained model."""

    name: str = Field(description="What MLflow and `search.metric` call it")
    package: str | None = Field(description="The installed package that brings it")
    task: str | None = Field(default=None, description="classification or regression")
    description: str | None = Field(default=None, description="What it is")
    greater_is_better: bool | None = Field(default=None, description="Whether a search looks for the largest")
    error: str | None = Field(default=None, description="Why it can't be used, if it can't")


class Algorithms(Answer):
    """What this server can train and compute."""

    algorithms: list[AlgorithmInfo] = Field(description="Those that `POST /train` takes")
    metrics: list[MetricInfo] = Field(description="Computed in every training of their task; `search.metric` is one")


class Evaluation(Answer):
    """How the metrics came about."""

    method: str = Field(description="Which rows the model was judged on")
    train_rows: int = Field(description="Rows that it learned from")
    test_rows: int = Field(description="Rows that were held out")
    reason: str | None = Field(default=None, description="Why no hold-out was possible, if it was not")


class SearchOutcome(Answer):
    """What a search found."""

    method: str = Field(description="`grid` or `random`")
    metric: str = Field(description="What the best is best in")
    best: dict[str, Any] = Field(description="The candidate that was trained")
    best_score: float = Field(description="Its mean over the folds")
    candidates: int = Field(description="How many were tried")
    failed: int = Field(description="Candidates that could not be fitted and scored")
    folds: int = Field(description="Parts that the rows were cut into")


class FoldScores(Answer):
    """One metric over the folds."""

    mean: float = Field(description="Of the folds")
    std: float = Field(description="Standard deviation of the folds")
    folds: list[float] = Field(description="One score a fold")


class CrossValidation(Answer):
    """How the model does on rows that it has not seen, several times over."""

    folds: int = Field(description="Parts that the rows were cut into")
    metrics: dict[str, FoldScores] = Field(description="By name")


class TrainResponse(Answer):
    """A training that succeeded."""

    job_id: str | None = Field(default=None, description="`GET /train/jobs/{id}` has it, too")
    run_id: str = Field(description="The MLflow run")
    model_id: str | None = Field(default=None, description="MLflow's id of the logged model")
    algorithm: str = Field(description="What was trained")
    task: str = Field(description="classification or regression")
    estimator: str | None = Field(default=None, description="Its class in scikit-learn")
    metrics: dict[str, float] = Field(description="By name, on the rows that `evaluation` names")
    evaluation: Evaluation = Field(description="How the metrics came about")
    cross_validation: CrossValidation | None = Field(default=None, description="What it found, if it was asked for")
    search: SearchOutcome | None = Field(default=None, description="What it found, if it was asked for")
    fitted_on: str | None = Field(default=None, description="Which rows the model that was logged has seen")
    hyperparameters: dict[str, Any] = Field(description="Those of the model that was logged, where they were given")
    model_name: str | None = Field(default=None, description="The registered model, if one was asked for")
    model_version: str | None = Field(default=None, description="The new version")
    alias: str | None = Field(default=None, description="What points at the new version now")
    n_features: int = Field(description="Numbers that a row must have")
    classes: list[Label] | None = Field(default=None, description="What a classifier's answers may be")
    duration_seconds: float = Field(description="From the start of the process to its end")
    loaded: bool = Field(description="Whether this server serves the model now")
    warning: str | None = Field(default=None, description="Why the trained model is not served, if it should be")


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "Queued"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    INTERRUPTED = "Interrupted"
    """The server ended before the training did."""

    @property
    def final(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobProblem(Answer):
    """Why there is no model, as the problem details that a waiting client got."""

    type: str = Field(description="Identifies the kind of problem")
    title: str = Field(description="What kind of problem it is")
    status: int = Field(description="Of the answer that a waiting client got")
    detail: str = Field(description="What is wrong, where, and what to send instead")
    errors: list[FieldError] | None = Field(default=None, description="Each place in the request that is wrong")


class TrainingJob(Answer):
    """A training, from the request to its end."""

    id: str = Field(description="Its id")
    state: JobState = Field(description="How far it is")
    algorithm: str = Field(description="What is trained")
    model_name: str | None = Field(default=None, description="The registered model, if one was asked for")
    data: str = Field(description="Where the data come from: request, upload, or their URI")
    created_at: datetime = Field(description="When it was asked for")
    started_at: datetime | None = Field(default=None, description="When its process began")
    ended_at: datetime | None = Field(default=None, description="When it ended")
    stage: str = Field(default="waiting", description="waiting, read, validate, search, fit, evaluate, log, serve, …")
    message: str = Field(default="", description="What it does now, in a sentence")
    percent: float = Field(default=0, description="A guess: what takes how long depends on the data")
    metrics: dict[str, float] = Field(default_factory=dict, description="Those known so far")
    run_id: str | None = Field(default=None, description="The MLflow run, once there is one")
    result: TrainResponse | None = Field(default=None, description="Of a job that succeeded")
    problem: JobProblem | None = Field(default=None, description="Of a job that did not")


class TrainingJobs(Answer):
    """Trainings that the server knows of."""

    jobs: list[TrainingJob] = Field(description="The newest first")
