"""MLflow's answers, good and bad, as it words them."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fairlead_operator.mlflow import MissingError, MLflow, UnavailableError
from fairlead_operator.reference import LoggedModelReference, RunReference, VersionReference
from tests.unit.operator.samples import RUNS

RUN = RunReference(RUNS[0], "model")
NOT_FOUND = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}


def mlflow(answer: Callable[[httpx.Request], httpx.Response], **credentials: Any) -> MLflow:
    adapter = MLflow("http://mlflow:5000/", **credentials)
    adapter._client._transport = httpx.MockTransport(answer)
    return adapter


def answers(*bodies: tuple[int, Any]) -> Callable[[httpx.Request], httpx.Response]:
    left = list(bodies)

    def answer(_: httpx.Request) -> httpx.Response:
        status, body = left.pop(0)
        return httpx.Response(status, json=body) if not isinstance(body, str) else httpx.Response(status, text=body)

    return answer


def run_with(**run: Any) -> tuple[int, Any]:
    return 200, {"run": {"info": {"run_id": RUNS[0], "lifecycle_stage": "active"}, **run}}


async def test_a_run_of_mlflow_3() -> None:
    logged = (200, {"model": {"info": {"model_id": "m-1", "name": "model"}}})
    adapter = mlflow(answers(run_with(outputs={"model_outputs": [{"model_id": "m-1"}]}), logged))
    assert (await adapter.run(RUN)).model_uri == f"runs:/{RUNS[0]}/model"


async def test_a_run_of_mlflow_2() -> None:
    tag = {"key": "mlflow.log-model.history", "value": '[{"artifact_path": "model"}]'}
    assert (await mlflow(answers(run_with(data={"tags": [tag]}))).run(RUN)).run_id == RUNS[0]


async def test_a_run_without_such_a_model_says_what_it_has() -> None:
    tag = {"key": "mlflow.log-model.history", "value": '[{"artifact_path": "other"}]'}
    with pytest.raises(MissingError, match="has no model named 'model': it has other"):
        await mlflow(answers(run_with(data={"tags": [tag]}))).run(RUN)
    with pytest.raises(MissingError, match="it has none"):
        await mlflow(answers(run_with())).run(RUN)


async def test_a_deleted_run_is_missing() -> None:
    deleted = (200, {"run": {"info": {"lifecycle_stage": "deleted"}}})
    with pytest.raises(MissingError, match="is deleted"):
        await mlflow(answers(deleted)).run(RUN)


async def test_versions() -> None:
    version = (200, {"model_version": {"name": "fraud", "version": "3", "run_id": RUNS[0], "status": "READY"}})
    found = await mlflow(answers(version)).version(VersionReference("fraud", "3"))
    assert (found.run_id, found.model_uri, found.alias) == (RUNS[0], "models:/fraud/3", None)


LOGGED = "m-" + "e" * 32


@pytest.mark.parametrize(
    "origin",
    [{"run_id": RUNS[0], "model_id": LOGGED}, {"run_id": "", "model_id": LOGGED}, {"source": f"models:/{LOGGED}"}],
)
async def test_a_version_without_a_run_is_identified_by_its_logged_model(origin: dict[str, str]) -> None:
    version = (200, {"model_version": {"name": "fraud", "version": "3", "status": "READY"} | origin})
    found = await mlflow(answers(version)).version(VersionReference("fraud", "3"))
    assert found.run_id == (origin.get("run_id") or LOGGED)
    assert found.model_uri == "models:/fraud/3"


async def test_a_version_of_neither_names_its_source() -> None:
    version = (200, {"model_version": {"name": "fraud", "version": "3", "source": "s3://bucket/x"}})
    with pytest.raises(MissingError, match="from s3://bucket/x, which is neither a run nor a logged model: log"):
        await mlflow(answers(version)).version(VersionReference("fraud", "3"))


@pytest.mark.parametrize(("run", "identity"), [(RUNS[0], RUNS[0]), ("", LOGGED), (None, LOGGED)])
async def test_a_logged_model_by_its_own_id(run: str | None, identity: str) -> None:
    info = {"model_id": LOGGED, "name": "model", "source_run_id": run, "status": "LOGGED_MODEL_READY"}
    found = await mlflow(answers((200, {"model": {"info": info}}))).logged_model(LoggedModelReference(LOGGED))
    assert (found.run_id, found.model_uri, found.model_name) == (identity, f"models:/{LOGGED}", None)


async def test_a_logged_model_that_is_not_finished_is_missing() -> None:
    info = {"model_id": LOGGED, "status": "LOGGED_MODEL_UPLOAD_FAILED"}
    with pytest.raises(MissingError, match="is LOGGED_MODEL_UPLOAD_FAILED"):
        await mlflow(answers((200, {"model": {"info": info}}))).logged_model(LoggedModelReference(LOGGED))


async def test_a_logged_model_is_tagged_by_its_own_call() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={})

    await mlflow(answer).tag_logged_model(LOGGED, "fairlead.ml.fraud", "Serving")
    assert (asked[0].method, asked[0].url.path) == ("PATCH", f"/api/2.0/mlflow/logged-models/{LOGGED}/tags")
    assert json.loads(asked[0].content) == {"tags": [{"key": "fairlead.ml.fraud", "value": "Serving"}]}


FOREIGN = [{"hello": 1}, {"run": 1}, {"run": {}}, {"model_version": []}, {"registered_model": None}, {"model": {}}, []]


@pytest.mark.parametrize("body", FOREIGN, ids=str)
async def test_an_answer_in_another_form_is_no_answer(body: Any) -> None:
    """Such as a proxy's: it is told, and asked again."""
    for ask in (
        lambda found: found.registered_model("fraud"),
        lambda found: found.version(VersionReference("fraud", "3")),
        lambda found: found.run(RUN),
        lambda found: found.logged_model(LoggedModelReference(LOGGED)),
    ):
        with pytest.raises(UnavailableError, match="MLflow at http://mlflow:5000"):
            await ask(mlflow(answers((200, body))))


