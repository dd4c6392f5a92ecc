"""One training from start to end: read, validate, search, fit, evaluate, log, load back what was logged.

The model that is logged is the one that was evaluated: it is fitted on the training part alone when rows are held
out, so the metrics beside it in MLflow are its own. `fitted_on` in the result says which rows those were. A search and
a cross-validation see the training part only, so the rows held out are new to whatever was chosen.
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead_service.contract import FailureReason, TrainingReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import client as mlflow_client
from fairlead_service.loading import loader
from fairlead_service.loading.attached import DIRECTORY
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.source import MlflowSource
from fairlead_service.models import bundle as bundles
from fairlead_service.models.bundle import Bundle
from fairlead_service.observability import drift
from fairlead_service.observability.stages import stage
from fairlead_service.tracking import PATIENT, TrackingClient, TrackingServer
from fairlead_service.training import dataset, fetch, hyperparameters, metrics, plans, plots, recording, table, tuning
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.metrics import Scored
from fairlead_service.training.plans import Plan
from fairlead_service.training.progress import Reporter
from fairlead_service.training.request import TrainingRequest
from fairlead_service.training.tuning import Chosen


@dataclass(frozen=True)
class _Trained:
    scored: Scored
    """The estimator on the test part."""
    chosen: Chosen
    metrics: dict[str, float]
    cross_validation: dict[str, Any]


def train(
    request: TrainingRequest, directory: Path, destination: Path, server: TrackingServer, report: Reporter
) -> dict[str, Any]:
    """Trains on the data in `directory` (request.py) and writes the model's bundle to `destination`.

    Returns the result's value (README, `POST /train`). Raises TrainingError; the MLflow run, if there is one by then,
    is FAILED.
    """
    started = time.monotonic()
    with _load_errors(), TrackingClient(server) as client:
        plan = _plan(request, directory, client, report)
        client.get("mlflow/experiments/search", max_results="1")  # is MLflow there? asked before the work, not after
        mlflow_client.prepare(server)
        if request.model_name is not None and request.semantic_version is not None:
            recording.check_semantic_version(request.model_name, request.semantic_version)
        with recording.run(request.experiment, request.run_name, _tags(plan)) as run_id:
            report.run(run_id)
            with stage("log"):
                _log_data(plan, directory, run_id)
            trained = _fit(plan, run_id, report)
            with mlflow_client.patient(), TrackingClient(server, attempts=PATIENT) as patient:
                model = _log(plan, trained, run_id, report)
                bundle = _bundle(plan, trained, model, (destination, directory), MlflowSource(patient), report)
                registration = None
                if request.model_name is not None:
                    report("register", request.model_name)
                    with stage("register"):
                        registration = recording.register(model, request.model_name, request)
                    bundle = bundles.identify(bundle, registration.name, registration.version)
    return _result(plan, model, trained, bundle, registration) | {
        "duration_seconds": round(time.monotonic() - started, 3)
    }


def _plan(request: TrainingRequest, directory: Path, client: TrackingClient, report: Reporter) -> Plan:
    report("read", request.data_uri or request.data_name or "")
    with stage("read"):
        fetched = None
        if request.data_uri is not None:
            fetched = fetch.fetch(request.data_uri, client, directory, request.limits.bytes)
        found = table.read(request, directory, fetched)
    report("validate", f"{request.algorithm}, {found.x.shape[0]} rows")
    plan = plans.make(request, found)
    report.expect(plan.optional_stages)
    return plan


def _log_data(plan: Plan, directory: Path, run_id: str) -> None:
    request, origin = plan.request, dataset.Origin.of(plan.request)
    if request.log_data and request.data_file is not None:
        origin = dataset.keep(origin, directory / request.data_file, run_id)
    dataset.log(plan.data, plan.feature_names, origin)


def _fit(plan: Plan, run_id: str, report: Reporter) -> _Trained:
    """Chooses, judges and fits, and scores what was fitted."""
    chosen = tuning.choose(plan, report)
    with _fit_errors(plan):
        folds = tuning.cross_validate(plan, chosen.hyperparameters, run_id, report)
        estimator = plan.build(chosen.hyperparameters)
        x, y = plan.training_part
        report("fit", f"{x.shape[0]} rows, {x.shape[1]} features")
        with stage("fit", **{"fairlead.rows": len(x)}), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(x, y)
    for text in dict.fromkeys(str(warning.message).partition("\n")[0] for warning in caught):
        report.warn(text)
    report("evaluate", plan.split.method)
    with stage("evaluate"):
        scored = Scored(estimator, *plan.test_part)
        found = metrics.evaluate(plan.metrics, scored, report.warn)
    report.metrics(found)
    return _Trained(scored, chosen, found, {name: scores.report() for name, scores in folds.items()})


def _log(plan: Plan, trained: _Trained, run_id: str, report: Reporter) -> recording.LoggedModel:
    if plan.request.plots:
        report("plot")
        with stage("plot"):
            _draw(plan, trained, report)
    report("log", f"run {run_id}")
    with stage("log"):
        recording.log_parameters(_parameters(plan, trained))
        recording.log_metrics(trained.metrics)
        return recording.log_model(trained.scored.estimator, plan.data, plan.feature_names, run_id)


def _bundle(
    plan: Plan,
    trained: _Trained,
    model: recording.LoggedModel,
    places: tuple[Path, Path],
    source: MlflowSource,
    report: Reporter,
) -> Bundle:
    """What was logged, loaded back as any loader would. `places`: the bundle's, and one for files meanwhile."""
    destination, scratch = places
    with stage("bundle"):
        uri, options = f"models:/{model.model_id}", LoadOptions(run_id=model.run_id)
        bundle = loader.load(uri, destination, source, options, report, scratch)
        bundle = _know_training(bundle, plan, trained.scored.estimator)
        if bundle.manifest.backend == "native":
            _attach(model, bundle, report)
        return bundle


