"""Prometheus' HTTP API, over a real socket; the queries meet a real Prometheus in the cluster tests."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import promql_parser
import pytest
from aiohttp import web

from fairlead_operator.checks import Sample
from fairlead_operator.drift import Reading
from fairlead_operator.prometheus import Prometheus, PrometheusError


class Server:
    """Answers each query by the first word that it holds."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {
            "count(count_over_time": "1",
            'status=~"5..|429|422"': "3",
            "histogram_quantile": "0.812",
            "http_requests_total": "120.5",
        }
        self.queries: list[str] = []
        self.raw: tuple[int, str] | None = None

    async def answer(self, request: web.Request) -> web.Response:
        query = parse_qs(await request.text())["query"][0]
        self.queries.append(query)
        if self.raw:
            return web.Response(status=self.raw[0], text=self.raw[1])
        value = next(value for word, value in self.values.items() if word in query)
        if isinstance(value, list):
            found = [{"metric": metric, "value": [0, number]} for metric, number in value]
            return web.json_response({"status": "success", "data": {"resultType": "vector", "result": found}})
        result = [] if value is None else [{"metric": {}, "value": [0, value]}]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    found, app = Server(), web.Application()
    app.router.add_post("/api/v1/query", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield found, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def sample(url: str, *pods: str) -> Sample:
    client = Prometheus(url)
    try:
        return await client.sample("ml", pods or ("fraud-1",), 60)
    finally:
        await client.close()


async def test_requests_failures_and_latency(server: tuple[Server, str]) -> None:
    fake, url = server
    assert await sample(url, "fraud-1", "fraud-2") == Sample(120.5, 3.0, 812.0)
    for query in fake.queries:
        promql_parser.parse(query)
        assert 'namespace="ml",pod=~"fraud-1|fraud-2"' in query
        assert "[60s]" in query


@pytest.mark.parametrize("nothing", [None, "NaN"])
async def test_no_requests_are_none(server: tuple[Server, str], nothing: str | None) -> None:
    fake, url = server
    fake.values |= dict.fromkeys(("http_requests_total", 'status=~"5..|429|422"', "histogram_quantile"), nothing)
    assert await sample(url) == Sample(0.0, 0.0, None)


async def test_pods_that_are_not_scraped_cannot_be_judged(server: tuple[Server, str]) -> None:
    fake, url = server
    fake.values["count(count_over_time"] = None
    with pytest.raises(PrometheusError, match="has not scraped fraud-1"):
        await sample(url)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (503, "starting up"),
        (200, "<html>a login page</html>"),
        (200, '{"status": "success"}'),
        (422, '{"status": "error", "error": "query timed out"}'),
        (200, "[]"),
    ],
)
async def test_other_answers_are_errors(server: tuple[Server, str], status: int, text: str) -> None:
    fake, url = server
    fake.raw = (status, text)
    with pytest.raises(PrometheusError, match="http://127"):
        await sample(url)


async def test_nobody_there_is_an_error() -> None:
    with pytest.raises(PrometheusError, match="does not answer"):
        await sample("http://127.0.0.1:9")


async def test_the_drift_of_all_models_is_one_query(server: tuple[Server, str]) -> None:
    fake, url = server
    fraud = {"namespace": "ml", "model_deployment": "fraud"}
    fake.values = {
        "feature_drift_psi": [
            ({"namespace": "ml", "model_deployment": "churn", "part": "worst"}, "0.07"),
            (fraud | {"part": "worst"}, "0.41"),
            (fraud | {"part": "feature", "feature": "age"}, "0.26"),
            (fraud | {"part": "predictions"}, "0.3"),
            (fraud | {"part": "feature", "feature": "petal_width"}, "0.41"),
            (fraud | {"part": "rows"}, "1000"),
            ({"namespace": "ml", "model_deployment": "odd", "part": "worst"}, "NaN"),
        ]
    }
    client = Prometheus(url)
    try:
        found = await client.drift()
    finally:
        await client.close()
    assert found == {
        ("ml", "churn"): Reading(0.07),
        ("ml", "fraud"): Reading(0.41, (("petal_width", 0.41), ("predictions", 0.3), ("age", 0.26)), 1000),
    }
    (query,) = fake.queries
    promql_parser.parse(query)
    assert query.count('track!="candidate"') == 5


async def test_no_drift_anywhere_is_an_answer_and_an_error_is_none(server: tuple[Server, str]) -> None:
    fake, url = server
    fake.values = {"feature_drift_psi": []}
    client = Prometheus(url)
    try:
        assert await client.drift() == {}
        fake.raw = (503, "starting up")
        with pytest.raises(PrometheusError):
            await client.drift()
    finally:
        await client.close()
