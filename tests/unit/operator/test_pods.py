"""What pods answer, and what others answer in their place. `tests/integration/service` asks real servers."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator import reports
from fairlead_operator.api import Reason
from fairlead_operator.desired.access import Contact
from fairlead_operator.pods import MAX_ANSWER_BYTES, AnswerError, Pods, UnreachableError
from fairlead_operator.reports import FailedLoad, Loading, Samples
from tests.unit.operator.samples import RUNS, model

INFO = {"run_id": RUNS[0], "model_name": "fraud", "model_version": "3", "task": "classification"}
KEYS = (*INFO, "input_example", "previous", "loading", "failed_load", "features", "columns", "predictions")
ANSWER = {"run_id": RUNS[0], "predictions": [0, "b", 1.5]}
PROBLEM = {"type": "urn:fairlead:problem:unauthorized", "title": "…", "status": 401, "detail": "send the token"}


OPEN = Contact()


def pods(answer: Callable[[httpx.Request], httpx.Response]) -> Pods:
    adapter = Pods()
    adapter._client._transport = httpx.MockTransport(answer)
    return adapter


def answering(body: Any, status: int = 200) -> tuple[Pods, list[httpx.Request]]:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, content=body if isinstance(body, bytes) else json.dumps(body))

    return pods(answer), seen


async def test_a_pod_of_before_hot_swap_is_understood() -> None:
    found = await answering(INFO)[0].info("10.0.0.1", OPEN)
    assert (found.run_id, found.model_name, found.model_version) == (RUNS[0], "fraud", "3")
    assert (found.input_example, found.previous, found.loading, found.failed_load) == (None,) * 4


async def test_a_load_that_runs_or_has_failed_is_reported() -> None:
    failed = {"run_id": RUNS[1], "reason": "ModelRefused", "message": "a pickle", "at": "2026-11-23T12:00:00Z"}
    more = {"previous": RUNS[2], "loading": {"run_id": RUNS[3], "stage": "fetch"}, "failed_load": failed}
    found = await answering(INFO | more | {"input_example": [[1, None], [2.5, 3]]})[0].info("10.0.0.1", OPEN)
    assert (found.previous, found.loading) == (RUNS[2], Loading(RUNS[3], "fetch"))
    assert found.failed_load == FailedLoad(
        RUNS[1], Reason.MODEL_REFUSED, "a pickle", datetime(2026, 11, 23, 12, tzinfo=UTC)
    )
    assert found.input_example == ((1.0, None), (2.5, 3.0))


async def test_a_load_names_the_model_and_does_not_wait() -> None:
    adapter, seen = answering({"status": "loading", "run_id": RUNS[1]}, 202)
    await adapter.load("fd00::1", model(RUNS[1], model_name="fraud", model_version="7"), Contact("s3cret"))
    (request,) = seen
    assert (request.method, request.url.host, request.url.port) == ("POST", "fd00::1", 8000)
    assert request.url.path == f"/model/load/{RUNS[1]}"
    assert dict(request.url.params) == {
        "model_uri": f"runs:/{RUNS[1]}/model",
        "model_name": "fraud",
        "model_version": "7",
        "wait": "false",
    }
    assert request.headers["Authorization"] == "Bearer s3cret"


async def test_replayed_rows_are_marked_and_may_have_names() -> None:
    adapter, seen = answering(ANSWER)
    answer = await adapter.predict("10.0.0.1", [(1.0, None)], OPEN, columns=("age", "income"))
    assert (answer.run_id, answer.predictions) == (RUNS[0], (0, "b", 1.5))
    assert answer.seconds > 0
    await adapter.predict("10.0.0.1", [(float("nan"), 2.0)], OPEN)
    assert [json.loads(request.content) for request in seen] == [
        {"features": [{"age": 1.0, "income": None}]},
        {"features": [[None, 2.0]]},
    ]
    assert {request.headers["Fairlead-Replay"] for request in seen} == {"1"}
    assert all("Authorization" not in request.headers for request in seen)


async def test_samples_are_none_where_none_are_kept() -> None:
    adapter, seen = answering({"features": [[1, None]], "columns": ["a", "b"]})
    assert await adapter.samples("10.0.0.1", 5, Contact("t")) == Samples(((1.0, None),), ("a", "b"))
    assert seen[0].url.params["rows"] == "5"
    missing = PROBLEM | {"type": "urn:fairlead:problem:not-found", "status": 404}
    assert await answering(missing, 404)[0].samples("10.0.0.1", 5, OPEN) == Samples()


async def test_a_refusal_says_which() -> None:
    with pytest.raises(AnswerError, match="401 unauthorized: send the token") as caught:
        await answering(PROBLEM, 401)[0].load("10.0.0.1", model(), Contact("wrong"))
    assert (caught.value.status, caught.value.problem) == (401, "unauthorized")
    with pytest.raises(AnswerError, match=r"operator\.loadKey"):
        await answering(PROBLEM, 401)[0].samples("10.0.0.1", 1, OPEN)
    with pytest.raises(AnswerError, match="502: <html>") as caught:
        await answering(b"<html>", 502)[0].info("10.0.0.1", OPEN)
    assert caught.value.problem == ""


def shedding(times: int, retry_after: str = "0") -> tuple[Pods, list[httpx.Request]]:
    """A pod that has too much to do for so many requests."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) > times:
            return httpx.Response(200, content=json.dumps(ANSWER))
        problem = {"type": "urn:fairlead:problem:overloaded", "title": "…", "status": 429, "detail": "too many"}
        return httpx.Response(429, content=json.dumps(problem), headers={"Retry-After": retry_after})

    return pods(answer), seen


