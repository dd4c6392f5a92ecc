"""`/openapi.json` says everything: every route its problems, every example true."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import jsonschema
import pytest

from fairlead_service import contract
from fairlead_service.api import openapi
from fairlead_service.api.openapi import with_algorithms
from fairlead_service.api.services import Commands
from fairlead_service.api.train_request import decode_train
from fairlead_service.app import create_app
from fairlead_service.errors import MEDIA_TYPE
from fairlead_service.inference.codec import Expected, decode_predict
from fairlead_service.schemas import PredictRequest
from fairlead_service.schemas_train import TrainRequest
from fairlead_service.settings import Settings
from tests.unit.service.support import X, api_settings, fake, running

ALGORITHMS = ("gradient_boosting", "logistic_regression", "random_forest")


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return create_app(api_settings(tmp_path)).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_paths_are_those_of_the_roles(document: dict[str, Any]) -> None:
    both = {"/predict", "/health", "/health/live", "/health/ready", "/model/info", "/metrics", "/metrics/summary"}
    both |= {"/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index", "/invocations", "/ping", "/version"}
    model = "/v2/models/{name}"
    both |= {f"{path}{more}" for path in (model, f"{model}/versions/{{version}}") for more in ("", "/ready", "/infer")}
    assert document["paths"].keys() == both | {
        "/algorithms", "/train", "/train/jobs", "/train/jobs/{job_id}", "/model/load/{run_id}", "/runs",
        "/models", "/models/{name}", "/models/{name}/versions/{version}", "/models/{name}/aliases/{alias}",
    }  # fmt: skip
    assert create_app(Settings(role="predictor")).openapi()["paths"].keys() == both
    swapping = Settings(role="predictor", hot_swap=True)
    assert create_app(swapping).openapi()["paths"].keys() == both | {"/model/load/{run_id}"}


def test_predictions_are_what_the_operator_takes_for_them(document: dict[str, Any]) -> None:
    served = {path for path in document["paths"] if path.endswith(("/predict", "/infer", "/invocations"))}
    assert served == set(contract.INFERENCE_PATHS)


def test_every_route_that_can_fail_documents_its_problems(document: dict[str, Any]) -> None:
    statuses: dict[str, set[str]] = {}
    for path, _, operation in operations(document):
        statuses[path] = statuses.get(path, set()) | set(operation["responses"]) - {"200"}
    assert statuses["/predict"] == {"400", "408", "413", "415", "422", "429", "500", "503"}
    assert statuses["/train"] == {"202", "400", "408", "409", "413", "415", "422", "429", "500", "503", "504", "507"}
    assert statuses["/train/jobs/{job_id}"] == {"404", "409", "422"}
    assert statuses["/model/load/{run_id}"] == {"202", "401", "404", "422", "429", "500", "503", "504", "507"}
    assert statuses["/model/info"] == {"503"}
    assert statuses["/health/ready"] == {"503"}
    assert statuses["/v2/models/{name}/infer"] == {"400", "404", "408", "413", "415", "429", "500", "503"}
    assert statuses["/v2/models/{name}/ready"] == {"404", "503"}
    assert statuses["/invocations"] == {"400", "408", "413", "415", "422", "429", "500", "503"}


def test_problems_are_problem_details_with_true_examples(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if status in ("200", "202"):
                continue
            v2 = path.startswith("/v2")
            content = response["content"]["application/json" if v2 else MEDIA_TYPE]
            name = "V2Error" if v2 else "ProblemDetails"
            assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}, path
            assert content["examples"]
            for slug, example in content["examples"].items():
                validate(document, content["schema"], example["value"])
                assert str(example["value"]["status"]) == status
                assert example["value"]["type"] == f"urn:fairlead:problem:{slug}"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = document["components"]["schemas"]
    assert "HTTPValidationError" not in known
    for reference in set(references(document)):
        assert reference.removeprefix("#/components/schemas/") in known


def test_bodies_are_documented_and_their_examples_are_right(document: dict[str, Any]) -> None:
    for path in ("/predict", "/train", "/v2/models/{name}/infer"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        name = body["schema"]["$ref"].rpartition("/")[2]
        validate(document, body["schema"], document["components"]["schemas"][name]["example"])
    train = json.dumps(TrainRequest.model_config["json_schema_extra"]["example"]).encode()  # type: ignore[index]
    decoded = decode_train(train, 100, ALGORITHMS)
    assert decoded.matrix.shape == (4, 4)
    assert decoded.options.hyperparameters == {"n_estimators": 100, "max_depth": 10}
    predict = json.dumps(PredictRequest.model_config["json_schema_extra"]["example"]).encode()  # type: ignore[index]
    assert decode_predict(predict, Expected("features", 100, n_features=4)).matrix.shape == (2, 4)


def test_what_is_documented_is_what_is_read() -> None:
    """The fields of the documentation's classes are those that the decoders take."""
    defaults = {"test_size": 0.5, "random_state": 1, "load": False, "model_name": "m", "alias": "a"}
    texts = {"experiment": "e", "run_name": "r", "tags": {"k": "v"}, "feature_names": ["x"], "hyperparameters": {}}
    texts |= {"semantic_version": "1.0.0-rc.1", "description": "d"}
    search = {
        "method": "random",
        "parameters": {"max_depth": [1, 2], "n_estimators": {"low": 1, "high": 9, "log": True}},
    }
    work = {"search": search | {"iterations": 3, "folds": 2, "metric": "f1"}, "cross_validation": 3, "plots": False}
    required = {"data": [[1], [2]], "target": ["a", "b"], "algorithm": "random_forest"}
    table = {"data_uri": "runs:/x/y.csv", "target_column": "kind", "log_data": True}
    full = required | defaults | texts | work
    assert (full | table).keys() == TrainRequest.model_fields.keys()
    left = json.loads(decode_train(json.dumps(full).encode(), 9, ALGORITHMS).to_json())
    assert left == {key: value for key, value in full.items() if key not in ("data", "load")} | {"log_data": False}
    by_uri = {key: value for key, value in full.items() if key not in ("data", "target")} | table
    left = json.loads(decode_train(json.dumps(by_uri).encode(), 9, ALGORITHMS).to_json())
    assert left == {key: value for key, value in by_uri.items() if key != "load"}