@pytest.mark.parametrize("history", ["{", "3", "[1]", '{"a": 1}'])
async def test_a_tag_that_somebody_else_wrote_is_no_list_of_models(history: str) -> None:
    tag = {"key": "mlflow.log-model.history", "value": history}
    with pytest.raises(MissingError, match="it has none"):
        await mlflow(answers(run_with(data={"tags": [tag]}))).run(RUN)


async def test_a_registered_model_says_what_all_its_aliases_mean() -> None:
    aliases = [{"alias": "champion", "version": "3"}, {"alias": "Old", "version": 1}]
    newest = [{"version": "9", "current_stage": "Production"}, {"version": "10", "current_stage": "None"}]
    raw = {"name": "fraud", "creation_timestamp": 17, "aliases": aliases, "latest_versions": newest}
    found = await mlflow(answers((200, {"registered_model": raw}))).registered_model("fraud")
    assert found.created == 17
    assert [found.version_of(alias) for alias in ("champion", "Old", "old", "latest")] == ["3", "1", None, "10"]


async def test_a_registered_model_without_versions() -> None:
    found = await mlflow(answers((200, {"registered_model": {"name": "fraud"}}))).registered_model("fraud")
    assert found.version_of("champion") is found.version_of("latest") is None


@pytest.mark.parametrize("version", [{"run_id": ""}, {"run_id": RUNS[0], "status": "PENDING_REGISTRATION"}])
async def test_versions_that_cannot_be_served(version: dict[str, str]) -> None:
    answer = (200, {"model_version": {"name": "fraud", "version": "3", **version}})
    with pytest.raises(MissingError, match="fraud version 3"):
        await mlflow(answers(answer)).version(VersionReference("fraud", "3"))


async def test_what_mlflow_does_not_know_is_missing() -> None:
    for status, code in ((404, "RESOURCE_DOES_NOT_EXIST"), (400, "INVALID_PARAMETER_VALUE")):
        with pytest.raises(MissingError, match=RUNS[0]):
            await mlflow(answers((status, NOT_FOUND | {"error_code": code}))).run(RUN)


@pytest.mark.parametrize(
    "answer", [(500, {"error_code": "INTERNAL_ERROR"}), (200, "<html>"), (403, "Invalid Host header")]
)
async def test_anything_else_may_pass_and_is_about_this_question(answer: tuple[int, Any]) -> None:
    with pytest.raises(UnavailableError, match="mlflow:5000") as caught:
        await mlflow(answers(answer)).run(RUN)
    assert not caught.value.down


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_an_overload_is_everybodys(status: int) -> None:
    with pytest.raises(UnavailableError) as caught:
        await mlflow(answers((status, "<html>"))).run(RUN)
    assert caught.value.down


async def test_no_answer_may_pass() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(UnavailableError, match="connection refused") as caught:
        await mlflow(refuse).run(RUN)
    assert caught.value.down


async def test_credentials_are_sent() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(404, json=NOT_FOUND)

    for credentials in ({"auth": ("me", "secret")}, {"token": "t"}):
        with pytest.raises(MissingError):
            await mlflow(answer, **credentials).run(RUN)
    assert seen[0].startswith("Basic ")
    assert seen[1] == "Bearer t"


async def test_tags_are_set_by_post_and_an_empty_answer_is_enough() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path, json.loads(request.content)))
        return httpx.Response(200, json={})

    adapter = mlflow(answer)
    await adapter.tag_version("fraud", "3", "fairlead.ml.fraud", "Serving")
    await adapter.tag_run(RUNS[0], "fairlead.ml.fraud", "Serving")
    tag = {"key": "fairlead.ml.fraud", "value": "Serving"}
    assert seen == [
        ("POST", "/api/2.0/mlflow/model-versions/set-tag", {"name": "fraud", "version": "3", **tag}),
        ("POST", "/api/2.0/mlflow/runs/set-tag", {"run_id": RUNS[0], **tag}),
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((404, NOT_FOUND), MissingError),
        ((403, {"error_code": "PERMISSION_DENIED"}), UnavailableError),
        ((200, "<html>sign in</html>"), UnavailableError),
    ],
)
async def test_a_tag_that_is_not_taken(answer: tuple[int, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="fraud 3"):
        await mlflow(answers(answer)).tag_version("fraud", "3", "key", "value")
