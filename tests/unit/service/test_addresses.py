"""Credentials in addresses are used, and never shown."""

import json
import traceback
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service import addresses, termination, wire
from fairlead_service.app import _environment
from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError, unavailable
from fairlead_service.loading.cache.backend import CacheError
from fairlead_service.loading.cache.settings import CacheSettings
from fairlead_service.settings import Settings
from fairlead_service.tracking import TrackingClient, TrackingServer
from fairlead_service.training.errors import invalid_data

SECRET = "s3cr3t"
WITH = {"MLFLOW_TRACKING_URI": f"http://me:{SECRET}@mlflow:5000"}


@pytest.mark.parametrize(
    ("environment", "changes"),
    [
        ({}, {}),
        ({"MLFLOW_TRACKING_URI": "http://mlflow:5000/at@home"}, {}),
        (
            WITH,
            {
                "MLFLOW_TRACKING_URI": "http://mlflow:5000",
                "MLFLOW_TRACKING_USERNAME": "me",
                "MLFLOW_TRACKING_PASSWORD": SECRET,
            },
        ),
        (
            {"MLFLOW_TRACKING_URI": "https://m%40e:a%2Fb%3A@mlflow/base/"},
            {
                "MLFLOW_TRACKING_URI": "https://mlflow/base/",
                "MLFLOW_TRACKING_USERNAME": "m@e",
                "MLFLOW_TRACKING_PASSWORD": "a/b:",
            },
        ),
        # what is set apart already counts
        (WITH | {"MLFLOW_TRACKING_USERNAME": "other"}, {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}),
        ({"MLFLOW_TRACKING_URI": "http://@mlflow"}, {"MLFLOW_TRACKING_URI": "http://mlflow"}),
    ],
)
def test_apart(environment: dict[str, str], changes: dict[str, str]) -> None:
    assert addresses.apart(environment) == changes
    assert addresses.apart({**environment, **changes}) == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"http://me:{SECRET}@host:5000/x does not answer", "http://host:5000/x does not answer"),
        (f"ftp://me:{SECRET}@host/a and s3://{SECRET}@bucket", "ftp://host/a and s3://bucket"),
        (f"http://me:{SECRET}/x#@host", "http://host"),
        (f"postgresql://u:{SECRET}@db/mlflow", "postgresql://db/mlflow"),
        ("http://host:5000/name@alias", "http://host:5000/name@alias"),
        ("models:/fraud@champion and me@home", "models:/fraud@champion and me@home"),
    ],
)
def test_shown(text: str, shown: str) -> None:
    assert addresses.shown(text) == shown


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=4).filter(lambda text: "@" not in text))
def test_no_password_is_shown(password: str) -> None:
    found = addresses.shown(f"http://user:{password}x@host/path")
    assert password not in found.replace("http://host/path", "")


def test_they_are_used() -> None:
    server = TrackingServer.from_environment(WITH)
    assert (server.url, server.username, server.password) == ("http://mlflow:5000", "me", SECRET)
    assert SECRET not in repr(server)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={})

    with TrackingClient(server, httpx.MockTransport(answer)) as client:
        client.get("mlflow/runs/get")
    assert asked[0].headers["authorization"].startswith("Basic ")
    assert SECRET not in str(asked[0].url)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("connection refused"),
        httpx.Response(500, text="no"),
        httpx.Response(404, text="no"),
        httpx.Response(401, text="no"),
        httpx.Response(302, headers={"location": f"https://me:{SECRET}@login/?next=x"}),
        httpx.Response(200, text="no json"),
    ],
    ids=str,
)
def test_no_failure_shows_them(answer: Any) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    server = TrackingServer.from_environment(WITH)
    with (
        TrackingClient(server, httpx.MockTransport(respond), pause=lambda seconds: None) as client,
        pytest.raises(LoadError) as caught,
    ):
        client.get("mlflow/runs/get")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert "mlflow:5000" in caught.value.message


def test_a_redirect_says_where_to() -> None:
    moved = httpx.Response(302, headers={"location": "https://login.example/?next=secret"})
    with (
        TrackingClient(TrackingServer("http://mlflow"), httpx.MockTransport(lambda request: moved)) as client,
        pytest.raises(
            LoadError, match=r"answers 302 and redirects to https://login\.example/; set MLFLOW_TRACKING_URI"
        ),
    ):
        client.get("mlflow/runs/get")


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://u:{SECRET}@db/mlflow",
        f"http://u:{SECRET}/#x@host",
        f"http://u:{SECRET}[@host",
        f"http://host:{SECRET}",
        f"//u:{SECRET}@host",
        "",
    ],
)
def test_an_address_that_is_none_is_not_shown(uri: str) -> None:
    with pytest.raises(LoadError, match="MLFLOW_TRACKING_URI must be the http") as caught:
        TrackingServer.from_environment({"MLFLOW_TRACKING_URI": uri})
    if "@" in uri:
        assert SECRET not in caught.value.message


def test_children_of_the_server_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", WITH["MLFLOW_TRACKING_URI"])
    settings = Settings()
    told = _environment(settings)
    assert told["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert told["MLFLOW_TRACKING_PASSWORD"] == SECRET
    assert SECRET not in repr(settings)


def test_nothing_that_leaves_a_child_shows_them() -> None:
    text = f"the model's files in ftp://me:{SECRET}@host/a cannot be read"
    for error in (unavailable(text), invalid_data(text, "/data_uri")):
        assert SECRET not in error.message
        assert SECRET not in str(error)
    assert SECRET.encode() not in termination.message(FailureReason.LOAD_FAILED, text)
    for message in (wire.Progress(stage="fetch", message=text), wire.Failure(reason="LoadFailed", message=text)):
        line = wire.as_line(message, "fairlead-loader", 0.0)
        assert SECRET not in line.decode()
        assert "ftp://host/a" in json.loads(line)["message"]


@pytest.mark.parametrize("url", [f"redis://u:{SECRET}/x@host", f"redis://u:{SECRET}[@host", f"rediss://h:{SECRET}"])
def test_the_address_of_a_cache_is_not_shown(url: str) -> None:
    settings = CacheSettings(url=url)
    assert SECRET not in repr(settings)
    with pytest.raises(CacheError) as caught:
        settings.backend()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
