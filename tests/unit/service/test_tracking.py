"""How the loader behaves when a tracking server does not: answers that a real MLflow can't be asked to give."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.tracking import ATTEMPTS, TrackingClient, TrackingServer

Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer, server: TrackingServer | None = None) -> tuple[TrackingClient, list[float]]:
    pauses: list[float] = []
    made = TrackingClient(server or TrackingServer("http://mlflow:5000"), httpx.MockTransport(answer), pauses.append)
    return made, pauses


def answer(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error_code": "SOME_CODE", "message": message})


def failure(answer: Answer) -> LoadError:
    made, _ = client(answer)
    with pytest.raises(LoadError) as caught:
        made.get("mlflow/runs/get", run_id="x")
    return caught.value


def test_server_errors_are_tried_again() -> None:
    answers = iter([httpx.Response(503), httpx.Response(500), httpx.Response(200, json={"run": 1})])
    made, pauses = client(lambda request: next(answers))
    assert made.get("mlflow/runs/get") == {"run": 1}
    assert len(pauses) == 2
    assert all(0 < pause < 2 for pause in pauses)


def test_a_server_that_stays_down() -> None:
    calls = []

    def refuse(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        raise httpx.ConnectError("connection refused")

    error = failure(refuse)
    assert error.reason is FailureReason.TRACKING_SERVER_UNAVAILABLE
    assert "connection refused" in error.message
    assert "http://mlflow:5000" in error.message
    assert len(calls) == ATTEMPTS


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (answer(404, "no such run"), FailureReason.MODEL_NOT_FOUND, "no such run"),
        (answer(400, "bad name"), FailureReason.MODEL_NOT_FOUND, "bad name"),
        (
            httpx.Response(403, text="Invalid Host header - possible DNS rebinding attack detected"),
            FailureReason.TRACKING_SERVER_UNAVAILABLE,
            "--allowed-hosts",
        ),
        (httpx.Response(404, text="nginx"), FailureReason.TRACKING_SERVER_UNAVAILABLE, "MLFLOW_TRACKING_URI right"),
        (httpx.Response(401), FailureReason.TRACKING_SERVER_UNAVAILABLE, "MLFLOW_TRACKING_USERNAME"),
        (httpx.Response(200, text="<html>"), FailureReason.TRACKING_SERVER_UNAVAILABLE, "is it an MLflow server"),
        (httpx.Response(200, json=[1]), FailureReason.TRACKING_SERVER_UNAVAILABLE, "is it an MLflow server"),
        (httpx.Response(302), FailureReason.TRACKING_SERVER_UNAVAILABLE, "302"),
    ],
)
def test_refusals(answer: httpx.Response, reason: FailureReason, words: str) -> None:
    error = failure(lambda request: answer)
    assert error.reason is reason
    assert words in error.message


def test_a_body_cut_short_is_fetched_again() -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")

    answers = iter([httpx.Response(200, content=broken()), httpx.Response(200, content=b"whole")])
    made, _ = client(lambda request: next(answers))
    received = []
    made.stream("mlflow-artifacts/artifacts/x", lambda chunks: received.append(b"".join(chunks)))
    assert received == [b"whole"]


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_TOKEN": "t"}, "Bearer t"),
        ({"MLFLOW_TRACKING_USERNAME": "a", "MLFLOW_TRACKING_PASSWORD": "b"}, "Basic YTpi"),
        (
            {"MLFLOW_TRACKING_USERNAME": "a", "MLFLOW_TRACKING_PASSWORD": "b", "MLFLOW_TRACKING_TOKEN": "t"},
            "Basic YTpi",
        ),
    ],
)
def test_credentials(environment: dict[str, str], header: str | None) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json={})

    server = TrackingServer.from_environment({"MLFLOW_TRACKING_URI": "http://mlflow:5000/"} | environment)
    client(answer, server)[0].get("mlflow/runs/get")
    assert seen == [header]


@pytest.mark.parametrize("uri", [None, "", "sqlite:///x.db", "/tmp/mlruns"])
def test_the_server_must_be_http(uri: str | None) -> None:
    with pytest.raises(LoadError, match="MLFLOW_TRACKING_URI"):
        TrackingServer.from_environment({} if uri is None else {"MLFLOW_TRACKING_URI": uri})


def test_tls() -> None:
    secure = {"MLFLOW_TRACKING_URI": "https://mlflow"}
    assert TrackingServer.from_environment(secure).tls() is True
    assert TrackingServer.from_environment(secure | {"MLFLOW_TRACKING_INSECURE_TLS": "true"}).tls() is False
    with pytest.raises(LoadError, match="certificates"):
        TrackingServer.from_environment(secure | {"MLFLOW_TRACKING_SERVER_CERT_PATH": "/no/such.pem"}).tls()
