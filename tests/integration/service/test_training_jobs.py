"""Trainings with everything real: files, searches, plug-ins, cancelling and restarting, and what MLflow has of it."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_iris

from tests.integration.service.conftest import PATIENCE, ServerProcess, StartServer

PLUGIN = Path(__file__).parents[3] / "examples" / "plugin"
UV = Path(__file__).parents[3] / ".fairlead" / "uv" / "bin" / "uv"
IRIS = load_iris(as_frame=True).frame.rename(columns={"target": "kind"})
IRIS["kind"] = IRIS["kind"].map(dict(enumerate(load_iris().target_names)))
CANCER = load_breast_cancer()
LONG = {
    "data": CANCER.data.tolist(),
    "target": CANCER.target.tolist(),
    "algorithm": "random_forest",
    "hyperparameters": {"n_estimators": 10_000},
    "experiment": "long",
}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the example installed, as a package of its own."""
    directory = tmp_path_factory.mktemp("plugin")
    source = directory / "source"
    source.mkdir()
    for path in PLUGIN.iterdir():  # a build leaves files beside what it builds
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    command = [UV, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*command, "--target", directory / "installed", source], check=True, timeout=PATIENCE)
    return directory / "installed"


@pytest.fixture(scope="module")
def settings(mlflow_server: str, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return {
        "mlflow_tracking_uri": mlflow_server,
        "fairlead_data_dir": tmp_path_factory.mktemp("api"),
        "fairlead_drain_seconds": 0,
        "pythonpath": plugin,
    }


@pytest.fixture(scope="module")
def api(start_server: StartServer, settings: dict[str, object]) -> ServerProcess:
    return start_server(**settings)


@pytest.fixture(scope="module")
def client(api: ServerProcess) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


@pytest.fixture(scope="module")
def tracking(mlflow_server: str) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(mlflow_server)


def csv(frame: pd.DataFrame = IRIS) -> bytes:
    return frame.to_csv(index=False).encode()


def upload(client: httpx.Client, content: bytes, wait: bool = True, **fields: Any) -> httpx.Response:
    sent = {"algorithm": "random_forest", "target_column": "kind", "plots": False} | fields
    files: Any = {"request": (None, json.dumps(sent)), "file": ("iris.csv", content)}
    return client.post("/train", params={"wait": wait}, files=files)


def until(client: httpx.Client, job_id: str, *states: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(f"/train/jobs/{job_id}").json()
        if job["state"] in states:
            return job
        time.sleep(0.1)  # what a client of this API does
    raise AssertionError(f"job {job_id} is not {states}: {job}")


def test_a_file_becomes_a_model_and_a_dataset(client: httpx.Client, tracking: mlflow.MlflowClient) -> None:
    answer = upload(client, csv(), log_data=True, hyperparameters={"n_estimators": 10})
    assert answer.status_code == 200, answer.text
    trained = answer.json()
    assert trained["classes"] == ["setosa", "versicolor", "virginica"]
    columns = list(IRIS.columns[:4])
    assert client.get("/model/info").json()["feature_names"] == columns
    row = dict(zip(columns, IRIS.iloc[0, :4].tolist(), strict=True))
    assert client.post("/predict", json={"features": [row]}).json()["predictions"] == ["setosa"]

    run = tracking.get_run(trained["run_id"])
    (found,) = run.inputs.dataset_inputs
    source = json.loads(found.dataset.source)
    assert source == {"uri": f"runs:/{trained['run_id']}/data/data.csv"}
    assert [column["name"] for column in json.loads(found.dataset.schema)["mlflow_colspec"]] == list(IRIS.columns)
    again = {"algorithm": "random_forest", "target_column": "kind", "hyperparameters": {"n_estimators": 10}}
    for uri in (source["uri"], f"runs:/{trained['run_id']}", f"{run.info.artifact_uri}/data/data.csv"):
        same = client.post("/train", json=again | {"data_uri": uri, "plots": False})
        assert same.status_code == 200, same.text
        assert same.json()["metrics"] == trained["metrics"]
        (dataset,) = tracking.get_run(same.json()["run_id"]).inputs.dataset_inputs
        assert dataset.dataset.digest == found.dataset.digest
        assert json.loads(dataset.dataset.source) == source  # MLflow keeps one dataset a digest, with its first source


def test_parquet(client: httpx.Client) -> None:
    buffer = io.BytesIO()
    IRIS.to_parquet(buffer)
    answer = upload(client, buffer.getvalue(), algorithm="logistic_regression", load=False)
    assert answer.json()["metrics"]["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://127.0.0.1:9/secret.csv", "not in MLflow's artifacts"),
        ("file:///etc/passwd", "not in MLflow's artifacts"),
        ("s3://bucket/data.csv", "not in MLflow's artifacts"),
        ("/etc/passwd", "not in MLflow's artifacts"),
        ("mlflow-artifacts://elsewhere/data.csv", "no plain path"),
        ("mlflow-artifacts:/../mlflow.db", "no plain path"),
        ("mlflow-artifacts:/1/%2e%2e/mlflow.csv", "no plain path"),
        ("mlflow-artifacts:/1/data.db", "no .csv or .parquet file"),
        ("mlflow-artifacts:/1/nothing.csv", "can't be fetched"),
        (f"runs:/{'0' * 32}/data.csv", "not found"),
    ],
)
def test_data_come_from_mlflow_s_artifacts_only(client: httpx.Client, uri: str, words: str) -> None:
    answer = client.post("/train", json={"algorithm": "random_forest", "data_uri": uri, "target_column": "a"})
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]
    assert answer.json()["errors"][0]["pointer"] == "/data_uri"


