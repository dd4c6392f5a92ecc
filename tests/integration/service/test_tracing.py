"""One trace from the client through the server and its children to MLflow; and a backend that is away is no matter."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fairlead_service import contract
from tests.integration.service.conftest import PATIENCE, ServerProcess, StartServer
from tests.integration.service.otlp import Backend, SentSpan, backend, watched
from tests.integration.service.sockets import complaints
from tests.unit.service.support import RUN_A, X
from tools.localcluster.controlplane import free_port

TRAIN = {
    "data": [[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [5.9, 3.0, 4.2, 1.5]],
    "target": [0, 0, 1, 1],
    "algorithm": "logistic_regression",
}
CLIENT = 3
"""OTLP's number for spans of calls to others."""
SOON = {"otel_bsp_schedule_delay": 50}


def parent(trace: str, flags: str = "01") -> str:
    return f"00-{trace * 32}-{'b' * 16}-{flags}"


@pytest.fixture(scope="module")
def spans() -> Iterator[Backend]:
    with backend() as found:
        yield found


@pytest.fixture(scope="module")
def mlflow_seen(mlflow_server: str) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    with watched(mlflow_server) as found:
        yield found


@pytest.fixture(scope="module")
def server(
    start_server: StartServer, spans: Backend, mlflow_seen: Any, tmp_path_factory: pytest.TempPathFactory
) -> ServerProcess:
    return start_server(
        fairlead_data_dir=tmp_path_factory.mktemp("traced"),
        mlflow_tracking_uri=mlflow_seen[0],
        otel_exporter_otlp_endpoint=spans.url,
        fairlead_drain_seconds=0,
        **SOON,
    )


def of_trace(found: list[SentSpan], digit: str) -> list[SentSpan]:
    return [span for span in found if span.trace_id == digit * 32]


def path_of(span: SentSpan, spans: list[SentSpan]) -> list[str]:
    """Names from the root to the span; it must come to the client's own span."""
    above = {one.span_id: one for one in spans}
    names = [span.name]
    while span.parent_id != "b" * 16:
        span = above[span.parent_id]
        names.insert(0, span.name)
    return names


def check_calls(found: list[SentSpan], seen: list[tuple[str, str | None]], digit: str) -> None:
    """Every call to MLflow is a client span, and MLflow was told of just these."""
    calls = [span for span in found if span.kind == CLIENT]
    told = [header for _, header in seen if header is not None and header.split("-")[1] == digit * 32]
    assert calls
    assert {header.split("-")[2] for header in told} == {span.span_id for span in calls}
    assert {header.split("-")[3] for header in told} == {"01"}


def test_a_training_is_one_trace(server: ServerProcess, spans: Backend, mlflow_seen: Any) -> None:
    with server.client() as client:
        answer = client.post("/train", json=TRAIN, headers={"traceparent": parent("1")})
        assert answer.status_code == 200, answer.text
    found = of_trace(spans.wait_for("POST /train", "train in a child"), "1")
    paths = {tuple(path_of(span, found)) for span in found if span.kind != CLIENT}
    work = ("POST /train", "train", "train in a child")
    assert {work[:1], work[:2], work} <= paths
    assert {(*work, stage) for stage in ("read", "fit", "evaluate", "log", "bundle")} <= paths
    loading = {(*work, "bundle", stage) for stage in ("resolve", "fetch", "check", "compile", "prove", "write")}
    assert loading <= paths
    assert {span.service for span in found} == {"fairlead-api", "fairlead-trainer"}
    check_calls(found, mlflow_seen[1], "1")
    parents = {path_of(span, found)[-2] for span in found if span.kind == CLIENT}
    assert {"log", "bundle", "fetch", "resolve"} <= parents


def test_a_load_is_one_trace(
    server: ServerProcess, spans: Backend, mlflow_seen: Any, log_sample: Callable[..., Any]
) -> None:
    sample = log_sample(LogisticRegression().fit(X, ["a", "a", "b", "b"]), X)
    with server.client() as client:
        answer = client.post(f"/model/load/{sample.run_id}", headers={"traceparent": parent("2")})
        assert answer.status_code == 200, answer.text
        client.post("/predict", json={"features": X.tolist()}, headers={"traceparent": parent("3")})
    found = of_trace(spans.wait_for("POST /model/load/{run_id}", "load in a child", "predict"), "2")
    work = ("POST /model/load/{run_id}", "load", "load in a child")
    paths = {tuple(path_of(span, found)) for span in found if span.kind != CLIENT}
    assert paths >= {(*work, stage) for stage in ("resolve", "fetch", "check", "compile", "prove", "write")}
    check_calls(found, mlflow_seen[1], "2")
    assert {path_of(span, found)[-2] for span in found if span.kind == CLIENT} == {"resolve", "fetch"}
    (predict,) = [span for span in of_trace(spans.spans, "3") if span.name == "predict"]
    assert predict.attributes == {
        "fairlead.rows": 4,
        "fairlead.batch_rows": 4,
        "fairlead.run_id": sample.run_id,
        "fairlead.backend": "native",
    }


