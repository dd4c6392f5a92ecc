"""Users and passwords in addresses are used and never repeated: not in messages, pods, logs or printed settings."""

import base64
import json
import os
from dataclasses import asdict
from typing import Any
from unittest import mock
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairlead_operator.addresses import split_userinfo
from fairlead_operator.desired import desired
from fairlead_operator.desired.pods import Template
from fairlead_operator.mlflow import MLflow, UnavailableError
from fairlead_operator.program import main
from fairlead_operator.prometheus import Prometheus, PrometheusError
from fairlead_operator.reference import AliasReference, RunReference
from fairlead_operator.settings import Settings
from tests.unit.operator.samples import RUNS, md, model

PASSWORD = "s3cr3t/@:pw"
ENCODED = quote(PASSWORD, safe="")
words = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=20)


def settings(**more: Any) -> Settings:
    ours = {
        "predictor_image": "predictor:1",
        "mlflow_tracking_uri": f"https://ml:{ENCODED}@mlflow.example.com:5000/base",
        "prometheus_url": f"http://prom:{ENCODED}@prometheus:9090",
    }
    return Settings(**(ours | more))


@given(words, words, st.sampled_from(["host", "host:5000", "[::1]:80"]), st.sampled_from(["", "/base?x=1"]))
def test_what_is_taken_out_is_what_was_put_in(username: str, password: str, host: str, path: str) -> None:
    url = f"https://{quote(username, safe='')}:{quote(password, safe='')}@{host}{path}"
    assert split_userinfo(url) == (f"https://{host}{path}", username, password)
    assert split_userinfo(f"https://{host}{path}") == (f"https://{host}{path}", None, None)


def test_an_unencoded_at_sign_belongs_to_the_password() -> None:
    assert split_userinfo("http://u:p@ss@host") == ("http://host", "u", "p@ss")
    assert split_userinfo("http://token@host") == ("http://host", "token", None)


def test_the_operator_uses_them_and_no_pod_or_object_gets_them() -> None:
    found = settings()
    assert found.mlflow_tracking_uri == "https://mlflow.example.com:5000/base"
    assert found.mlflow_auth == ("ml", PASSWORD)
    assert found.prometheus_auth == ("prom", PASSWORD)
    resource = md(replicas=None, autoscaling={"maxReplicas": 3}, slo={"successPercent": "99"})
    children = desired(resource, Template(model(), "i", None), found.pods, around=found.surroundings)
    shown = json.dumps([children.manifests, asdict(found.pods), asdict(found.surroundings)]) + repr(found)
    assert PASSWORD not in shown
    assert ENCODED not in shown


def test_what_is_set_apart_wins_over_what_is_in_the_address() -> None:
    found = settings(mlflow_username="other", mlflow_password="word")
    assert found.mlflow_auth == ("other", "word")
    assert "@" not in found.mlflow_tracking_uri


async def test_no_message_repeats_them_and_every_request_carries_them() -> None:
    sent: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        raise httpx.ConnectError("refused", request=request)

    found = settings()
    mlflow, prometheus = (
        MLflow(found.mlflow_tracking_uri, found.mlflow_auth),
        Prometheus(found.prometheus_url or "", found.prometheus_auth),
    )
    for client in (mlflow, prometheus):
        client._client._transport = httpx.MockTransport(refuse)
    with pytest.raises(UnavailableError) as first:
        await mlflow.run(RunReference(RUNS[0], "model"))
    with pytest.raises(UnavailableError) as second:
        await mlflow.registered_model(AliasReference("fraud", "champion").name)
    with pytest.raises(PrometheusError) as third:
        await prometheus.drift()
    for error in (first, second, third):
        assert PASSWORD not in str(error.value)
        assert ENCODED not in str(error.value)
    expected = {f"{user}:{PASSWORD}" for user in ("ml", "prom")}
    assert {base64.b64decode(header.removeprefix("Basic ")).decode() for header in sent} == expected


def test_an_address_that_pods_are_given_may_have_none() -> None:
    with pytest.raises(ValidationError, match="must have no user and password"):
        settings(otlp_endpoint="http://u:p@jaeger:4318")


@pytest.mark.parametrize(
    "variable",
    [
        {"FAIRLEAD_OPERATOR_OTLP_ENDPOINT": f"http://u:{ENCODED}@jaeger:4318"},
        {"FAIRLEAD_OPERATOR_PROMETHEUS_URL": f"prometheus://u:{ENCODED}@prometheus"},
        {"FAIRLEAD_OPERATOR_CACHE_URL": f"redis://u:{ENCODED}@redis"},
        {"FAIRLEAD_OPERATOR_MLFLOW_CA_SECRET": "a", "FAIRLEAD_OPERATOR_MLFLOW_CA_CONFIGMAP": "b"},
    ],
    ids=str,
)
def test_a_wrong_environment_is_refused_without_repeating_it(
    variable: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    right = {
        "FAIRLEAD_OPERATOR_PREDICTOR_IMAGE": "predictor:1",
        "FAIRLEAD_OPERATOR_MLFLOW_TRACKING_URI": f"http://u:{ENCODED}@mlflow",
    }
    with mock.patch.dict(os.environ, right | variable):
        assert main() == 2
    said = capsys.readouterr().err
    assert "FAIRLEAD_OPERATOR_" in said
    assert ENCODED not in said
    assert PASSWORD not in said