async def test_a_replay_that_is_shed_is_sent_once_more() -> None:
    adapter, seen = shedding(1)
    assert (await adapter.predict("10.0.0.1", [(1.0,)], OPEN)).run_id == RUNS[0]
    assert len(seen) == 2
    adapter, seen = shedding(2)
    with pytest.raises(AnswerError, match="429 overloaded: too many") as caught:
        await adapter.predict("10.0.0.1", [(1.0,)], OPEN)
    assert (caught.value.shed, caught.value.retry_after, len(seen)) == (True, 0, 2)


@pytest.mark.parametrize("retry_after", ["3600", "Wed, 25 Nov 2026 07:28:00 GMT", "-1", ""])
async def test_a_replay_does_not_come_back_whenever_it_is_told(retry_after: str) -> None:
    adapter, seen = shedding(1, retry_after)
    with pytest.raises(AnswerError, match="429"):
        await adapter.predict("10.0.0.1", [(1.0,)], OPEN)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"{}", b'{"run_id": 1, "task": "x", "input_example": [["a"]]}']
)
async def test_what_no_pod_says_is_no_answer(body: bytes) -> None:
    with pytest.raises(UnreachableError, match=r"http://10\.0\.0\.1:8000/model/info"):
        await answering(body)[0].info("10.0.0.1", OPEN)


async def test_an_endless_answer_is_not_read() -> None:
    bomb = gzip.compress(b" " * (MAX_ANSWER_BYTES + 1))
    with pytest.raises(UnreachableError, match="longer than"):
        await pods(lambda _: httpx.Response(200, content=bomb, headers={"Content-Encoding": "gzip"})).info(
            "10.0.0.1", OPEN
        )


async def test_a_pod_that_hangs_is_not_waited_for() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    adapter = Pods(server.sockets[0].getsockname()[1])
    with pytest.raises(UnreachableError, match="no answer"):
        await adapter.predict("127.0.0.1", [(1.0,)], OPEN, seconds=0.1)
    await adapter.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(UnreachableError, match="no answer"):
        await Pods(port=1).info("127.0.0.1", OPEN)


@given(st.data())
def test_any_json_is_read_or_refused(data: st.DataObject) -> None:
    values = st.sampled_from([None, True, 1, -2.5, "x", [], [[1, None]], [["a"]], {}, {"run_id": "a"}])
    raw = data.draw(values | st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, values)))
    for reader in (reports.INFO, reports.SAMPLES, reports.PREDICTIONS):
        for found in (raw, {**INFO, **ANSWER, **raw} if isinstance(raw, dict) else None):
            with contextlib.suppress(ValueError):
                reader.validate_json(json.dumps(found))
