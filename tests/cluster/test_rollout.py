"""Serving and rolling on the real cluster: exact answers, no failed request, honest status."""

import httpx
import mlflow
import numpy as np

from tests.cluster.steps import Data, Models, Namespace
from tools.cluster import Cluster


def test_predictions_through_the_service_equal_scikit_learns_own(
    cluster: Cluster, namespace: Namespace, models: Models, data: Data
) -> None:
    rows, _, _ = data
    namespace.deploy("exact", models.better)
    namespace.await_("exact", "UpToDate")
    with models.tracking():
        model = mlflow.sklearn.load_model(f"runs:/{models.better}/model")

    with cluster.port_forward(namespace.name, "service/exact") as url:
        answer = httpx.post(f"{url}/predict", json={"features": rows, "probabilities": True}, timeout=60).json()

    assert answer["run_id"] == models.better
    assert answer["predictions"] == model.predict(np.array(rows)).tolist()
    assert answer["probabilities"] == model.predict_proba(np.array(rows)).tolist()


def test_a_new_run_under_load_loses_no_request(namespace: Namespace, models: Models, example_body: str) -> None:
    old, new = models.good, models.better
    namespace.deploy("rolling", old)
    namespace.await_("rolling", "UpToDate")

    with namespace.watch("rolling") as recording, namespace.load("rolling", new, example_body) as load:
        namespace.deploy("rolling", new)
        namespace.await_("rolling", "UpToDate")
        assert namespace.get("rolling")["status"]["serving"]["runID"] == new
        result = load.result()

    assert result["failures"] == 0, result["examples"]
    assert result["settled"], result
    assert result["per_second"] >= 100
    assert set(result["runs"]) == {old, new}
    recording.assert_honest()
    assert recording.ready() == {"True"}


def test_an_alias_that_moves_rolls_and_moving_it_back_rolls_back(namespace: Namespace, models: Models) -> None:
    name = f"alias-{namespace.name}"
    first = models.train("logistic_regression", model_name=name, alias="champion")["run_id"]
    namespace.deploy("alias", first, model={"uri": f"models:/{name}@champion"})
    namespace.await_("alias", "UpToDate")
    assert namespace.get("alias")["status"]["serving"]["runID"] == first

    second = models.train("logistic_regression", model_name=name, alias="champion")["run_id"]
    namespace.await_("alias", f"{{.status.serving.runID}}={second}")
    assert namespace.get("alias")["status"]["serving"]["modelVersion"] == "2"

    with models.tracking():
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")
    namespace.await_("alias", f"{{.status.serving.runID}}={first}")
    verdicts = [entry["verdict"] for entry in namespace.get("alias")["status"]["history"]]
    assert len(verdicts) >= 2


def test_columns_say_what_serves(namespace: Namespace, models: Models) -> None:
    namespace.deploy("columns", models.good)
    namespace.await_("columns", "UpToDate")

    header, line = namespace.kubectl("get", "md", "columns").splitlines()

    assert header.split() == ["NAME", "READY", "MODEL", "VERSION", "RUN", "REPLICAS", "STEP", "WEIGHT", "REASON", "AGE"]
    assert line.split()[1] == "True"
    assert models.good in line
