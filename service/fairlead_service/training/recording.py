"""One training as MLflow sees it: a run with parameters, metrics, dataset, model, and perhaps a registered version."""

import contextlib
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fairlead_service.contract import TrainingReason
from fairlead_service.loading.attached import DIRECTORY
from fairlead_service.loading.safety import ALLOWED_TYPES
from fairlead_service.models.bundle import Bundle
from fairlead_service.training.data import MAX_EXAMPLE_ROWS, TrainingData
from fairlead_service.training.errors import CancelledError, TrainingError

MODEL_NAME: Final = "model"
MAX_PARAM_CHARACTERS: Final = 6000
"""MLflow's own limit of a parameter's value."""
_QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Set before MLflow is imported, unless the operator of this process chose otherwise."""


@dataclass(frozen=True)
class LoggedModel:
    run_id: str
    model_id: str


@dataclass(frozen=True)
class Registration:
    name: str
    version: str
    alias: str | None


def prepare_client(tracking_uri: str) -> None:
    """Imports MLflow's client, quiet and pointed at the server."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    mlflow.set_tracking_uri(tracking_uri)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"mlflow\..*")


@contextmanager
def run(experiment: str, name: str | None, tags: Mapping[str, str]) -> Iterator[str]:
    """An MLflow run; yields its id. It ends FINISHED, FAILED on an exception, KILLED when cancelled."""
    import mlflow

    with _mlflow_errors("/experiment"):
        experiment_id = mlflow.set_experiment(experiment).experiment_id
    with _mlflow_errors("/tags"):
        active = mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=dict(tags))
    try:
        yield active.info.run_id
    except BaseException as error:
        # what went wrong before matters more than that MLflow can't be told of it
        with contextlib.suppress(TrainingError), _mlflow_errors():
            mlflow.end_run("KILLED" if isinstance(error, CancelledError | KeyboardInterrupt) else "FAILED")
        raise
    with _mlflow_errors():
        mlflow.end_run("FINISHED")


def log_inputs(data: TrainingData, parameters: Mapping[str, Any]) -> None:
    """Logs parameters, and the dataset as digest, shapes and source, without its rows."""
    import mlflow
    from mlflow.data.code_dataset_source import CodeDatasetSource

    source = CodeDatasetSource(tags={"mlflow.source.type": "REQUEST", "mlflow.source.name": "fairlead POST /train"})
    with _mlflow_errors():
        mlflow.log_params({name: _text(value) for name, value in parameters.items()})
        dataset = mlflow.data.from_numpy(data.x, source=source, targets=data.y, name="train", digest=digest(data))
        mlflow.log_input(dataset, context="training")


def log_metrics(metrics: Mapping[str, float]) -> None:
    import mlflow

    with _mlflow_errors():
        mlflow.log_metrics(dict(metrics))


def log_model(estimator: Any, data: TrainingData, feature_names: list[str] | None, run_id: str) -> LoggedModel:
    """Logs the fitted estimator as skops, with signature and input example."""
    import mlflow.sklearn
    import pandas
    from mlflow.models import infer_signature

    example: Any = data.x[:MAX_EXAMPLE_ROWS]
    predicted = estimator.predict(example)
    if feature_names is not None:
        example = pandas.DataFrame(example, columns=feature_names)
    with _mlflow_errors():
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


def register(model: LoggedModel, name: str, alias: str | None) -> Registration:
    """Creates the version, then moves the alias: whoever reads the alias finds a whole version."""
    import mlflow

    with _mlflow_errors("/model_name"):
        created = mlflow.register_model(f"models:/{model.model_id}", name, await_registration_for=30)
    if alias is not None:
        with _mlflow_errors("/alias"):
            mlflow.MlflowClient().set_registered_model_alias(name, alias, created.version)
    return Registration(name, str(created.version), alias)


def digest(data: TrainingData) -> str:
    """SHA-256 of all rows and labels, cut to the 36 characters that MLflow keeps."""
    summary = hashlib.sha256(repr((data.x.shape, data.y.dtype.str)).encode())
    summary.update(data.x.tobytes())
    summary.update(data.y.tobytes())
    return summary.hexdigest()[:36]


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
def _mlflow_errors(field: str | None = None) -> Iterator[None]:
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


def _unavailable(error: Exception) -> TrainingError:
    message = f"the MLflow server does not answer: {error}"
    return TrainingError(TrainingReason.TRACKING_SERVER_UNAVAILABLE, message)
