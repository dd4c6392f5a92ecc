"""One table of everything that clients get wrong: what they send, and the problem they are told."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from fairlead_service.api.services import Commands
from fairlead_service.errors import MEDIA_TYPE
from tests.unit.service.support import RUN_A, RUN_B, X, api_settings, fake, running, tree, write_bundle

ROWS = X.tolist()
TRAIN: dict[str, Any] = {"data": ROWS, "target": [0, 0, 1, 1], "algorithm": "random_forest"}
HUGE = [1e39, 1.0, 1.0, 1.0]


@dataclass(frozen=True)
class Case:
    """`body` is sent as JSON unless it is bytes. `says` are fragments of the detail, `pointer` the first error's."""

    name: str
    path: str
    body: Any
    status: int
    slug: str
    says: tuple[str, ...] = ()
    pointer: str | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


def predict(name: str, body: Any, status: int, slug: str, *says: str, **more: Any) -> Case:
    return Case(f"predict: {name}", "/predict", body, status, slug, says, **more)


def train(name: str, change: Any, status: int, slug: str, *says: str, **more: Any) -> Case:
    body = TRAIN | change if isinstance(change, dict) else change
    return Case(f"train: {name}", "/train", body, status, slug, says, **more)


def features(value: Any) -> dict[str, Any]:
    return {"features": value}


