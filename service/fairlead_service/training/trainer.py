"""One training from start to end: validate, fit, evaluate, log, load back what was logged.

The model that is logged is the one that was evaluated: it is fitted on the training part alone when rows are held
out, so the metrics beside it in MLflow are its own. `fitted_on` in the result says which rows those were.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairlead_service.contract import FailureReason, TrainingReason
from fairlead_service.loading import loader
from fairlead_service.loading.attached import DIRECTORY
from fairlead_service.loading.errors import LoadError
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.source import MlflowSource
from fairlead_service.loading.tracking import TrackingClient, TrackingServer
from fairlead_service.models import bundle as bundles
from fairlead_service.models.bundle import Bundle
from fairlead_service.observability import drift
from fairlead_service.observability.stages import stage
from fairlead_service.training import algorithms, data, evaluate, recording
from fairlead_service.training.algorithms import Algorithm
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.request import TrainingRequest

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class _Fitted:
    estimator: Any
    split: evaluate.Split
    metrics: dict[str, float]


def train(
    request: TrainingRequest,
    x: "np.ndarray[Any, np.dtype[np.float64]]",
    destination: Path,
    server: TrackingServer,
    progress: Progress,
) -> dict[str, Any]:
    """Trains on x, shape (n, p), and writes the model's bundle to `destination`.

    Returns the result's value (README, `POST /train`). Raises TrainingError; the MLflow run, if there is one by then,
    is FAILED.
    """
    started = time.monotonic()
    progress("validate", f"{request.algorithm}, {x.shape[0]} rows")
    algorithm = algorithms.find(request.algorithm)
    prepared = data.prepare(x, request.target, algorithm.task, request.feature_names)
    hyperparameters = data.keyed_by_label(request.hyperparameters, prepared.y)
    estimator = algorithm.build(hyperparameters, request.random_state)
    with _load_errors(), TrackingClient(server) as client:
        client.get("mlflow/experiments/search", max_results="1")  # is MLflow there? asked before the work, not after
        recording.prepare_client(server.url)
        with recording.run(request.experiment, request.run_name, _tags(request, algorithm)) as run_id:
            with stage("log"):
                recording.log_inputs(prepared, _parameters(request, prepared))
            fitted = _fit(estimator, prepared, request, algorithm, progress)
            progress("log", f"run {run_id}")
            with stage("log"):
                recording.log_metrics(fitted.metrics)
                model = recording.log_model(fitted.estimator, prepared, request.feature_names, run_id)
            with stage("bundle"):
                uri = f"models:/{model.model_id}"
                bundle = loader.load(uri, destination, MlflowSource(client), LoadOptions(run_id=run_id), progress)
                bundle = _know_training(bundle, fitted, prepared.x)
                if bundle.manifest.backend == "native":
                    _attach(model, bundle, progress)
            registration = None
            if request.model_name is not None:
                progress("register", request.model_name)
                with stage("register"):
                    registration = recording.register(model, request.model_name, request.alias)
                bundle = bundles.identify(bundle, registration.name, registration.version)
    return _result(request, model, fitted, bundle, registration) | {
        "duration_seconds": round(time.monotonic() - started, 3)
    }


def _know_training(bundle: Bundle, fitted: _Fitted, x: "np.ndarray[Any, np.dtype[np.float64]]") -> Bundle:
    """The features as they were in training; the answers to rows the model has not seen, if those are not too few."""
    seen, held_out = x[fitted.split.train], x[fitted.split.test]
    asked = held_out if len(held_out) >= drift.MIN_REFERENCE_ROWS else seen
    answers = drift.prediction_reference(fitted.estimator.predict(asked), bundle.manifest.classes)
    return bundles.know_training(bundle, drift.references(seen), answers)


def _attach(model: recording.LoggedModel, bundle: Bundle, progress: Progress) -> None:
    """Logs the compiled bundle. Without it the model is as good, and whoever loads it compiles it."""
    progress("log", f"the compiled bundle, in {DIRECTORY}/ beside the model")
    try:
        recording.attach(model, bundle)
    except Exception as error:  # a store's library raises anything
        progress("log", f"warning: the compiled bundle could not be logged: {error}")


def _fit(
    estimator: Any, prepared: data.TrainingData, request: TrainingRequest, algorithm: Algorithm, progress: Progress
) -> _Fitted:
    split = evaluate.split(prepared.y, algorithm.task, request.test_size, request.random_state)
    progress("fit", f"{len(split.train)} rows, {prepared.x.shape[1]} features")
    try:
        with stage("fit", **{"fairlead.rows": len(split.train)}), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(prepared.x[split.train], prepared.y[split.train])
    except (ValueError, TypeError) as error:
        # The data were checked before, so what scikit-learn objects to here is how hyperparameters go together.
        if request.hyperparameters:
            raise algorithms.invalid_hyperparameter(str(error)) from error
        raise TrainingError(TrainingReason.TRAINING_FAILED, f"{request.algorithm} can't be fitted: {error}") from error
    for text in dict.fromkeys(str(warning.message).partition("\n")[0] for warning in caught):
        progress("fit", f"warning: {text}")
    progress("evaluate", split.method)
    with stage("evaluate"):
        scores = evaluate.metrics(estimator, prepared.x[split.test], prepared.y[split.test], algorithm.task)
    return _Fitted(estimator, split, scores)


def _tags(request: TrainingRequest, algorithm: Algorithm) -> dict[str, str]:
    own = {
        "fairlead.algorithm": algorithm.name,
        "fairlead.task": algorithm.task,
        "fairlead.version": recording.fairlead_version(),
    }
    return request.tags | own


def _parameters(request: TrainingRequest, prepared: data.TrainingData) -> dict[str, Any]:
    own = {
        "algorithm": request.algorithm,
        "test_size": request.test_size,
        "random_state": request.random_state,
        "n_rows": prepared.x.shape[0],
        "n_features": prepared.x.shape[1],
    }
    return own | request.hyperparameters


def _result(
    request: TrainingRequest,
    model: recording.LoggedModel,
    fitted: _Fitted,
    bundle: Bundle,
    registration: recording.Registration | None,
) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "run_id": model.run_id,
        "model_id": model.model_id,
        "algorithm": request.algorithm,
        "task": manifest.task,
        "estimator": manifest.estimator,
        "metrics": fitted.metrics,
        "evaluation": fitted.split.report(),
        "fitted_on": "training_part" if fitted.split.method == "holdout" else "all_rows",
        "hyperparameters": request.hyperparameters,
        "model_name": registration.name if registration else None,
        "model_version": registration.version if registration else None,
        "alias": registration.alias if registration else None,
        "n_features": manifest.n_features,
        "classes": None if manifest.classes is None else list(manifest.classes),
        "bundle": str(bundle.directory),
    }


@contextmanager
def _load_errors() -> Iterator[None]:
    """What fails to load back after it was trained here is the training's failure, unless MLflow went away."""
    try:
        yield
    except LoadError as error:
        if error.reason is FailureReason.TRACKING_SERVER_UNAVAILABLE:
            raise TrainingError(TrainingReason.TRACKING_SERVER_UNAVAILABLE, error.message) from error
        message = f"the trained model can't be served ({error.reason}): {error.message}"
        raise TrainingError(TrainingReason.TRAINING_FAILED, message) from error