def _draw(plan: Plan, trained: _Trained, report: Reporter) -> None:
    """Logs the figures. They are for people: without them the model is as good."""
    try:
        for name, figure in plots.draw(trained.scored, plan.feature_names, plan.request.random_state):
            recording.log_figure(figure, name)
    except TrainingError:
        raise  # MLflow is away
    except Exception as error:  # of an estimator that is not as scikit-learn's
        report.warn(f"a figure could not be drawn: {type(error).__name__}: {error}")


def _know_training(bundle: Bundle, plan: Plan, estimator: Any) -> Bundle:
    """The features as they were in training; the answers to rows the model has not seen, if those are not too few."""
    (seen, _), (held_out, _) = plan.training_part, plan.test_part
    asked = held_out if len(held_out) >= drift.MIN_REFERENCE_ROWS else seen
    answers = drift.prediction_reference(estimator.predict(asked), bundle.manifest.classes)
    return bundles.know_training(bundle, drift.references(seen), answers)


def _attach(model: recording.LoggedModel, bundle: Bundle, report: Reporter) -> None:
    """Logs the compiled bundle. Without it the model is as good, and whoever loads it compiles it."""
    report("log", f"the compiled bundle, in {DIRECTORY}/ beside the model")
    try:
        recording.attach(model, bundle)
    except Exception as error:  # a store's library raises anything
        report.warn(f"the compiled bundle could not be logged: {error}")


def _tags(plan: Plan) -> dict[str, str]:
    own = {
        "fairlead.algorithm": plan.algorithm.name,
        "fairlead.task": plan.algorithm.task,
        "fairlead.version": recording.fairlead_version(),
    }
    return plan.request.tags | own


def _parameters(plan: Plan, trained: _Trained) -> dict[str, Any]:
    own = {
        "algorithm": plan.request.algorithm,
        "test_size": plan.request.test_size,
        "random_state": plan.request.random_state,
        "n_rows": plan.data.x.shape[0],
        "n_features": plan.data.x.shape[1],
    }
    return own | trained.chosen.hyperparameters


def _result(
    plan: Plan,
    model: recording.LoggedModel,
    trained: _Trained,
    bundle: Bundle,
    registration: recording.Registration | None,
) -> dict[str, Any]:
    manifest = bundle.manifest
    found: dict[str, Any] = {
        "run_id": model.run_id,
        "model_id": model.model_id,
        "algorithm": plan.request.algorithm,
        "task": manifest.task,
        "estimator": manifest.estimator,
        "metrics": trained.metrics,
        "evaluation": plan.split.report(),
        "fitted_on": "training_part" if plan.split.method == "holdout" else "all_rows",
        "hyperparameters": trained.chosen.hyperparameters,
        "model_name": registration.name if registration else None,
        "model_version": registration.version if registration else None,
        "alias": registration.alias if registration else None,
        "n_features": manifest.n_features,
        "classes": None if manifest.classes is None else list(manifest.classes),
        "bundle": str(bundle.directory),
    }
    if trained.chosen.search is not None:
        found["search"] = trained.chosen.search
    if trained.cross_validation:
        found["cross_validation"] = {"folds": len(plan.folds), "metrics": trained.cross_validation}
    return found


@contextmanager
def _fit_errors(plan: Plan) -> Iterator[None]:
    """The data were checked before, so what scikit-learn objects to in a fit is how hyperparameters go together."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if plan.request.hyperparameters:
            raise hyperparameters.invalid(str(error)) from error
        message = f"{plan.request.algorithm} can't be fitted: {error}"
        raise TrainingError(TrainingReason.TRAINING_FAILED, message) from error


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