INVALID, MALFORMED = (422, "invalid-input"), (400, "malformed-body")
PREDICT = [
    predict("empty body", b"", *MALFORMED, "not valid JSON"),
    predict("not JSON", b"hello", *MALFORMED, "not valid JSON"),
    predict("cut off", b'{"features": [[1, 2', *MALFORMED, "not valid JSON"),
    predict("something after the JSON", b'{"features": [[1,2,3,4]]} x', *MALFORMED, "not valid JSON"),
    predict("not UTF-8", b'{"features": ["\xff"]}', *MALFORMED, "UTF-8"),
    predict("byte order mark", b"\xef\xbb\xbf{}", *MALFORMED, "byte order mark"),
    predict("too deep", b"[" * 1100 + b"]" * 1100, *MALFORMED, "depth"),
    predict("a list", [1, 2, 3, 4], *MALFORMED, "is a list", "send a JSON object"),
    predict("null", None, *MALFORMED, "is null"),
    predict("key twice", b'{"features": [[1,2,3,4]], "features": [[1,2,3,4]]}', *MALFORMED, "twice"),
    predict("no features", {}, *INVALID, "features is missing", pointer="/features"),
    predict("unknown field", {"feature": [[1]]}, *INVALID, "'feature'", "known are", pointer="/feature"),
    predict("features null", features(None), *INVALID, "features is null", pointer="/features"),
    predict("features a string", features("1,2,3,4"), *INVALID, "features is a string"),
    predict("features an object", features({"a": 1}), *INVALID, "features is an object"),
    predict("no rows", features([]), *INVALID, "features is empty"),
    predict("empty row", features([[]]), *INVALID, "row 0", "is empty", "send 4 values"),
    predict("row an object", features([{"a": 1}]), *INVALID, "row 0", "an object", pointer="/features/0"),
    predict("row a number", features([ROWS[0], 3]), *INVALID, "row 1", "a number", pointer="/features/1"),
    predict(
        "ragged", features([ROWS[0], ROWS[1][:3]]), *INVALID, "row 1", "has 3", "expected 4", pointer="/features/1"
    ),
    predict("too narrow", features([[1.0]]), *INVALID, "has 1 values, expected 4", "sepal width"),
    predict("too wide", features([[1, 2, 3, 4, 5]]), *INVALID, "has 5 values, expected 4"),
    predict("one row too narrow", features([1, 2]), *INVALID, "features has 2 values, expected 4", pointer="/features"),
    predict("too deep a list", features([[[1, 2, 3, 4]] * 4]), *INVALID, "row 0, column 0", "is a list"),
    predict("string", features([ROWS[0], [1, "2", 3, 4]]), *INVALID, "row 1, column 1, sepal width", "is a string"),
    predict("null value", features([[1, None, 3, 4]]), *INVALID, "row 0, column 1", "null", pointer="/features/0/1"),
    predict("boolean", features([[1, 2, True, 4]]), *INVALID, "row 0, column 2", "a boolean"),
    predict("boolean in one row", features([1, 2, True, 4]), *INVALID, "column 2", "a boolean", pointer="/features/2"),
    predict("NaN", b'{"features": [[1,2,3,4],[1,2,NaN,4]]}', *INVALID, "row 1, column 2", "is NaN"),
    predict("NaN in one row", b'{"features": [1,2,NaN,4]}', *INVALID, "column 2", "NaN", pointer="/features/2"),
    predict("infinite", b'{"features": [[1,2,3,-Infinity]]}', *INVALID, "row 0, column 3, petal width", "infinite"),
    predict("beyond a double", b'{"features": [[1e400,2,3,4]]}', *INVALID, "row 0, column 0", "infinite"),
    predict("integer beyond float32", features([[10**40, 2, 3, 4]]), 422, "model-refused-input", "row 0, column 0"),
    predict("beyond float32", features([ROWS[0], HUGE]), 422, "model-refused-input", "float32", "row 1, column 0"),
    predict("probabilities a number", features(ROWS) | {"probabilities": 1}, *INVALID, "true or false"),
    predict("too many rows", features(ROWS * 6), 413, "too-many-rows", "24 rows", "at most 20"),
    predict("far too many lists", b'{"features": [' + b"[]," * 4000, 413, "too-many-rows", "more than 20 rows"),
    predict("too long", b" " * 20_001, 413, "body-too-large", "20000 bytes"),
    predict(
        "form",
        b"features=1",
        415,
        "unsupported-media-type",
        "form",
        headers={"content-type": "application/x-www-form-urlencoded"},
    ),
    predict("compressed", b"x", 415, "unsupported-media-type", "gzip", headers={"content-encoding": "gzip"}),
]
TRAINING = [
    train("not JSON", b"{", *MALFORMED, "not valid JSON"),
    train("nothing", b"{}", *INVALID, "data is missing", pointer="/data"),
    train("key twice", json.dumps(TRAIN)[:-1].encode() + b', "target": [1,1,0,0]}', *MALFORMED, "twice"),
    train(
        "hyperparameter twice",
        json.dumps(TRAIN)[:-1].encode() + b', "hyperparameters": {"a": 1, "a": 2}}',
        *MALFORMED,
        "twice",
    ),
    train(
        "unknown algorithm",
        {"algorithm": "magic"},
        422,
        "unknown-algorithm",
        "'magic'",
        "gradient_boosting, logistic_regression, random_forest",
        pointer="/algorithm",
    ),
    train("algorithm a number", {"algorithm": 3}, *INVALID, "algorithm", "string", pointer="/algorithm"),
    train("unknown field", {"hyperparams": {}}, *INVALID, "'hyperparams'", "hyperparameters", pointer="/hyperparams"),
    train("hyperparameters a list", {"hyperparameters": []}, *INVALID, "hyperparameters", "dictionary"),
    train(
        "NaN hyperparameter",
        json.dumps(TRAIN | {"hyperparameters": {"C": float("nan")}}).encode(),
        *INVALID,
        "NaN",
        pointer="/hyperparameters/C",
    ),
    train("no rows", {"data": []}, *INVALID, "data is empty"),
    train("one flat row", {"data": [1, 2, 3]}, *INVALID, "data[0] (row 0) is a number"),
    train("no columns", {"data": [[], [], [], []]}, *INVALID, "row 0", "at least one value"),
    train(
        "ragged", {"data": [*ROWS[:3], [1, 2]]}, *INVALID, "row 3", "has 2 values and row 0 has 4", pointer="/data/3"
    ),
    train("string", {"data": [[1, "x"], [1, 2], [1, 3], [4, 5]]}, *INVALID, "row 0, column 1", "a string"),
    train("null value", {"data": [[1], [2], [None], [4]]}, *INVALID, "row 2, column 0", "null", pointer="/data/2/0"),
    train("too many rows", {"data": [[1.0]] * 31}, 413, "too-many-rows", "31 rows"),
    train("target an object", {"target": {}}, *INVALID, "target is not a list"),
    train("target too short", {"target": [0, 1]}, *INVALID, "target has 2 values and data has 4 rows"),
    train("one class", {"target": [7] * 4}, *INVALID, "one class only", "'7'", pointer="/target"),
    train("mixed target", {"target": [0, 0, "1", 1]}, *INVALID, "target[2] is a string", "target[0] is an integer"),
    train("null in target", {"target": [0, 0, None, 1]}, *INVALID, "target[2]", pointer="/target/2"),
    train("boolean among integers", {"target": [0, 0, True, 1]}, *INVALID, "target[2] is a boolean"),
    train("alias alone", {"alias": "champion"}, *INVALID, "alias needs model_name", pointer="/alias"),
    train("bad alias", {"model_name": "m", "alias": "a b"}, *INVALID, "alias", pointer="/alias"),
    train("bad name", {"model_name": "a/b"}, *INVALID, "model_name", pointer="/model_name"),
    train("test_size 1", {"test_size": 1.0}, *INVALID, "test_size", "less than 1", pointer="/test_size"),
    train("names too few", {"feature_names": ["a"]}, *INVALID, "1 names", "4 columns"),
    train("names equal", {"feature_names": ["a", "b", "a", "c"]}, *INVALID, "'a' more than once"),
    train("tag a number", {"tags": {"a": 1}}, *INVALID, "tags.a", pointer="/tags/a"),
    train("too long", b" " * 30_001, 413, "body-too-large", "30000 bytes"),
    train(
        "the child objects",
        {"run_name": "refused"},
        422,
        "invalid-hyperparameter",
        "max_depth must be",
        pointer="/hyperparameters/max_depth",
    ),
]
OTHERS = [
    Case("load: no run id", "/model/load/xyz", b"", *INVALID, ("'xyz'", "32 hexadecimal")),
    Case("load: capitals", f"/model/load/{'A' * 32}", b"", *INVALID, ("32 hexadecimal",)),
    Case("load: unknown run", f"/model/load/{RUN_B}", b"", 404, "model-not-found", ("no run",)),
    Case("no such path", "/nope", b"", 404, "not-found", ("/nope", "/docs")),
    Case("no such method", "/health", b"", 405, "method-not-allowed", ("does not take POST", "GET")),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """An API that serves a tree with four features, with low limits."""
    tmp_path = tmp_path_factory.mktemp("bad-input")
    source = write_bundle(tmp_path / "source", tree()).directory
    settings = api_settings(
        tmp_path, max_body_bytes=20_000, max_train_body_bytes=30_000, max_batch_rows=20, max_train_rows=30
    )
    first = Commands(load=fake("succeed", source))
    async with running(settings, first) as (client, services):
        assert (await client.post(f"/model/load/{RUN_A}")).status_code == 200
        services.commands = Commands(
            load=fake("fail", "ModelNotFound", "there is no run"),
            train=fake("fail", "InvalidHyperparameter", "max_depth must be", "/hyperparameters/max_depth"),
        )
        yield client


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", PREDICT + TRAINING + OTHERS, ids=lambda case: case.name)
async def test_the_problem_says_what_is_wrong_and_where(case: Case, client: httpx.AsyncClient) -> None:
    content = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    answer = await client.post(case.path, content=content, headers=case.headers)
    assert (answer.status_code, answer.headers["content-type"]) == (case.status, MEDIA_TYPE), answer.text
    problem = answer.json()
    assert problem["type"] == f"urn:fairlead:problem:{case.slug}"
    assert problem["status"] == case.status
    assert problem["instance"] == f"urn:fairlead:request:{answer.headers['x-request-id']}"
    assert problem["title"]
    for fragment in case.says:
        assert fragment in problem["detail"]
    if case.pointer is not None:
        assert problem["errors"][0]["pointer"] == case.pointer
    assert (await client.post("/predict", json=features(ROWS))).json()["predictions"] == [0, 0, 1, 1]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_chunked_body_is_refused_while_it_is_read(client: httpx.AsyncClient) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1000
            yield b" " * 1000

    answer = await client.post("/predict", content=body(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert sent < 50_000


async def test_no_model_says_what_to_do(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as (client, _):
        for answer in (await client.post("/predict", json=features(ROWS)), await client.get("/model/info")):
            assert answer.status_code == 503
            assert "POST /model/load/{run_id}" in answer.json()["detail"]
