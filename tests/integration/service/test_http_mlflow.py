"""The HTTP API with everything real: the server's process, its children, an MLflow server."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from tests.integration.service.conftest import ServerProcess, StartServer

ISSUE_TRAIN = {
    "data": [[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [5.9, 3.0, 4.2, 1.5]],
    "target": [0, 0, 1, 1],
    "algorithm": "random_forest",
    "hyperparameters": {"n_estimators": 100, "max_depth": 10},
}
ISSUE_PREDICT = {"features": [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]]}
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def api(start_server: StartServer, mlflow_server: str, data_dir: Path) -> ServerProcess:
    return start_server(
        mlflow_tracking_uri=mlflow_server, fairlead_data_dir=data_dir, fairlead_train_queue=0, fairlead_drain_seconds=0
    )


@pytest.fixture(scope="module")
def client(api: ServerProcess) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


@pytest.fixture(scope="module")
def iris_run(client: httpx.Client) -> dict[str, Any]:
    """The issue's own training, with its answer."""
    answer = client.post("/train", json=ISSUE_TRAIN)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_train_then_predict_word_for_word(client: httpx.Client, iris_run: dict[str, Any], mlflow_server: str) -> None:
    assert iris_run["metrics"]["accuracy"] == 1.0
    assert iris_run["loaded"]
    answer = client.post("/predict", json=ISSUE_PREDICT)
    assert answer.json() == {"predictions": [0, 1], "run_id": iris_run["run_id"]}
    run = mlflow.MlflowClient(mlflow_server).get_run(iris_run["run_id"])
    assert run.data.metrics["accuracy"] == iris_run["metrics"]["accuracy"]
    assert client.get("/model/info").json()["estimator"].endswith("RandomForestClassifier")


def test_real_data_predict_and_health_meanwhile_and_the_same_answers_as_scikit_learn(
    client: httpx.Client, api: ServerProcess, iris_run: dict[str, Any], mlflow_server: str
) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    body = {
        "data": x.tolist(),
        "target": np.where(y == 1, "benign", "malignant").tolist(),
        "algorithm": "gradient_boosting",
        "model_name": "cancer",
        "alias": "champion",
    }
    answers: list[httpx.Response] = []
    training = threading.Thread(target=lambda: answers.append(httpx.post(f"{api.url}/train", json=body, timeout=120)))
    training.start()
    for _ in range(25):  # many more are possible, but this machine's cores are also the training's
        assert client.get("/health").status_code == 200
        assert client.post("/predict", json=ISSUE_PREDICT).json()["run_id"] == iris_run["run_id"]
        assert not answers, "the training was to be still running"
    training.join()
    result = answers[0].json()
    assert answers[0].status_code == 200, result
    assert (result["model_name"], result["alias"], result["loaded"]) == ("cancer", "champion", True)
    assert result["evaluation"]["method"] == "holdout"

    mlflow.set_tracking_uri(mlflow_server)
    model = mlflow.sklearn.load_model("models:/cancer@champion")
    got = client.post("/predict", json={"features": x.tolist(), "probabilities": True}).json()
    assert got["predictions"] == model.predict(x).tolist()
    assert got["probabilities"] == model.predict_proba(x).tolist()
    assert (got["model_name"], got["model_version"]) == ("cancer", result["model_version"])


def test_load_of_another_run_and_of_the_same_again(
    client: httpx.Client, iris_run: dict[str, Any], log_sample: Callable[..., Any]
) -> None:
    x = np.array(ISSUE_TRAIN["data"])
    sample = log_sample(LogisticRegression().fit(x, ["a", "a", "b", "b"]), x)
    answer = client.post(f"/model/load/{sample.run_id}").json()
    assert (answer["status"], answer["run_id"]) == ("loaded", sample.run_id)
    assert client.post("/predict", json=ISSUE_PREDICT).json()["predictions"] == ["a", "b"]
    assert client.post(f"/model/load/{sample.run_id}").json()["status"] == "already-loaded"


def test_what_cannot_be_loaded_leaves_what_serves(
    client: httpx.Client, iris_run: dict[str, Any], mlflow_server: str
) -> None:
    before = client.get("/health").json()["run_id"]
    assert before is not None
    mlflow.set_tracking_uri(mlflow_server)
    with mlflow.start_run() as empty:
        pass
    for run_id in ("0" * 32, empty.info.run_id):
        answer = client.post(f"/model/load/{run_id}")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:fairlead:problem:model-not-found")
        assert run_id in answer.json()["detail"]
    assert client.get("/health").json()["run_id"] == before


def test_a_wrong_hyperparameter_is_named_by_the_child(client: httpx.Client) -> None:
    answer = client.post("/train", json=ISSUE_TRAIN | {"hyperparameters": {"n_trees": 3}})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlead:problem:invalid-hyperparameter")
    assert answer.json()["errors"][0]["pointer"] == "/hyperparameters/n_trees"


def test_mlflow_down_is_a_503_that_says_when_to_come_back(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(mlflow_tracking_uri=NOBODY, fairlead_data_dir=tmp_path)
    with server.client() as client:
        for answer in (client.post("/train", json=ISSUE_TRAIN), client.post(f"/model/load/{'0' * 32}")):
            assert (answer.status_code, answer.headers.get("retry-after")) == (503, "5"), answer.text
            assert answer.json()["type"] == "urn:fairlead:problem:tracking-server-unavailable"
        assert client.get("/health").status_code == 200


def test_a_restart_serves_the_same_model_with_mlflow_away(
    api: ServerProcess, client: httpx.Client, start_server: StartServer, data_dir: Path
) -> None:
    before = client.get("/model/info").json()
    api.process.terminate()
    assert api.ended() == 0
    with start_server(mlflow_tracking_uri=NOBODY, fairlead_data_dir=data_dir).client() as again:
        assert again.get("/model/info").json()["run_id"] == before["run_id"]
        assert again.post("/predict", json=ISSUE_PREDICT).status_code == 200
