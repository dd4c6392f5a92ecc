"""Serving and rolling on the real cluster: exact answers, no failed request, honest status."""

import httpx
import numpy as np

from tests.cluster.models import Data, Models
from tests.cluster.namespaces import Namespace
from tools.cluster import Cluster


def test_predictions_through_the_service_equal_scikit_learns_own_and_columns_say_what_serves(
    cluster: Cluster, namespace: Namespace, models: Models, data: Data
) -> None:
    import mlflow.sklearn

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

    header, line = namespace.kubectl("get", "md", "exact").splitlines()
    assert header.split() == ["NAME", "READY", "MODEL", "VERSION", "RUN", "REPLICAS", "STEP", "WEIGHT", "REASON", "AGE"]
    assert line.split()[1] == "True"
    assert models.better in line


def test_a_new_run_under_load_loses_no_request(namespace: Namespace, models: Models, example_body: str) -> None:
    old, new = models.good, models.better
    namespace.deploy("rolling", old, replicas=2)
    namespace.await_("rolling", "UpToDate")

    with namespace.watch("rolling") as recording, namespace.load("rolling", new, example_body) as load:
        namespace.deploy("rolling", new, replicas=2)
        namespace.await_("rolling", "UpToDate")
        assert namespace.get("rolling")["status"]["serving"]["runID"] == new
        result = load.result()

    assert result["failures"] == 0, result["examples"]
    assert result["settled"], result
    assert result["sent"] > 200, "it was under load"
    assert set(result["runs"]) == {old, new}
    recording.assert_honest()
    assert recording.ready() == {"True"}


def test_four_roll_outs_in_a_row_lose_no_request_and_history_is_bounded(
    namespace: Namespace, models: Models, example_body: str
) -> None:
    runs = (models.good, models.better)
    namespace.deploy("often", runs[0], historyLimit=2)
    namespace.await_("often", "UpToDate")
    with namespace.load("often", "none", example_body, rate=60, limit_seconds=600) as load:
        for number in range(1, 5):
            namespace.deploy("often", runs[number % 2], historyLimit=2)
            namespace.await_("often", f"{{.status.serving.runID}}={runs[number % 2]}")
        result = load.stop()
    assert result["failures"] == 0, result["examples"]
    history = namespace.get("often")["status"]["history"]
    assert [entry["verdict"] for entry in history] == ["Replaced"] * 2, "bounded by historyLimit"