def validate(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    jsonschema.validate(value, {**schema, "components": document["components"]})


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in references(item)]
    return [found for item in value for found in references(item)] if isinstance(value, list) else []


async def test_the_documentation_is_where_the_root_says_it_is(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path), Commands(describe=fake("fail", "TrainingFailed", "no"))) as (client, _):
        assert 'href="docs"' in (await client.get("/")).text
        assert (await client.get("/docs")).status_code == 200
        assert (await client.get("/openapi.json")).json()["info"]["title"] == "Fairlead"


@pytest.mark.parametrize("prefix", ["", "/models/iris", "/api/v1/namespaces/ml/services/fairlead:http/proxy"])
async def test_addresses_hold_behind_a_proxy_that_takes_a_prefix_off(tmp_path: Path, prefix: str) -> None:
    """Whatever a page or an answer leads to, seen from the browser's side of the proxy."""
    commands = Commands(describe=fake("fail", "TrainingFailed", "no"), train=fake("fail", "TrainingFailed", "no"))
    base = f"http://proxy.test{prefix}"
    async with running(api_settings(tmp_path), commands) as (client, _):

        async def get(url: str) -> httpx.Response:
            assert url.startswith(f"{base}/"), f"{url} is another's"
            return await client.get(url.removeprefix(base))

        for page in ("/", "/docs"):
            text = (await get(f"{base}{page}")).text
            for address in re.findall(r"""(?:href=|src=|url: |fetch\()["']([^"':]+)["']""", text):
                found = await get(urljoin(f"{base}{page}", address))
                assert found.status_code in (200, 405), address
        documented = await get(urljoin(f"{base}/docs", "openapi.json"))
        (server,) = documented.json()["servers"]
        assert urljoin(f"{base}/openapi.json", server["url"]) == f"{base}/"
        body = {"algorithm": "random_forest", "data": X.tolist(), "target": [0, 0, 1, 1]}
        begun = await client.post("/train?wait=false", json=body)
        followed = await get(urljoin(f"{base}/train?wait=false", begun.headers["location"]))
        assert followed.json()["id"] == begun.json()["id"]


@pytest.mark.parametrize(("known", "renderings"), [(True, 1), (False, 3)])
async def test_the_document_is_rendered_once_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool, renderings: int
) -> None:
    algorithm = {"name": "x", "package": None, "task": "classification"}
    described = fake("answer", json.dumps({"algorithms": [algorithm], "metrics": []}))
    commands = Commands(describe=described if known else fake("fail", "TrainingFailed", "no"))
    rendered = []

    def count(document: Any, algorithms: Any) -> Any:
        rendered.append(algorithms)
        return with_algorithms(document, algorithms)

    monkeypatch.setattr(openapi, "with_algorithms", count)
    async with running(api_settings(tmp_path), commands) as (client, _):
        answers = [await client.get("/openapi.json") for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    assert len(rendered) == renderings
    assert ('"x"' in answers[0].text) is known


async def test_hyperparameters_are_documented_as_the_algorithms_say(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as (client, _):
        known = (await client.get("/algorithms")).json()
        documented = (await client.get("/openapi.json")).json()
    by_name = {algorithm["name"]: algorithm for algorithm in known["algorithms"]}
    assert by_name.keys() == set(ALGORITHMS)
    assert {metric["name"] for metric in known["metrics"]} >= {"accuracy", "roc_auc", "r2"}
    schema = documented["components"]["schemas"]["TrainRequest"]["properties"]["hyperparameters"]
    for good in (
        {},
        {"n_estimators": 100, "max_depth": 10},
        {"C": 0.5},
        {"learning_rate": 0.1, "max_features": "sqrt"},
    ):
        validate(documented, schema, good)
    for bad in ({"n_estimator": 100}, {"n_estimators": 0}, {"max_depth": "deep"}, {"C": -1.0}):
        with pytest.raises(jsonschema.ValidationError):
            validate(documented, schema, bad)
    for algorithm in known["algorithms"]:
        defaults = {
            name: rule["default"]
            for name, rule in algorithm["hyperparameters"]["properties"].items()
            if "default" in rule
        }
        jsonschema.validate(defaults, algorithm["hyperparameters"])
