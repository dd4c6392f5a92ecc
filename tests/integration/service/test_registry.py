"""`/models` and `/runs` against a real MLflow server, and without one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.service.conftest import ServerProcess, StartServer

ROWS = [[5.1, 3.5], [4.9, 3.0], [6.2, 2.9], [5.9, 3.0]]
TRAIN = {
    "data": ROWS,
    "target": [0, 0, 1, 1],
    "algorithm": "logistic_regression",
    "experiment": "registry",
    "plots": False,
    "load": False,
}
NAME = "it's a model"
PATH = "/models/it's%20a%20model"


@pytest.fixture(scope="module")
def api(start_server: StartServer, mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    home = tmp_path_factory.mktemp("registry")
    return start_server(mlflow_tracking_uri=mlflow_server, fairlead_data_dir=home, fairlead_drain_seconds=0)


@pytest.fixture(scope="module")
def client(api: ServerProcess) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


@pytest.fixture(scope="module")
def trained(client: httpx.Client) -> list[dict[str, Any]]:
    """Two versions, 1.0.0 and 1.1.0-rc.1; the alias champion is at the first."""
    asked = [
        {"semantic_version": "1.0.0", "alias": "champion", "description": "the first"},
        {"semantic_version": "1.1.0-rc.1", "hyperparameters": {"C": 0.1}},
    ]
    answers = [client.post("/train", json=TRAIN | fields | {"model_name": NAME}) for fields in asked]
    assert [answer.status_code for answer in answers] == [200, 200], answers
    return [answer.json() for answer in answers]


def test_what_the_registry_has(client: httpx.Client, trained: list[dict[str, Any]]) -> None:
    listed = {model["name"]: model for model in client.get("/models?limit=200").json()["models"]}
    assert listed[NAME]["aliases"] == {"champion": "1"}
    found = client.get(PATH).json()
    assert [version["semantic_version"] for version in found["versions"]] == ["1.1.0-rc.1", "1.0.0"]
    newest, first = found["versions"]
    assert (first["run_id"], first["description"]) == (trained[0]["run_id"], "the first")
    assert (first["aliases"], newest["aliases"]) == (["champion"], [])
    assert re.match(r"20\d\d-", first["created_at"])


def test_a_semantic_version_is_given_once(client: httpx.Client, trained: list[dict[str, Any]]) -> None:
    again = client.post("/train", json=TRAIN | {"model_name": NAME, "semantic_version": "1.0.0"})
    assert again.status_code == 422
    assert "version 1 of it's a model is 1.0.0 already" in again.json()["detail"]
    assert again.json()["errors"][0]["pointer"] == "/semantic_version"
    taken = client.patch(f"{PATH}/versions/2", json={"semantic_version": "1.0.0"})
    assert (taken.status_code, taken.json()["type"]) == (409, "urn:fairlead:problem:already-taken")
    for odd in ("1.0", "v1.0.0", "01.0.0", "1.0.0 or 1=1"):
        assert client.patch(f"{PATH}/versions/2", json={"semantic_version": odd}).status_code == 422


def test_changing_a_model_and_its_versions(
    client: httpx.Client, trained: list[dict[str, Any]], api: ServerProcess
) -> None:
    assert client.patch(PATH, json={"description": "flowers"}).json()["description"] == "flowers"
    change = {"description": "the second", "semantic_version": "1.1.0", "tags": {"team": "a", "old": "b"}}
    assert client.patch(f"{PATH}/versions/2", json=change).status_code == 200
    newest = client.patch(f"{PATH}/versions/2", json={"tags": {"old": None}}).json()["versions"][0]
    assert (newest["semantic_version"], newest["description"]) == ("1.1.0", "the second")
    assert newest["tags"] == {"team": "a"}
    moved = client.put(f"{PATH}/aliases/champion", json={"semantic_version": "1.1.0"})
    assert moved.json()["aliases"] == {"champion": "2"}
    audited = api.wait_for(event="audit", action="move-alias")
    assert (audited["previous_version"], audited["model_version"], audited["model_name"]) == ("1", "2", NAME)
    assert client.put(f"{PATH}/aliases/champion", json={"version": "1"}).json()["aliases"] == {"champion": "1"}
    client.put(f"{PATH}/aliases/rest", json={"version": "1"})
    assert client.delete(f"{PATH}/aliases/rest").json()["aliases"] == {"champion": "1"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/models/nothing", None, 404),
        ("GET", "/models/a'b%22c", None, 404),
        ("PATCH", "/models/nothing", {"description": "x"}, 404),
        ("PATCH", "/models/nothing/versions/1", {"description": "x"}, 404),
        ("PATCH", f"{PATH}/versions/99", {"tags": {"a": "b"}}, 404),
        ("PATCH", f"{PATH}/versions/x", {}, 422),
        ("PATCH", f"{PATH}/versions/1", {"tags": {"a": 1}}, 422),
        ("PATCH", f"{PATH}/versions/1", {"tag": {}}, 422),
        ("PATCH", PATH, {"description": "x" * 2_000_000}, 413),
        ("PUT", f"{PATH}/aliases/champion", {"version": "99"}, 404),
        ("PUT", f"{PATH}/aliases/champion", {"semantic_version": "9.9.9"}, 404),
        ("PUT", f"{PATH}/aliases/champion", {}, 422),
        ("PUT", f"{PATH}/aliases/champion", {"version": "1", "semantic_version": "1.0.0"}, 422),
        ("PUT", f"{PATH}/aliases/v1", {"version": "1"}, 404),
        ("DELETE", f"{PATH}/aliases/nothing", None, 404),
        ("GET", "/runs?experiment=nothing", None, 404),
        ("GET", "/runs?filter=metrics.accuracy%20is%20high", None, 404),
        ("GET", "/runs?run_id=1", None, 422),
        ("GET", "/models?limit=0", None, 422),
    ],
)
def test_what_is_refused(
    client: httpx.Client, trained: list[dict[str, Any]], method: str, path: str, body: Any, status: int
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'"' + b"\xc3" * 9])
def test_a_body_that_is_no_json(client: httpx.Client, body: bytes) -> None:
    answer = client.patch("/models/x", content=body)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:fairlead:problem:malformed-body")


def test_comparing_runs(client: httpx.Client, trained: list[dict[str, Any]]) -> None:
    both = [result["run_id"] for result in trained]
    found = client.get("/runs", params={"run_id": both}).json()["runs"]
    assert [run["run_id"] for run in found] == both
    assert found[1]["parameters"]["C"] == "0.1"
    assert found[0]["metrics"] == trained[0]["metrics"]
    assert found[0]["tags"]["fairlead.algorithm"] == "logistic_regression"
    assert found[0]["ended_at"] >= found[0]["started_at"]
    query = {"experiment": "registry", "filter": "params.C = '0.1'", "order_by": "metrics.log_loss ASC", "limit": 5}
    assert [run["run_id"] for run in client.get("/runs", params=query).json()["runs"]] == both[1:]
    first = client.get("/runs", params={"experiment": "registry", "limit": 1}).json()
    rest = client.get("/runs", params={"experiment": "registry", "page_token": first["next_page_token"]}).json()
    assert {run["run_id"] for run in first["runs"] + rest["runs"]} >= set(both)


def test_mlflow_away(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(mlflow_tracking_uri="http://127.0.0.1:9", fairlead_data_dir=tmp_path)
    with server.client() as client:
        answers = [client.get("/models") for _ in range(4)]
        assert {answer.status_code for answer in answers} == {503}
        assert "does not answer after 3 tries" in answers[0].json()["detail"]
        assert "it is asked again within" in answers[-1].json()["detail"]
        assert answers[-1].headers["Retry-After"] == "15"
        counted = client.get("/metrics").text
        assert 'mlflow_calls_total{outcome="unavailable"} 3.0' in counted
        assert 'mlflow_calls_total{outcome="rejected"} 1.0' in counted
