"""MLflow that fails now and then, that is replaced at the wrong moment, or that stalls; each through real sockets."""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.integration.service.conftest import PATIENCE, ServerProcess, StartServer
from tests.integration.service.sockets import complaints
from tests.integration.service.unreliable import Fault, Unreliable, before

X = np.random.default_rng(7).random((60, 4))
TRAIN = {"data": X.tolist(), "target": (X[:, 0] > 0.5).astype(int).tolist(), "algorithm": "logistic_regression"}
LARGE = json.dumps({"inputs": X.tolist() * 100})
"""Longer than the event loop decodes itself."""
AWAY = "urn:fairlead:problem:tracking-server-unavailable"


@pytest.fixture(scope="module")
def proxied(mlflow_server: str) -> Iterator[Unreliable]:
    with before(mlflow_server) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def server(start_server: StartServer, proxied: Unreliable, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    return start_server(
        mlflow_tracking_uri=proxied.url,
        fairlead_data_dir=tmp_path_factory.mktemp("api"),
        fairlead_drain_seconds=0,
        mlflow_http_request_backoff_factor=0,  # else these tests would mostly wait
        mlflow_http_request_backoff_jitter=0,
        mlflow_http_request_timeout=2,
    )


@pytest.fixture
def proxy(proxied: Unreliable) -> Iterator[Unreliable]:
    yield proxied
    proxied.over.set()
    proxied.fault = lambda method, path: None


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=3 * PATIENCE) as client:
        yield client


class FirstOfEach:
    """The first request of each kind fails, by one way after the other; then it is answered."""

    def __init__(self, *ways: Fault) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()
        self._ways = ways

    def __call__(self, method: str, path: str) -> Fault:
        self.seen[method, path] += 1
        return self._ways[len(self.seen) % len(self._ways)] if self.seen[method, path] == 1 else None


def test_a_load_outlives_single_failures(proxy: Unreliable, client: httpx.Client, log_sample: Any) -> None:
    sample = log_sample(LogisticRegression().fit(X, X[:, 1] > 0.5), X)
    failing = proxy.fault = FirstOfEach("503", "cut", "half")
    answer = client.post(f"/model/load/{sample.run_id}")
    assert (answer.status_code, answer.json().get("status")) == (200, "loaded"), answer.text
    assert len(failing.seen) >= 5
    assert min(failing.seen.values()) == 2, "each was asked again, and once"


def test_a_training_outlives_single_failures(proxy: Unreliable, client: httpx.Client, mlflow_server: str) -> None:
    failing = proxy.fault = FirstOfEach("503", "cut")
    answer = client.post("/train", json=TRAIN | {"model_name": "outlives", "alias": "champion"})
    assert answer.status_code == 200, answer.text
    assert len(failing.seen) > 10
    found = mlflow.MlflowClient(mlflow_server).get_run(answer.json()["run_id"])
    assert found.info.status == "FINISHED"
    assert found.data.metrics == answer.json()["metrics"]
    assert mlflow.MlflowClient(mlflow_server).get_model_version_by_alias("outlives", "champion").version == "1"


@pytest.mark.parametrize("last", ["runs/log-batch", "logged-models", "MLmodel"])
def test_an_mlflow_that_is_replaced_costs_no_trained_model(proxy: Unreliable, client: httpx.Client, last: str) -> None:
    """It is away from where the results are recorded on, for as many tries as would have failed before the work."""
    away = 0

    def fault(method: str, path: str) -> Fault:
        nonlocal away
        begun = away > 0 or path.endswith(last)
        if begun and away < 5:
            away += 1
            return "503"
        return None

    proxy.fault = fault
    answer = client.post("/train", json=TRAIN)
    assert answer.status_code == 200, answer.text
    assert away == 5


def test_a_training_does_not_wait_for_ever_for_an_mlflow_that_stalls(proxy: Unreliable, client: httpx.Client) -> None:
    proxy.over.clear()
    proxy.asked.clear()
    proxy.fault = lambda method, path: "stall" if path.endswith("runs/log-inputs") else None
    answer = client.post("/train", json=TRAIN)
    assert (answer.status_code, answer.json()["type"]) == (503, AWAY), answer.text
    assert answer.headers["Retry-After"]
    assert "timeout" in answer.json()["detail"]
    assert proxy.stalled == 4, "a try, and three more"
    assert proxy.asked[-1][1].endswith("runs/update"), "the run was not told how it ended"
    assert client.get("/health").status_code == 200


def test_an_mlflow_that_stalls_keeps_no_prediction_waiting(
    proxy: Unreliable, client: httpx.Client, server: ServerProcess
) -> None:
    assert client.post("/train", json=TRAIN).json()["loaded"]
    proxy.over.clear()
    before = proxy.stalled
    proxy.fault = lambda method, path: "stall"
    with ThreadPoolExecutor(80) as askers:
        asking = [askers.submit(httpx.get, f"{server.url}/models", timeout=PATIENCE) for _ in range(80)]
        deadline = time.monotonic() + PATIENCE
        while proxy.stalled == before or not any(one.done() for one in asking):
            assert time.monotonic() < deadline
        for _ in range(5):
            answer = client.post("/invocations", content=LARGE, headers={"Content-Type": "application/json"}, timeout=5)
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["predictions"]) == len(X) * 100
        refused = [one.result() for one in asking if one.done()]
        assert 429 in {answer.status_code for answer in refused}, "more than may wait"
        assert all(answer.headers["Retry-After"] for answer in refused)
        assert proxy.stalled - before <= 4, "more at a time than there are threads"
        proxy.over.set()  # who waits gets an error or an answer
        proxy.fault = lambda method, path: None
        assert {one.result().status_code for one in asking} <= {200, 429, 503}


def test_a_server_that_leaves_waits_for_no_mlflow(
    start_server: StartServer, mlflow_server: str, tmp_path: Path
) -> None:
    with before(mlflow_server) as stalling:
        stalling.fault = lambda method, path: "stall"
        server = start_server(mlflow_tracking_uri=stalling.url, fairlead_data_dir=tmp_path, fairlead_drain_seconds=0)
        with ThreadPoolExecutor(6) as askers:
            asking = [askers.submit(httpx.get, f"{server.url}/models", timeout=PATIENCE) for _ in range(6)]
            with server.client() as client:
                while "http_requests_in_progress 6.0" not in client.get("/metrics").text:
                    pass
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            answers = [one.result() for one in asking]
        problems = {(answer.status_code, answer.json()["type"]) for answer in answers}
        assert problems == {(503, "urn:fairlead:problem:shutting-down")}
        assert server.ended() == 0
        assert time.monotonic() - started < 20, "it has waited for more than the try that was under way"
    server.wait_for_end()
    assert complaints(server) == []
