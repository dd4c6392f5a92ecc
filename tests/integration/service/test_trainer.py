"""The trainer against a real MLflow server: what it logs, what it hands over, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import ExtraTreesRegressor

from fairlead_service import wire
from fairlead_service.contract import FailureReason, TrainingReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import attached, loader
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.source import MlflowSource
from fairlead_service.models import bundle
from fairlead_service.models.backends import Want, build
from fairlead_service.tracking import TrackingClient, TrackingServer
from fairlead_service.training import algorithms, recording, trainer
from fairlead_service.training.algorithms import Algorithm
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.progress import Reporter
from fairlead_service.training.request import MATRIX_FILE, TrainingRequest

FOUR_ROWS = [[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [5.9, 3.0, 4.2, 1.5]]
CANCER = load_breast_cancer()
SMALL = np.random.default_rng(1).random((160, 2))
HALF = (SMALL[:, 0] > 0.5).tolist()
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def train(mlflow_server: str, tmp_path: Path, said: list[str]) -> Any:
    def run(x: Any, server: str = mlflow_server, **fields: Any) -> dict[str, Any]:
        request = TrainingRequest(**({"algorithm": "logistic_regression"} | fields))
        np.save(tmp_path / MATRIX_FILE, np.asarray(x, np.float64))
        report = Reporter(lambda told: said.append(f"{told.stage}: {told.message}"))
        return trainer.train(request, tmp_path, tmp_path / "b", TrackingServer(server), report)

    return run


@pytest.fixture
def runs(mlflow_server: str) -> Any:
    """The runs of an experiment, as MLflow has them."""
    client = mlflow.MlflowClient(mlflow_server)

    def find(experiment: str) -> list[Any]:
        found = client.get_experiment_by_name(experiment)
        return [] if found is None else client.search_runs([found.experiment_id])

    return find


def predict(directory: Path, x: Any) -> list[Any]:
    """What a server on the bundle answers."""
    answer: list[Any] = build(bundle.read(directory)).evaluate(np.asarray(x, np.float64), Want()).predictions.tolist()
    return answer


def test_four_rows(train: Any, tmp_path: Path) -> None:
    hyperparameters = {"n_estimators": 100, "max_depth": 10}
    found = train(FOUR_ROWS, target=[0, 0, 1, 1], algorithm="random_forest", hyperparameters=hyperparameters)
    assert found["metrics"]["accuracy"] == 1.0
    assert found["evaluation"] == {
        "method": "training_data",
        "train_rows": 4,
        "test_rows": 4,
        "reason": "the test part would have 1 row for 2 classes",
    }
    assert found["fitted_on"] == "all_rows"
    assert found["classes"] == [0, 1]
    assert predict(tmp_path / "b", FOUR_ROWS) == [0, 0, 1, 1]


@pytest.mark.parametrize("algorithm", ["random_forest", "gradient_boosting", "logistic_regression"])
def test_real_data(train: Any, tmp_path: Path, algorithm: str, said: list[str]) -> None:
    target = CANCER.target_names[CANCER.target].tolist()
    small = {} if algorithm == "logistic_regression" else {"n_estimators": 20}
    found = train(CANCER.data, target=target, algorithm=algorithm, hyperparameters=small)
    assert not [line for line in said if "warning" in line]  # it converges
    assert found["metrics"]["accuracy"] > 0.9
    assert set(found["metrics"]) == {
        "accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "log_loss",
    }  # fmt: skip
    assert found["evaluation"] == {"method": "holdout", "train_rows": 426, "test_rows": 143}
    assert found["fitted_on"] == "training_part"
    assert found["classes"] == ["benign", "malignant"]
    assert set(predict(tmp_path / "b", CANCER.data[:50])) == {"benign", "malignant"}
    manifest = bundle.read(tmp_path / "b").manifest
    assert len(manifest.drift_reference or ()) == 30
    answers = manifest.prediction_reference
    assert isinstance(answers, bundle.ClassReference)
    assert (answers.rows, answers.shares[0]) == (143, pytest.approx(0.63, abs=0.08))  # benign, of those held out


def test_what_mlflow_has(train: Any, runs: Any, tmp_path: Path) -> None:
    iris = load_iris()
    found = train(
        iris.data,
        target=iris.target.tolist(),
        hyperparameters={"C": 0.5, "class_weight": {"0": 2.0}},
        experiment="recorded",
        run_name="first",
        tags={"team": "flowers"},
        feature_names=["a", "b", "c", "d"],
        model_name="iris",
        alias="champion",
    )
    (run,) = runs("recorded")
    assert run.info.run_id == found["run_id"]
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.params["C"] == "0.5"
    assert json.loads(run.data.params["class_weight"]) == {"0": 2.0}
    assert run.data.metrics == pytest.approx(found["metrics"])
    assert run.data.tags["team"] == "flowers"
    assert run.data.tags["fairlead.algorithm"] == "logistic_regression"
    assert run.data.tags["fairlead.version"]
    (dataset,) = run.inputs.dataset_inputs
    assert len(dataset.dataset.digest) == 36
    assert json.loads(dataset.dataset.profile) == {"num_rows": 150, "num_elements": 750}
    columns = json.loads(dataset.dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["a", "b", "c", "d", "target"]
    assert "POST /train" in dataset.dataset.source

    info = mlflow.models.get_model_info(f"models:/{found['model_id']}")
    assert info.signature.inputs.input_names() == ["a", "b", "c", "d"]
    version = mlflow.MlflowClient().get_model_version_by_alias("iris", "champion")
    assert (version.version, version.run_id) == (found["model_version"], found["run_id"])
    manifest = bundle.read(tmp_path / "b").manifest
    assert (manifest.identity.name, manifest.identity.version) == ("iris", found["model_version"])
    assert manifest.feature_names == ("a", "b", "c", "d")
    assert len(manifest.input_example or ()) == 5


def test_the_compiled_bundle_is_logged_beside_the_model(train: Any, mlflow_server: str, tmp_path: Path) -> None:
    said: list[str] = []
    found = train(SMALL, target=HALF, algorithm="random_forest", hyperparameters={"n_estimators": 5})
    uri = f"models:/{found['model_id']}"
    files = mlflow.MlflowClient().list_logged_model_artifacts(found["model_id"], attached.DIRECTORY)
    assert {Path(file.path).name for file in files} == {"manifest.json", "program.json", "arrays.bin"}
    with TrackingClient(TrackingServer(mlflow_server)) as client:

        def load() -> bundle.Bundle:
            source, options = MlflowSource(client), LoadOptions(run_id=found["run_id"])
            return loader.load(uri, tmp_path / "again", source, options, lambda *words: said.append(": ".join(words)))

        loaded = load()
        assert loaded.manifest.identity.model_id == found["model_id"]
        assert len(loaded.manifest.drift_reference or ()) == loaded.manifest.n_features
        assert isinstance(loaded.manifest.prediction_reference, bundle.ClassReference)
        assert any("compiled and proven on" in line for line in said)
        assert predict(tmp_path / "again", SMALL) == predict(tmp_path / "b", SMALL)
        assert mlflow.sklearn.load_model(uri).predict(SMALL).tolist() == predict(tmp_path / "b", SMALL)

        other = train(SMALL, target=HALF, algorithm="random_forest", hyperparameters={"n_estimators": 6})
        store = f"{mlflow_server}/api/2.0/mlflow-artifacts/artifacts/{experiment(found)}/models"
        with urllib.request.urlopen(f"{store}/{other['model_id']}/artifacts/model.skops") as answer:
            content = answer.read()
        place = f"{store}/{found['model_id']}/artifacts/model.skops"
        urllib.request.urlopen(urllib.request.Request(place, data=content, method="PUT")).close()
        with pytest.raises(LoadError, match=r"not of this model.*delete its fairlead/") as caught:
            load()
        assert caught.value.reason is FailureReason.MODEL_REFUSED


def test_a_bundle_that_cannot_be_logged_does_not_fail_the_training(
    train: Any, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(recording, "attach", fail)
    assert train(SMALL, target=HALF)["run_id"]
    assert "log: warning: the compiled bundle could not be logged: the disk is full" in said


def experiment(found: dict[str, Any]) -> str:
    identifier: str = mlflow.MlflowClient().get_run(found["run_id"]).info.experiment_id
    return identifier


@pytest.mark.parametrize("target", [HALF, [int(label) for label in HALF], ["ny"[label] for label in HALF]])
def test_labels_keep_their_json_type(train: Any, tmp_path: Path, target: list[Any]) -> None:
    found = train(SMALL, target=target)
    assert set(map(type, found["classes"])) == set(map(type, target))
    assert set(map(type, predict(tmp_path / "b", SMALL))) == set(map(type, target))
    assert json.loads(json.dumps(found)) == found


def test_reproducible(train: Any, tmp_path: Path) -> None:
    fields = {"target": HALF, "algorithm": "random_forest", "hyperparameters": {"n_estimators": 5}}
    first, answers = train(SMALL, **fields), predict(tmp_path / "b", SMALL)
    second = train(SMALL, **fields)
    assert second["run_id"] != first["run_id"]
    assert second["metrics"] == first["metrics"]
    assert predict(tmp_path / "b", SMALL) == answers
    assert train(SMALL, **fields | {"random_state": 7})["metrics"] != first["metrics"]


def test_a_regressor_from_a_plugin(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Algorithm.of_class(ExtraTreesRegressor, name="extra_trees", task="regression", description="")
    monkeypatch.setattr(algorithms, "find", lambda name: plugin)
    found = train(
        SMALL, target=(2 * SMALL[:, 0]).tolist(), algorithm="extra_trees", hyperparameters={"n_estimators": 5}
    )
    assert (found["task"], found["classes"]) == ("regression", None)
    assert found["metrics"]["r2"] > 0.5


@pytest.mark.parametrize(
    ("fields", "reason", "where"),
    [
        ({"algorithm": "magic"}, TrainingReason.UNKNOWN_ALGORITHM, "/algorithm"),
        ({"hyperparameters": {"c": 1}}, TrainingReason.INVALID_HYPERPARAMETER, "/hyperparameters/c"),
        ({"target": [1] * 40}, TrainingReason.INVALID_DATA, "/target"),
    ],
)
def test_a_bad_request_leaves_no_run(train: Any, runs: Any, fields: Any, reason: Any, where: str) -> None:
    with pytest.raises(TrainingError) as caught:
        train(SMALL, **{"target": HALF, "experiment": "untouched"} | fields)
    assert (caught.value.reason, caught.value.where) == (reason, where)
    assert runs("untouched") == []


def test_what_only_the_fit_finds_ends_the_run_failed(train: Any, runs: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="lbfgs") as caught:
        train(SMALL, target=HALF, hyperparameters={"penalty": "l1"}, experiment="failed")
    assert caught.value.reason is TrainingReason.INVALID_HYPERPARAMETER
    assert [run.info.status for run in runs("failed")] == ["FAILED"]
    assert not (tmp_path / "b").exists()


def test_an_experiment_that_was_deleted(train: Any, mlflow_server: str) -> None:
    client = mlflow.MlflowClient(mlflow_server)
    client.delete_experiment(client.create_experiment("deleted"))
    with pytest.raises(TrainingError, match="deleted") as caught:
        train(SMALL, target=HALF, experiment="deleted")
    assert (caught.value.reason, caught.value.where) == (TrainingReason.INVALID_REQUEST, "/experiment")


def test_mlflow_down(train: Any) -> None:
    started = time.monotonic()
    with pytest.raises(TrainingError, match=NOWHERE) as caught:
        train(SMALL, server=NOWHERE, target=HALF)
    assert caught.value.reason is TrainingReason.TRACKING_SERVER_UNAVAILABLE
    assert time.monotonic() - started < 10


def start(tmp_path: Path, server: str, x: Any, **fields: Any) -> subprocess.Popen[bytes]:
    request, work = tmp_path / "request", tmp_path / "work"
    request.mkdir()
    work.mkdir()
    np.save(request / "data.npy", np.asarray(x, dtype=np.float64))
    (request / "request.json").write_text(json.dumps(fields))
    command = [
        sys.executable,
        "-m",
        "fairlead_service.training",
        "train",
        "--request",
        str(request),
        "--bundle",
        str(tmp_path / "b"),
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment["MLFLOW_TRACKING_URI"] = server
    return subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_program(mlflow_server: str, tmp_path: Path) -> None:
    process = start(tmp_path, mlflow_server, FOUR_ROWS, target=["a", "a", "b", "b"], algorithm="logistic_regression")
    output, errors = process.communicate(timeout=60)
    said = [wire.parse(line) for line in output.splitlines()]
    assert process.returncode == 0, errors.decode()
    assert [message.kind for message in said] == ["progress"] * (len(said) - 1) + ["result"]
    assert isinstance(said[-1], wire.Result)
    assert said[-1].value["bundle"] == str(tmp_path / "b")
    assert predict(tmp_path / "b", FOUR_ROWS) == ["a", "a", "b", "b"]
    assert list((tmp_path / "work").iterdir()) == []


def test_the_program_is_told_to_stop(mlflow_server: str, tmp_path: Path, runs: Any) -> None:
    process = start(
        tmp_path,
        mlflow_server,
        CANCER.data,
        target=CANCER.target.tolist(),
        algorithm="random_forest",
        hyperparameters={"n_estimators": 10_000},
        experiment="cancelled",
    )
    assert process.stdout is not None
    for line in process.stdout:
        message = wire.parse(line)
        if isinstance(message, wire.Progress) and message.stage == "fit":
            break
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    (last,) = [wire.parse(line) for line in output.splitlines()]
    assert isinstance(last, wire.Failure), errors.decode()
    assert last.reason == TrainingReason.CANCELLED
    assert process.returncode == 1
    assert [run.info.status for run in runs("cancelled")] == ["KILLED"]
    assert not (tmp_path / "b").exists()
