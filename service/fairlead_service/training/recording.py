"""One training as MLflow sees it: a run with parameters, metrics, dataset, model, and perhaps a registered version."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fairlead_service.contract import SEMANTIC_VERSION_TAG, TrainingReason
from fairlead_service.loading import client as mlflow_client
from fairlead_service.loading.attached import DIRECTORY
from fairlead_service.loading.safety import ALLOWED_TYPES
from fairlead_service.models.bundle import Bundle
from fairlead_service.tracking import semantic_version_is
from fairlead_service.training.data import MAX_EXAMPLE_ROWS, TrainingData
from fairlead_service.training.errors import CancelledError, TrainingError
from fairlead_service.training.request import TrainingRequest
from fairlead_service.training.search import Scores

MODEL_NAME: Final = "model"
MAX_PARAM_CHARACTERS: Final = 6000
"""MLflow's own limit of a parameter's value."""
_LAST_WORD: Final = (0, 5)
"""Retries and seconds for telling a server that did not answer how its run ended."""


@dataclass(frozen=True)
class LoggedModel:
    run_id: str
    model_id: str


@dataclass(frozen=True)
class Registration:
    name: str
    version: str
    alias: str | None


@contextmanager
def run(experiment: str, name: str | None, tags: Mapping[str, str]) -> Iterator[str]:
    """An MLflow run; yields its id. It ends FINISHED, FAILED on an exception, KILLED when cancelled."""
    import mlflow

    with mlflow_errors("/experiment"):
        experiment_id = mlflow.set_experiment(experiment).experiment_id
    with mlflow_errors("/tags"):
        active = mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=dict(tags))
    try:
        yield active.info.run_id
    except BaseException as error:
        # what went wrong before matters more than that MLflow can't be told of it
        with contextlib.suppress(TrainingError), mlflow_errors(), _last_word(error):
            mlflow.end_run("KILLED" if isinstance(error, CancelledError | KeyboardInterrupt) else "FAILED")
        raise
    with mlflow_errors():
        mlflow.end_run("FINISHED")


def log_parameters(parameters: Mapping[str, Any]) -> None:
    import mlflow

    with mlflow_errors():
        mlflow.log_params({name: _text(value) for name, value in parameters.items()})


def log_metrics(metrics: Mapping[str, float]) -> None:
    import mlflow

    with mlflow_errors():
        mlflow.log_metrics(dict(metrics))


def _summary(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Mean and standard deviation of each metric of a cross-validation, under the names that MLflow shows."""
    means = {f"cv_{name}_mean": found.mean for name, found in scores.items()}
    return means | {f"cv_{name}_std": found.std for name, found in scores.items()}


def log_folds(run_id: str, scores: Mapping[str, Scores]) -> None:
    """Each metric's summary, and a series with one step a fold; in one request."""
    series = [(f"cv_{name}", value, step) for name, found in scores.items() for step, value in enumerate(found.folds)]
    _log_batch(run_id, [*((name, value, 0) for name, value in _summary(scores).items()), *series])


def log_candidate(number: int, candidate: Mapping[str, Any], scores: Mapping[str, Scores], error: str | None) -> None:
    """One candidate of a search as a run below the active one; `error` is why it could not be fitted."""
    import mlflow

    client, parent = mlflow.MlflowClient(), mlflow.active_run().info
    tags = {"mlflow.parentRunId": parent.run_id, "fairlead.candidate": str(number)}
    if error is not None:
        tags["fairlead.error"] = error
    with mlflow_errors():
        below = client.create_run(parent.experiment_id, tags=tags, run_name=f"candidate {number}").info.run_id
    _log_batch(below, [(name, value, 0) for name, value in _summary(scores).items()], candidate)
    with mlflow_errors():
        client.set_terminated(below, "FINISHED" if error is None else "FAILED")


def _log_batch(
    run_id: str, measured: Iterable[tuple[str, float, int]], parameters: Mapping[str, Any] | None = None
) -> None:
    """(metric, value, step) and parameters of a run, in one request."""
    import mlflow
    from mlflow.entities import Metric, Param
    from mlflow.utils.time import get_current_time_millis

    now = get_current_time_millis()
    metrics = [Metric(name, value, now, step) for name, value, step in measured]
    params = [Param(name, _text(value)) for name, value in (parameters or {}).items()]
    with mlflow_errors():
        mlflow.MlflowClient().log_batch(run_id, metrics=metrics, params=params)


def log_figure(figure: Any, name: str) -> None:
    import mlflow

    with mlflow_errors():
        mlflow.log_figure(figure, f"plots/{name}")


