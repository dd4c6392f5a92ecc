"""What MLflow says of a model, and what the model goes by: its run, or the logged model where there is none."""

from typing import Any

import httpx
import pytest

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import loader, reference
from fairlead_service.loading.cache import loads, question
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.source import MlflowSource, ResolvedModel
from fairlead_service.models.bundle import Identity
from fairlead_service.models.wanted import Wanted
from fairlead_service.tracking import TrackingClient, TrackingServer

RUN, MODEL = "6f2c" * 8, "m-" + "8a1b" * 8


def source(run_id: str | None) -> MlflowSource:
    """An MLflow with one logged model, of that run, registered as version 1 of `x` with the alias `a`."""
    info = {"model_id": MODEL, "name": "model", "source_run_id": run_id or "", "artifact_uri": "mlflow-artifacts:/1/m"}
    version = {"name": "x", "version": "1", "source": f"models:/{MODEL}", "run_id": run_id or ""}
    run = {"info": {"artifact_uri": "mlflow-artifacts:/1"}, "outputs": {"model_outputs": [{"model_id": MODEL}]}}
    answers: dict[str, Any] = {
        f"logged-models/{MODEL}": {"model": {"info": info}},
        "model-versions/get": {"model_version": version},
        "registered-models/alias": {"model_version": version},
        "runs/get": {"run": run},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=answers[request.url.path.removeprefix("/api/2.0/mlflow/")])

    return MlflowSource(TrackingClient(TrackingServer("http://mlflow"), httpx.MockTransport(answer)))


@pytest.mark.parametrize("uri", [f"models:/{MODEL}", f"models:/{MODEL}/", "models:/x/1", "models:/x@a"])
@pytest.mark.parametrize("run_id", [RUN, None])
def test_every_reference(uri: str, run_id: str | None) -> None:
    found = source(run_id).resolve(reference.parse(uri))
    assert (found.uri, found.run_id, found.model_id) == (f"models:/{MODEL}", run_id, MODEL)
    assert found.identity == (run_id or MODEL)


@pytest.mark.parametrize("uri", [f"runs:/{RUN}/model", f"runs:/{RUN}/model/", f"runs:/{RUN}//model"])
def test_slashes_mean_nothing(uri: str) -> None:
    found = source(RUN).resolve(reference.parse(uri))
    assert (found.uri, found.model_id) == (f"runs:/{RUN}/model", MODEL)
    options = LoadOptions()
    assert question.key(uri, options, "") == question.key(f"runs:/{RUN}/model", options, "")


def resolved(run_id: str | None, model_id: str | None = MODEL) -> ResolvedModel:
    return ResolvedModel("models:/x/1", run_id, model_id, "mlflow-artifacts:/1")


@pytest.mark.parametrize(
    ("found", "wanted", "identity"),
    [
        (resolved(RUN), None, RUN),
        (resolved(RUN), RUN, RUN),
        (resolved(RUN), MODEL, RUN),
        (resolved(None), None, MODEL),
        (resolved(None), MODEL, MODEL),
        (resolved(None, None), RUN, RUN),  # a version of MLflow 2 that names no run: the caller knows it
        (resolved(RUN), "0" * 32, None),
        (resolved(RUN), "m-" + "0" * 32, None),
        (resolved(None), RUN, None),
    ],
)
def test_what_the_caller_believes(found: ResolvedModel, wanted: str | None, identity: str | None) -> None:
    options = LoadOptions(run_id=wanted)
    if identity is not None:
        assert loader._identified(found, options).identity == identity
        return
    with pytest.raises(LoadError, match="was logged") as caught:
        loader._identified(found, options)
    assert caught.value.reason is FailureReason.MODEL_NOT_FOUND


def test_a_version_without_a_run_is_a_question_with_one_answer() -> None:
    found = loads.version_of("models:/x@a", LoadOptions(), source(None))
    assert found is not None
    uri, options = found
    assert (uri, options.run_id) == ("models:/x/1", MODEL)
    assert question.pinned(uri, options)


def test_what_is_wanted() -> None:
    outside = Identity(run_id=MODEL, model_uri=f"models:/{MODEL}", model_id=MODEL)
    within = Identity(run_id=RUN, model_uri=f"models:/{MODEL}", model_id=MODEL)
    assert Wanted(MODEL).uri == f"models:/{MODEL}"
    assert Wanted(RUN).uri == f"runs:/{RUN}"
    assert Wanted(MODEL).is_of(outside)
    assert Wanted(MODEL).is_of(within)
    assert not Wanted(RUN).is_of(outside)
    assert not Wanted("m-" + "0" * 32).is_of(within)