def test_a_failure_is_seen_where_it_was(server: ServerProcess, spans: Backend) -> None:
    with server.client() as client:
        assert client.post(f"/model/load/{'0' * 32}", headers={"traceparent": parent("4")}).status_code == 404
    deadline = time.monotonic() + PATIENCE
    while not any(span.name == "load in a child" for span in of_trace(spans.spans, "4")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    failed = {span.name for span in of_trace(spans.spans, "4") if span.failed}
    assert {"load in a child", "resolve"} <= failed
    assert "fetch" not in failed


def test_what_the_caller_does_not_sample_its_children_do_not_either(
    server: ServerProcess, spans: Backend, mlflow_seen: Any
) -> None:
    before = len(mlflow_seen[1])
    with server.client() as client:
        client.post(f"/model/load/{RUN_A}", headers={"traceparent": parent("5", "00")})
        client.post("/predict", json={"features": X.tolist()}, headers={"traceparent": parent("6")})
    deadline = time.monotonic() + PATIENCE
    while not of_trace(spans.spans, "6"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert of_trace(spans.spans, "5") == []
    asked = mlflow_seen[1][before:]
    assert asked
    assert all(header is None for _, header in asked)
    roots = {span.name for span in spans.spans if not span.parent_id}
    assert "load in a child" not in roots


def load_alone(directory: Path, mlflow: str, run_id: str, **tracing: str) -> subprocess.CompletedProcess[bytes]:
    """The loader as a pod's init container."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FAIRLEAD_", "OTEL_"))}
    environment |= {
        contract.ENV_TRACKING_URI: mlflow,
        contract.ENV_MODEL_URI: f"runs:/{run_id}/model",
        contract.ENV_BUNDLE_DIR: str(directory / "bundle"),
        contract.ENV_TERMINATION_LOG: os.devnull,
    }
    command = [sys.executable, *contract.LOADER_COMMAND[1:]]
    return subprocess.run(command, env=environment | tracing, capture_output=True, timeout=PATIENCE)


def test_a_loader_that_nobody_told_begins_a_trace(
    spans: Backend, mlflow_server: str, log_sample: Callable[..., Any], tmp_path: Path
) -> None:
    sample = log_sample(LogisticRegression().fit(X, ["a", "a", "b", "b"]), X)
    for sampler in ("always_off", "parentbased_always_on"):
        before = len(spans.spans)
        done = load_alone(
            tmp_path / sampler,
            mlflow_server,
            sample.run_id,
            OTEL_EXPORTER_OTLP_ENDPOINT=spans.url,
            OTEL_TRACES_SAMPLER=sampler,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert (len(spans.spans) > before) is (sampler != "always_off")
    (root,) = [span for span in spans.spans[before:] if not span.parent_id]
    assert (root.name, root.service) == ("load in a child", "fairlead-loader")
    assert {span.trace_id for span in spans.spans[before:]} == {root.trace_id}


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port where connections are taken and nothing is answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_backend_that_does_not_answer_holds_a_child_up_for_2_seconds_and_no_longer(
    mlflow_server: str, log_sample: Callable[..., Any], tmp_path: Path
) -> None:
    sample = log_sample(LogisticRegression().fit(X, ["a", "a", "b", "b"]), X)
    with black_hole() as port:
        endpoint = f"http://127.0.0.1:{port}"
        done = load_alone(tmp_path / "bundle", mlflow_server, sample.run_id, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr.decode()
    *_, at_work, result = [datetime.fromisoformat(json.loads(line)["timestamp"]) for line in done.stdout.splitlines()]
    # Between its last work and its last word; the start of a process on a busy machine takes any time.
    assert timedelta(seconds=1) < result - at_work < timedelta(seconds=6)


def test_an_outage_of_the_backend_is_one_warning_and_one_word_when_it_is_over(
    start_server: StartServer, bundle: Path
) -> None:
    port = free_port()
    server = start_server(
        fairlead_role="predictor",
        fairlead_bundle_dir=bundle,
        otel_exporter_otlp_endpoint=f"http://127.0.0.1:{port}",
        otel_exporter_otlp_timeout=1,
        fairlead_drain_seconds=0,
        **SOON,
    )
    body = {"features": X.tolist()}
    with server.client() as client:
        deadline = time.monotonic() + PATIENCE
        while not complaints(server):
            assert client.post("/predict", json=body).status_code == 200
            assert time.monotonic() < deadline
        for _ in range(20):
            started = time.monotonic()
            assert client.post("/predict", json=body).status_code == 200
            assert time.monotonic() - started < 1
            time.sleep(0.1)  # several batches fail meanwhile
        (warning,) = complaints(server)
        assert f"spans can't be exported to http://127.0.0.1:{port}/v1/traces and are lost" in warning["message"]
        with backend(port) as found:
            while "predict" not in {span.name for span in found.spans}:
                client.post("/predict", json=body)
                assert time.monotonic() < deadline
                time.sleep(0.05)
            again = server.wait_for(level="info", event="log")
            while "exported again" not in again["message"]:
                again = server.wait_for(level="info", event="log")
    assert len(complaints(server)) == 1
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(f"{server.url}/predict", json=body)
    started = time.monotonic()
    server.process.terminate()
    assert server.ended() == 0
    assert time.monotonic() - started < 10  # the last spans are waited for, but not for long


def test_a_server_whose_backend_is_a_black_hole_serves_and_leaves(start_server: StartServer, bundle: Path) -> None:
    with black_hole() as port:
        server = start_server(
            fairlead_role="predictor",
            fairlead_bundle_dir=bundle,
            otel_exporter_otlp_endpoint=f"http://127.0.0.1:{port}",
            fairlead_drain_seconds=0,
            **SOON,
        )
        with server.client() as client:
            times = []
            for _ in range(50):
                started = time.monotonic()
                assert client.post("/predict", json={"features": X.tolist()}).status_code == 200
                times.append(time.monotonic() - started)
        assert np.median(times) < 0.5
        started = time.monotonic()
        server.process.terminate()
        assert server.ended() == 0
        assert time.monotonic() - started < 10
