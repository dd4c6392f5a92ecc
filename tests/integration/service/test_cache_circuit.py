"""A cache that answers nobody: it costs a load a bounded time, and the loads after it none."""

import contextlib
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sklearn.linear_model import LogisticRegression

from tests.integration.service.conftest import ServerProcess, StartServer
from tests.integration.service.test_cache import PATIENCE, begin, end

X = np.random.default_rng(5).random((50, 3))


class Dribbling(socketserver.ThreadingTCPServer):
    """What has Redis' port and sends a byte now and then: no time-out between two pieces of an answer ever ends."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Dribble)
        self.asked = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server_address[1]}/0"


class _Dribble(socketserver.BaseRequestHandler):
    server: Dribbling

    def handle(self) -> None:
        self.server.asked += 1
        with contextlib.suppress(OSError):
            self.request.recv(1)
            self.request.sendall(b"$1000000\r\n")
            while True:
                self.request.sendall(b"x")
                time.sleep(0.1)  # the pace of the answer


@pytest.fixture
def dribbling() -> Iterator[Dribbling]:
    with Dribbling() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def models(log_sample: Any) -> list[Any]:
    return [log_sample(LogisticRegression().fit(X, X[:, 0] > limit), X) for limit in (0.4, 0.6)]


def test_an_answer_that_never_ends_is_given_up(
    tmp_path: Path, mlflow_server: str, models: list[Any], dribbling: Dribbling
) -> None:
    started = time.monotonic()
    code, lines = end(
        begin(tmp_path / "b", models[0], mlflow_server, dribbling.url, FAIRLEAD_CACHE_TIMEOUT_SECONDS="1")
    )
    assert code == 0, lines
    (away,) = [line for line in lines if "cache" in line]
    assert (away["cache"], away["level"]) == ("unavailable", "warning")
    assert "not done within 1 s" in away["message"]
    assert time.monotonic() - started < PATIENCE / 2


def outcomes(client: httpx.Client) -> dict[str, float]:
    text = client.get("/metrics").text
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    counted = {key[1]: value for key, value in found.items() if key[0] == "bundle_cache_requests_total" and value}
    return counted | {"open": found[("circuit_open", "bundle_cache")]}


def test_after_two_loads_that_it_kept_waiting_it_is_not_asked(
    start_server: StartServer, tmp_path: Path, mlflow_server: str, models: list[Any], dribbling: Dribbling
) -> None:
    server: ServerProcess = start_server(
        mlflow_tracking_uri=mlflow_server,
        fairlead_data_dir=tmp_path / "data",
        fairlead_cache_url=dribbling.url,
        fairlead_cache_timeout_seconds=1,
    )
    with server.client() as client:

        def load(number: int) -> None:
            answer = client.post(f"/model/load/{models[number % 2].run_id}")
            assert (answer.status_code, answer.json().get("status")) == (200, "loaded"), answer.text

        load(0)
        assert outcomes(client) == {"unavailable": 1, "open": 0}
        load(1)
        assert outcomes(client) == {"unavailable": 2, "open": 1}
        asked = dribbling.asked
        assert asked >= 2
        load(2)
        assert outcomes(client) == {"unavailable": 2, "rejected": 1, "open": 1}
        assert dribbling.asked == asked
    warned = [line["message"] for line in server.lines if line["level"] == "warning"]
    assert [message for message in warned if "bundle_cache did not answer 2 times in a row" in message]
