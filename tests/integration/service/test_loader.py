"""The loader against a real MLflow server."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fairlead_service import contract, wire
from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import attached, loader
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.source import ClientArtifacts, MlflowSource
from fairlead_service.models import bundle
from fairlead_service.models.backends import Want, build
from fairlead_service.tracking import TrackingClient, TrackingServer
from tests.integration.conftest import REQUIREMENTS

X = np.random.default_rng(5).random((50, 3))
Y = np.array(["no", "yes"])[(X[:, 0] > 0.5).astype(int)]
FOREST = RandomForestClassifier(5, random_state=0).fit(X, Y)
LINEAR = LogisticRegression().fit(X, Y)
TRUSTED = {"skops_trusted_types": ["sklearn.tree._tree.Tree"]}
NOWHERE = "http://127.0.0.1:9"

Load = Callable[..., bundle.Bundle]


@pytest.fixture
def client(mlflow_server: str) -> Iterator[TrackingClient]:
    with TrackingClient(TrackingServer(mlflow_server)) as made:
        yield made


@pytest.fixture
def load(client: TrackingClient, tmp_path: Path) -> Load:
    def run(uri: str, **options: Any) -> bundle.Bundle:
        return loader.load(uri, tmp_path / "b", MlflowSource(client), LoadOptions(**options), lambda *_: None)

    return run


@pytest.fixture(scope="module")
def forest(log_sample: Any) -> Any:
    """A forest, registered as version 1 of `trees` with the alias `champion`."""
    logged = log_sample(FOREST, X, **TRUSTED)
    created = mlflow.register_model(f"models:/{logged.model_id}", "trees")
    mlflow.MlflowClient().set_registered_model_alias("trees", "champion", created.version)
    return logged


def failure(load: Load, uri: str, **options: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load(uri, **options)
    return caught.value


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("runs:/{run}/model", None),
        ("runs:/{run}", None),
        ("models:/{model}", None),
        ("models:/trees/1", "trees"),
        ("models:/trees@champion", "trees"),
    ],
)
def test_every_form_of_reference(load: Load, forest: Any, form: str, name: str | None) -> None:
    uri = form.format(run=forest.run_id, model=forest.model_id)
    made = load(uri, run_id=forest.run_id)
    identity = made.manifest.identity
    assert (identity.run_id, identity.model_id, identity.name) == (forest.run_id, forest.model_id, name)
    assert identity.model_uri == (uri if uri.startswith("runs:") else f"models:/{forest.model_id}")
    assert made.manifest.estimator == "sklearn.ensemble.RandomForestClassifier"
    assert (made.manifest.backend, made.manifest.proof.verdict) == ("native", "identical")
    assert made.manifest.trained_with["scikit-learn"]
    assert predictions(made) == FOREST.predict(X).tolist()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (f"runs:/{'0' * 32}/model", "Run with id"),
        ("runs:/nonsense", "nonsense"),
        (f"models:/m-{'0' * 32}", "m-000"),
        ("models:/nobody/1", "nobody"),
        ("models:/trees/99", "99"),
        ("models:/trees@nobody", "nobody"),
        ("models:/trees/Production", "not a model reference"),
    ],
)
def test_not_found(load: Load, forest: Any, uri: str, words: str) -> None:
    error = failure(load, uri)
    assert error.reason is FailureReason.MODEL_NOT_FOUND
    assert words in error.message


def test_run_without_a_model(load: Load, log_sample: Any) -> None:
    with mlflow.start_run() as run:
        mlflow.log_text("x", "other/file.txt")
    for uri in (f"runs:/{run.info.run_id}", f"runs:/{run.info.run_id}/model"):
        error = failure(load, uri)
        assert error.reason is FailureReason.MODEL_NOT_FOUND
        assert f"run {run.info.run_id} has no model" in error.message


def test_deleted_run(load: Load, log_sample: Any) -> None:
    logged = log_sample(LINEAR, X)
    mlflow.MlflowClient().delete_run(logged.run_id)
    assert failure(load, f"runs:/{logged.run_id}").reason is FailureReason.MODEL_NOT_FOUND


def test_run_with_several_models(load: Load, log_sample: Any) -> None:
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(LINEAR, name="a", pip_requirements=[])
        mlflow.sklearn.log_model(FOREST, name="b", pip_requirements=[], **TRUSTED)
    error = failure(load, f"runs:/{run.info.run_id}")
    assert "several models (a, b)" in error.message
    assert load(f"runs:/{run.info.run_id}/b").manifest.estimator.endswith("RandomForestClassifier")


@pytest.mark.parametrize("uri", ["runs:/{run}/model", "runs:/{run}"])
def test_model_in_the_run_as_mlflow_2_had_it(load: Load, log_sample: Any, tmp_path: Path, uri: str) -> None:
    mlflow.sklearn.save_model(LINEAR, tmp_path / "saved", input_example=X[:2], pip_requirements=[])
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(tmp_path / "saved"), "model")
    identity = load(uri.format(run=run.info.run_id)).manifest.identity
    assert (identity.run_id, identity.model_id) == (run.info.run_id, None)


def test_artifacts_outside_the_server(load: Load, log_sample: Any, tmp_path: Path) -> None:
    experiment = mlflow.MlflowClient().create_experiment("elsewhere", artifact_location=(tmp_path / "store").as_uri())
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.sklearn.log_model(LINEAR, name="model", pip_requirements=[])
    assert load(f"runs:/{run.info.run_id}").manifest.n_features == 3


def test_a_store_whose_library_this_image_does_not_have(mlflow_server: str) -> None:
    with pytest.raises(LoadError, match="s3://bucket/model") as caught:
        ClientArtifacts("s3://bucket/model", TrackingServer(mlflow_server)).listing()
    assert caught.value.reason is FailureReason.LOAD_FAILED


def test_pandas_signature(load: Load, log_sample: Any) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    logged = log_sample(LogisticRegression().fit(frame, Y), frame)
    made = load(f"models:/{logged.model_id}")
    assert made.manifest.feature_names == ("a", "b", "c")
    assert made.manifest.input_example == tuple(map(tuple, X[:3].tolist()))


def test_a_signature_in_another_order(load: Load, log_sample: Any) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    fitted = LinearRegression().fit(frame, X @ [1.0, 10.0, 100.0])
    turned = frame[["c", "b", "a"]]
    signature = mlflow.models.infer_signature(turned, fitted.predict(frame))
    logged = log_sample(fitted, turned, signature=signature, input_example=None)
    made = load(f"models:/{logged.model_id}")
    assert made.manifest.feature_names == ("a", "b", "c")
    assert any("another order" in warning for warning in made.manifest.warnings)
    assert predictions(made) == pytest.approx(fitted.predict(frame).tolist())


def test_a_model_outside_a_run(load: Load, log_sample: Any) -> None:
    """MLflow 3 keeps it as a logged model of its own."""
    assert mlflow.active_run() is None
    logged = mlflow.sklearn.log_model(LINEAR, name="model", pip_requirements=[], registered_model_name="outside")
    assert mlflow.active_run() is None
    for uri in (f"models:/{logged.model_id}", f"models:/{logged.model_id}/", "models:/outside/1"):
        for options in ({}, {"run_id": logged.model_id}):
            identity = load(uri, **options).manifest.identity
            assert (identity.run_id, identity.model_id) == (logged.model_id, logged.model_id)
    error = failure(load, "models:/outside/1", run_id="0" * 32)
    assert error.reason is FailureReason.MODEL_NOT_FOUND
    assert f"outside a run, as {logged.model_id}" in error.message


def test_truncated_artifact(load: Load, log_sample: Any, mlflow_server: str) -> None:
    logged = log_sample(LINEAR, X)
    path = f"{logged.experiment_id}/models/{logged.model_id}/artifacts/model.skops"
    url = f"{mlflow_server}/api/2.0/mlflow-artifacts/artifacts/{path}"
    with urllib.request.urlopen(url) as answer:
        whole = answer.read()
    urllib.request.urlopen(urllib.request.Request(url, data=whole[: len(whole) // 2], method="PUT")).close()
    assert failure(load, f"runs:/{logged.run_id}").reason is FailureReason.MODEL_CORRUPT


FRAME = pd.DataFrame({"age": [20, 30, 40, 50], "income": [1.5, 2.5, 0.5, 3.5], "children": [0, 1, 2, 3]})
FRAME_Y = ["no", "yes", "no", "yes"]


@pytest.mark.parametrize("form", ["skops", "cloudpickle", "pickle"])
def test_models_of_plain_mlflow_code(load: Load, log_sample: Any, form: str) -> None:
    """Every serialization that `mlflow.sklearn` writes, with named columns some of which are whole numbers."""
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, FRAME_Y)
    logged = log_sample(fitted, FRAME, serialization_format=form)
    if form != "skops":
        assert failure(load, f"models:/{logged.model_id}").reason is FailureReason.MODEL_REFUSED
    made = load(f"models:/{logged.model_id}", allow_pickle=form != "skops")
    assert made.manifest.feature_names == ("age", "income", "children")
    assert made.manifest.warnings == ()
    assert predictions(made, FRAME.to_numpy(float)) == fitted.predict(FRAME).tolist()


def test_pickle(load: Load, log_sample: Any) -> None:
    logged = log_sample(FOREST, X, serialization_format="cloudpickle")
    error = failure(load, f"runs:/{logged.run_id}")
    assert error.reason is FailureReason.MODEL_REFUSED
    assert "cloudpickle" in error.message
    made = load(f"runs:/{logged.run_id}", allow_pickle=True)
    assert predictions(made) == FOREST.predict(X).tolist()


def test_host_name_that_mlflow_does_not_know(mlflow_server: str) -> None:
    class Renamed(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            request.headers["host"] = "fairlead-mlflow.fairlead:5000"
            return super().handle_request(request)

    with TrackingClient(TrackingServer(mlflow_server), Renamed()) as client, pytest.raises(LoadError) as caught:
        client.get("mlflow/runs/get", run_id="0" * 32)
    assert caught.value.reason is FailureReason.TRACKING_SERVER_UNAVAILABLE
    assert "--allowed-hosts" in caught.value.message


def command(tmp_path: Path, **environment: str) -> tuple[int, list[Any]]:
    """Runs the loader as a pod does: no arguments, everything from the environment."""
    base = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "FAIRLEAD_"))}
    base |= {"FAIRLEAD_BUNDLE_DIR": str(tmp_path / "b"), "FAIRLEAD_TERMINATION_LOG": str(tmp_path / "log")}
    done = subprocess.run(
        [sys.executable, "-m", "fairlead_service.loading"], env=base | environment, capture_output=True, timeout=60
    )
    return done.returncode, [wire.parse(line) for line in done.stdout.splitlines()]


def test_the_program_and_its_restart_without_mlflow(mlflow_server: str, forest: Any, tmp_path: Path) -> None:
    wanted = {contract.ENV_MODEL_URI: f"runs:/{forest.run_id}/model", contract.ENV_RUN_ID: forest.run_id}
    code, said = command(tmp_path, MLFLOW_TRACKING_URI=mlflow_server, **wanted)
    assert code == 0
    assert [message.kind for message in said] == ["progress"] * (len(said) - 1) + ["result"]
    assert said[-1].value["run_id"] == forest.run_id
    assert said[-1].value["backend"] == "native"
    before = bundle.read(tmp_path / "b")

    code, said = command(tmp_path, MLFLOW_TRACKING_URI=NOWHERE, **wanted)
    assert (code, said[-1].kind) == (0, "result")
    assert "already holds" in said[0].message
    assert bundle.read(tmp_path / "b") == before


def test_the_program_takes_its_limits_from_the_environment(mlflow_server: str, log_sample: Any, tmp_path: Path) -> None:
    logged = log_sample(LINEAR, X, pip_requirements=["numpy==2.0.0"])
    wanted = {contract.ENV_MODEL_URI: f"models:/{logged.model_id}", "MLFLOW_TRACKING_URI": mlflow_server}
    wanted |= {"FAIRLEAD_MAX_MODEL_BYTES": "1000000"}
    code, said = command(tmp_path, **wanted, FAIRLEAD_VERSION_POLICY="strict", FAIRLEAD_MEMORY_LIMIT="1000000000")
    assert (code, said[-1].reason) == (1, "VersionMismatch")
    assert "model was trained with numpy 2.0.0, this image has" in said[-1].message
    code, said = command(tmp_path, **wanted, FAIRLEAD_VERSION_POLICY="warn", FAIRLEAD_MEMORY_LIMIT="100000000")
    assert (code, said[-1].reason) == (1, "ModelRefused")
    assert "this container may use 96Mi" in said[-1].message
    code, said = command(tmp_path, **wanted, FAIRLEAD_VERSION_POLICY="warn", FAIRLEAD_MEMORY_LIMIT="300000000")
    assert code == 0, said[-1]
    (warning,) = bundle.read(tmp_path / "b").manifest.warnings
    assert warning.startswith("model was trained with numpy 2.0.0")


def test_the_program_shows_no_password(mlflow_server: str, forest: Any, tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "FAIRLEAD_"))}
    environment |= {"FAIRLEAD_BUNDLE_DIR": str(tmp_path / "b"), "FAIRLEAD_TERMINATION_LOG": str(tmp_path / "log")}
    environment |= {contract.ENV_MODEL_URI: f"runs:/{forest.run_id}", "FAIRLEAD_LOG_LEVEL": "debug"}
    for server, code in ((NOWHERE, 1), (mlflow_server, 0)):
        environment["MLFLOW_TRACKING_URI"] = server.replace("://", "://me:s3cr3t@")
        command = [sys.executable, "-m", "fairlead_service.loading"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout
        assert "s3cr3t" not in done.stdout + done.stderr + (tmp_path / "log").read_text()


def test_the_program_when_mlflow_is_down(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    wanted = {contract.ENV_MODEL_URI: f"runs:/{'0' * 32}", contract.ENV_RUN_ID: "0" * 32}
    code, said = command(tmp_path, MLFLOW_TRACKING_URI=NOWHERE, **wanted)
    assert code == 1
    assert [message.kind for message in said] == ["failure"]
    assert said[0].reason == "TrackingServerUnavailable"
    last_word = {"reason": said[0].reason, "message": said[0].message, "run_id": "0" * 32}
    assert json.loads((tmp_path / "log").read_bytes()) == last_word
    assert NOWHERE in said[0].message
    assert not (tmp_path / "b").exists()


def predictions(made: bundle.Bundle, x: Any = X) -> list[Any]:
    """What a server on the bundle answers."""
    answer: list[Any] = build(made).evaluate(np.asarray(x), Want()).predictions.tolist()
    return answer


def test_a_model_that_is_not_compiled(load: Load, log_sample: Any) -> None:
    logged = log_sample(SVC().fit(X, Y), X)
    manifest = load(f"models:/{logged.model_id}").manifest
    assert (manifest.backend, manifest.proof) == ("sklearn", bundle.Proof(rows=3, verdict="loaded", batches=True))
    assert "SVC" in (manifest.fallback_reason or "")


LEAN = """
import sys
from fairlead_service.loading.__main__ import main
code = main([], __import__("os").environ)
heavy = {"mlflow", "sklearn", "pandas", "skops", "joblib", "scipy", "opentelemetry.sdk"} & sys.modules.keys()
assert not heavy, heavy
sys.exit(code)
"""


def test_a_bundle_beside_the_model_is_taken_without_any_model_library(
    load: Load, log_sample: Any, mlflow_server: str, tmp_path: Path
) -> None:
    logged = log_sample(FOREST, X, **TRUSTED)
    compiled = load(f"models:/{logged.model_id}")
    mlflow.MlflowClient().log_model_artifacts(logged.model_id, str(compiled.directory), attached.DIRECTORY)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "FAIRLEAD_"))}
    environment |= {
        "MLFLOW_TRACKING_URI": mlflow_server,
        contract.ENV_MODEL_URI: f"runs:/{logged.run_id}/model",
        contract.ENV_MODEL_NAME: "fraud",
        contract.ENV_BUNDLE_DIR: str(tmp_path / "taken"),
    }
    done = subprocess.run([sys.executable, "-c", LEAN], env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert b"compiled and proven on" in done.stdout
    taken = bundle.read(tmp_path / "taken")
    assert taken.manifest.files == compiled.manifest.files
    assert taken.manifest.identity.model_uri == f"runs:/{logged.run_id}/model"
    assert taken.manifest.identity.name == "fraud"
    assert predictions(taken) == FOREST.predict(X).tolist()


def test_a_bundle_beside_a_model_outside_the_server(load: Load, log_sample: Any, tmp_path: Path) -> None:
    location = (tmp_path / "store").as_uri()
    experiment = mlflow.MlflowClient().create_experiment("beside, elsewhere", artifact_location=location)
    with mlflow.start_run(experiment_id=experiment):
        model_id = mlflow.sklearn.log_model(FOREST, name="model", pip_requirements=REQUIREMENTS, **TRUSTED).model_id
    first = load(f"models:/{model_id}").manifest
    mlflow.MlflowClient().log_model_artifacts(model_id, str(tmp_path / "b"), attached.DIRECTORY)
    again = load(f"models:/{model_id}").manifest
    assert (again.made_with, again.proof, again.files) == (first.made_with, first.proof, first.files)