def test_a_dataset_that_points_elsewhere_is_not_followed(client: httpx.Client, tracking: mlflow.MlflowClient) -> None:
    mlflow.set_tracking_uri(tracking.tracking_uri)
    mlflow.set_experiment("elsewhere")
    with mlflow.start_run() as run:
        dataset = mlflow.data.from_pandas(IRIS, source="http://127.0.0.1:9/iris.csv")
        mlflow.log_input(dataset)
    fields = {"algorithm": "random_forest", "data_uri": f"runs:/{run.info.run_id}", "target_column": "kind"}
    answer = client.post("/train", json=fields)
    assert answer.status_code == 422
    assert "does not say which file it is" in answer.json()["detail"]


def test_a_search_with_folds_and_figures(client: httpx.Client, tracking: mlflow.MlflowClient) -> None:
    space = {"max_depth": [1, 4], "n_estimators": {"low": 3, "high": 40}}
    answer = upload(
        client,
        csv(),
        search={"method": "random", "parameters": space, "iterations": 4, "metric": "log_loss"},
        cross_validation=4,
        plots=True,
        experiment="searched",
        load=False,
    )
    assert answer.status_code == 200, answer.text
    trained = answer.json()
    assert trained["search"]["candidates"] == 4
    assert trained["hyperparameters"] == trained["search"]["best"]
    assert len(trained["cross_validation"]["metrics"]["roc_auc"]["folds"]) == 4

    run = tracking.get_run(trained["run_id"])
    below = tracking.search_runs(
        [run.info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run.info.run_id}'",
        order_by=["metrics.cv_log_loss_mean"],
    )
    assert len(below) == 4
    assert {name: json.loads(value) for name, value in below[0].data.params.items()} == trained["search"]["best"]
    assert below[0].data.metrics["cv_log_loss_mean"] == pytest.approx(trained["search"]["best_score"])
    assert {candidate.info.status for candidate in below} == {"FINISHED"}
    assert len(tracking.get_metric_history(run.info.run_id, "cv_accuracy")) == 4
    figures = {Path(file.path).name for file in tracking.list_artifacts(run.info.run_id, "plots")}
    assert figures == {"confusion_matrix.png", "roc_curve.png", "feature_importance.png"}


def test_a_plugin_adds_an_algorithm_and_a_metric(client: httpx.Client, tracking: mlflow.MlflowClient) -> None:
    known = client.get("/algorithms").json()
    (svc,) = [algorithm for algorithm in known["algorithms"] if algorithm["name"] == "svc"]
    assert svc["package"] == "fairlead-example-plugin"
    assert svc["hyperparameters"]["properties"]["C"] == {"type": "number", "exclusiveMinimum": 0.0, "default": 1.0}
    assert "hyperparameters_svc" in client.get("/openapi.json").json()["components"]["schemas"]

    body = {"data": CANCER.data.tolist(), "target": CANCER.target.tolist(), "algorithm": "svc"}
    search = {"method": "grid", "parameters": {"C": [0.001, 1.0]}, "metric": "profit"}
    answer = client.post("/train", json=body | {"search": search})
    assert answer.status_code == 200, answer.text
    trained = answer.json()
    assert trained["search"]["best"] == {"C": 1.0}
    assert trained["metrics"]["profit"] > 5
    assert tracking.get_run(trained["run_id"]).data.metrics["profit"] == trained["metrics"]["profit"]
    assert client.post("/predict", json={"features": CANCER.data[:3].tolist()}).json()["run_id"] == trained["run_id"]

    refused = client.post("/train", json=body | {"hyperparameters": {"kernell": "rbf"}})
    assert "did you mean 'kernel'" in refused.json()["detail"]
    assert "valid: C, break_ties" in refused.json()["detail"]


def test_a_job_is_followed_and_cancelled(client: httpx.Client, tracking: mlflow.MlflowClient) -> None:
    job = client.post("/train?wait=false", json=LONG).json()
    deadline = time.monotonic() + PATIENCE
    while client.get(f"/train/jobs/{job['id']}").json()["stage"] != "fit":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    at_work = client.get(f"/train/jobs/{job['id']}").json()
    assert at_work["state"] == "Running"
    assert 0 < at_work["percent"] < 100
    assert tracking.get_run(at_work["run_id"]).info.status == "RUNNING"
    cancelled = client.delete(f"/train/jobs/{job['id']}").json()
    assert cancelled["state"] == "Cancelled"
    assert tracking.get_run(at_work["run_id"]).info.status == "KILLED"


def test_a_server_that_is_killed_leaves_nothing_that_runs(
    start_server: StartServer, settings: dict[str, object], tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    own = settings | {"fairlead_data_dir": tmp_path}
    server = start_server(**own)
    with server.client() as client:
        job = client.post("/train?wait=false", json=LONG).json()
        deadline = time.monotonic() + PATIENCE
        while client.get(f"/train/jobs/{job['id']}").json()["stage"] != "fit":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        run_id = client.get(f"/train/jobs/{job['id']}").json()["run_id"]
    server.process.kill()
    server.process.wait()
    with start_server(**own).client() as client:
        found = client.get(f"/train/jobs/{job['id']}").json()
        assert (found["state"], found["run_id"]) == ("Interrupted", run_id)
        deadline = time.monotonic() + PATIENCE
        while tracking.get_run(run_id).info.status != "KILLED":
            assert time.monotonic() < deadline
            time.sleep(0.1)