def log_model(estimator: Any, data: TrainingData, feature_names: list[str] | None, run_id: str) -> LoggedModel:
    """Logs the fitted estimator as skops, with signature and input example."""
    import mlflow.sklearn
    import pandas
    from mlflow.models import infer_signature

    example: Any = data.x[:MAX_EXAMPLE_ROWS]
    predicted = estimator.predict(example)
    if feature_names is not None:
        example = pandas.DataFrame(example, columns=feature_names)
    with mlflow_errors():
        info = mlflow.sklearn.log_model(
            estimator,
            name=MODEL_NAME,
            serialization_format="skops",
            skops_trusted_types=sorted(ALLOWED_TYPES),
            signature=infer_signature(example, predicted),
            input_example=example,
            pip_requirements=_requirements(),
        )
    return LoggedModel(run_id, info.model_id)


def attach(model: LoggedModel, bundle: Bundle) -> None:
    """Puts the bundle's files beside the model, so that whoever loads it need not compile it again.

    Raises what MLflow's client and its store raise.
    """
    import mlflow

    mlflow.MlflowClient().log_model_artifacts(model.model_id, str(bundle.directory), DIRECTORY)


def check_semantic_version(name: str, wanted: str) -> None:
    """Raises TrainingError(InvalidRequest) if a version of the model has this tag already."""
    import mlflow

    with mlflow_errors("/model_name"):
        found = mlflow.MlflowClient().search_model_versions(semantic_version_is(name, wanted), max_results=1)
    if found:
        message = f"version {found[0].version} of {name} is {wanted} already; a semantic version is given once"
        raise TrainingError(TrainingReason.INVALID_REQUEST, message, "/semantic_version")


def register(model: LoggedModel, name: str, request: TrainingRequest) -> Registration:
    """Creates the version, then moves the alias: whoever reads the alias finds a whole version."""
    import mlflow

    client, alias = mlflow.MlflowClient(), request.alias
    tags = {SEMANTIC_VERSION_TAG: request.semantic_version} if request.semantic_version is not None else {}
    with mlflow_errors("/model_name"):
        created = mlflow.register_model(f"models:/{model.model_id}", name, await_registration_for=30, tags=tags)
    if request.description is not None:
        with mlflow_errors("/description"):
            client.update_model_version(name, created.version, description=request.description)
    if alias is not None:
        with mlflow_errors("/alias"):
            client.set_registered_model_alias(name, alias, created.version)
    return Registration(name, str(created.version), alias)


def interrupt(run_id: str) -> None:
    """Ends a run whose training was cut off, if it has not ended: KILLED, with a tag that says why."""
    import mlflow
    from mlflow.exceptions import RestException

    client = mlflow.MlflowClient()
    with mlflow_errors():
        try:
            status = client.get_run(run_id).info.status
        except RestException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return  # somebody has deleted it for good
            raise
        if status not in ("RUNNING", "SCHEDULED"):
            return
        client.set_tag(run_id, "fairlead.interrupted", "the server that trained this model ended before it was done")
        client.set_terminated(run_id, "KILLED")


def fairlead_version() -> str:
    try:
        return version("fairlead")
    except PackageNotFoundError:
        return "unknown"


def _requirements() -> list[str]:
    """Stated, not inferred: inference loads the model in another process and takes seconds."""
    return [f"{name}=={version(name)}" for name in ("mlflow-skinny", "scikit-learn", "numpy", "scipy", "skops")]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MAX_PARAM_CHARACTERS else text[: MAX_PARAM_CHARACTERS - 1] + "…"


@contextmanager
def mlflow_errors(field: str | None = None) -> Iterator[None]:
    """Tells MLflow's absence from its refusals, which are the request's fault where a field of it is named."""
    from mlflow.exceptions import MlflowException, RestException
    from requests.exceptions import RequestException

    try:
        yield
    except RequestException as error:
        raise _unavailable(error) from error
    except MlflowException as error:
        if "API request to" in str(error) and not isinstance(error, RestException):
            raise _unavailable(error) from error
        reason = TrainingReason.TRAINING_FAILED if field is None else TrainingReason.INVALID_REQUEST
        raise TrainingError(reason, f"MLflow refuses to record the training: {error}", field) from error


def _last_word(error: BaseException) -> AbstractContextManager[None]:
    """Not as long again for a server that has not answered; and who cancels waits a few seconds only."""
    away = isinstance(error, TrainingError) and error.reason is TrainingReason.TRACKING_SERVER_UNAVAILABLE
    hurried = away or isinstance(error, CancelledError | KeyboardInterrupt)
    return mlflow_client.trying(*_LAST_WORD) if hurried else contextlib.nullcontext()


def _unavailable(error: Exception) -> TrainingError:
    message = f"the MLflow server does not answer: {error}"
    return TrainingError(TrainingReason.TRACKING_SERVER_UNAVAILABLE, message)
