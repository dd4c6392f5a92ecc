"""Arbitrary bytes and right bodies gone wrong: never a 500, always a whole problem document."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from fairlead_service.api.services import Commands
from tests.examples import examples
from tests.integration.service.conftest import ServerProcess, StartServer
from tests.integration.service.sockets import BODY, RIGHT, Answer, Peer, complaints, request
from tests.unit.service.support import FEATURES, RUN_A, X, api_settings, fake, running

ROWS = X.tolist()
SPLIT = {"columns": list(FEATURES), "data": ROWS}
INFER = {"id": "1", "inputs": [{"name": "x", "shape": [4, 4], "datatype": "FP64", "data": ROWS}]}
RIGHT_BODIES: dict[str, list[Any]] = {
    "/predict": [{"features": ROWS, "probabilities": True}, {"features": [dict(zip(FEATURES, ROWS[0], strict=True))]}],
    "/invocations": [{"inputs": ROWS}, {"dataframe_split": SPLIT}, {"dataframe_records": [{"a": 1}]}],
    f"/v2/models/{RUN_A}/infer": [INFER, INFER | {"outputs": [{"name": "predict_proba"}], "parameters": {}}],
    "/train": [
        {"data": ROWS, "target": [0, 0, 1, 1], "algorithm": "random_forest", "hyperparameters": {"max_depth": 3}}
    ],
}
ODD = [
    b"NaN",
    b"1e400",
    b"-0",
    b"null",
    b"{}",
    b"[]",
    b'"',
    b"\\ud800",
    b"\xff",
    b"9" * 400,
    b"[" * 60,
    b",",
    b"\0",
    b":",
]
HEADERS = st.sampled_from(
    [{}, {"content-type": "text/csv"}, {"content-type": "application/octet-stream"}]
    + [{"inference-header-content-length": length} for length in ("5", "-1", "99999999999999999999", "x")]
)


@st.composite
def bodies(draw: st.DrawFn, path: str) -> bytes:
    """Arbitrary bytes, arbitrary JSON in a right place, or a right body with pieces cut out, doubled and put in."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=200))
    right = draw(st.sampled_from(RIGHT_BODIES[path]))
    if draw(st.booleans()):
        wrong = dict(right)
        wrong[draw(st.sampled_from(sorted(right)))] = draw(ANYTHING)
        return json.dumps(wrong).encode()
    body = json.dumps(right).encode()
    for _ in range(draw(st.integers(0, 3))):
        start, end = sorted((draw(st.integers(0, len(body))), draw(st.integers(0, len(body)))))
        piece = draw(st.sampled_from([*ODD, b"", body[start:end] * 2]))
        body = body[:start] + piece + body[min(end, start + draw(st.integers(0, 8))) :]
    return body


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def server(start_server: StartServer, bundle: Path) -> ServerProcess:
    return start_server(fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_max_connection_age_seconds=0)


@pytest.fixture(autouse=True)
def _still_serving(server: ServerProcess) -> Iterator[None]:
    yield
    with Peer(server) as peer:
        assert peer.send(request()).answer().json() == RIGHT
    assert [line for line in complaints(server) if line["level"] == "error"] == []


def check(path: str, status: int, headers: dict[str, str], body: bytes) -> None:
    answer = Answer(status, headers, body)
    if status == 200:
        assert headers["content-type"] != "application/json" or answer.json()
    elif path.startswith("/v2/"):
        assert 400 <= status < 500
        assert answer.json()["error"]
    else:
        assert 400 <= status < 500
        assert answer.slug != "internal-error"


@pytest.mark.parametrize("path", ["/predict", "/invocations", f"/v2/models/{RUN_A}/infer"])
@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_body_is_answered(server: ServerProcess, path: str, data: st.DataObject) -> None:
    body = data.draw(bodies(path))
    lines = [f"{name}: {value}".encode() for name, value in data.draw(HEADERS).items()]
    with Peer(server) as peer:
        answer = peer.send(request(body, *lines, path=path.encode())).answer()
        check(path, answer.status, answer.headers, answer.body)
        assert peer.send(request()).answer().json() == RIGHT


@settings(max_examples=examples(400))
@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([request(), BODY, b"\r\n", b"GET / HTTP/1.1\r\n"]))),
    st.data(),
)
def test_any_bytes_on_a_connection_are_survived(server: ServerProcess, parts: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(b"".join(parts) or request(BODY, b"Connection: close") * 2)
    for _ in range(data.draw(st.integers(0, 4)) if stream else 0):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with Peer(server) as peer:
        peer.send(bytes(stream))
        peer.reset()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """An application whose training process refuses everything."""
    commands = Commands(train=fake("fail", "InvalidData", "too few rows"))
    async with running(api_settings(tmp_path_factory.mktemp("api")), commands) as (client, _):
        yield client


@pytest.mark.asyncio(loop_scope="module")
async def test_any_training_is_answered(api: httpx.AsyncClient) -> None:
    drawn: list[bytes] = []

    @settings(max_examples=examples(300), database=None)
    @given(bodies("/train"))
    def draw(body: bytes) -> None:
        drawn.append(body)

    await asyncio.to_thread(draw)
    for body in drawn:
        answer = await api.post("/train", content=body)
        check("/train", answer.status_code, dict(answer.headers), answer.content)
        assert answer.status_code >= 400


@pytest.fixture(scope="module")
def api_server(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """With no MLflow to reach and no room for trainings, so that none is started."""
    return start_server(fairlead_data_dir=tmp_path_factory.mktemp("api-server"), fairlead_max_train_rows=1)


@pytest.mark.parametrize("role", ["predictor", "api"])
def test_answers_are_as_the_openapi_document_says(
    role: str, server: ServerProcess, api_server: ServerProcess, tmp_path: Path
) -> None:
    target = server if role == "predictor" else api_server
    schema = schemathesis.openapi.from_url(f"{target.url}/openapi.json")
    wanted = [
        checks.not_a_server_error,
        openapi_checks.response_schema_conformance,
        openapi_checks.content_type_conformance,
    ]
    cases = []
    for operation in (found.ok() for found in schema.get_all_operations()):
        if operation.path == "/model/load/{run_id}":
            continue  # would start a process for each
        cases.append(operation.as_strategy())
        if operation.body:
            cases.append(operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    assert len(cases) > 10
    for strategy in cases:

        @settings(
            max_examples=examples(10),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def answered(case: schemathesis.Case) -> None:
            response = case.call(timeout=30)
            if response.status_code != 503:  # no model is loaded: as documented
                case.validate_response(response, checks=wanted)

        answered()
    assert [line for line in complaints(target) if line["level"] == "error"] == []
