"""Metrics with closed label sets, spans that follow the caller's trace, logs of one JSON object a line."""

import asyncio
import io
import json
import logging
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fairlead_service import contract
from fairlead_service.api.metrics import wants_openmetrics
from fairlead_service.api.services import Commands
from fairlead_service.observability import logs, sampling, stalls, tracing
from fairlead_service.observability.summary import quantile
from fairlead_service.settings import Settings
from tests.unit.service.support import RUN_A, X, api_settings, fake, logged, running, tree, write_bundle

BODY = {"features": X.tolist()}
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-1] + "0"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with logged() as output:
        yield output


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_requests_are_counted_by_route_template(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as (client, _):
        for method, path in [
            ("GET", "/health"),
            ("GET", "/model/load/x"),
            ("POST", "/model/load/x"),
            ("POST", "/model/load/y"),
            ("GET", "/secret/1"),
            ("GET", "/secret/2"),
            ("BREW", "/pot"),
            ("GET", "/docs"),
        ]:
            await client.request(method, path)
        text = (await client.get("/metrics")).text
    counts = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in text.splitlines()}
    assert counts['http_requests_total{method="GET",path="/health",status="200"}'] == "1.0"
    assert counts['http_requests_total{method="GET",path="/model/load/{run_id}",status="405"}'] == "1.0"
    assert counts['http_requests_total{method="POST",path="/model/load/{run_id}",status="422"}'] == "2.0"
    assert counts['http_requests_total{method="GET",path="unmatched",status="404"}'] == "2.0"
    assert counts['http_requests_total{method="other",path="unmatched",status="404"}'] == "1.0"
    assert counts['http_requests_total{method="GET",path="/docs",status="200"}'] == "1.0"
    assert counts["http_requests_in_progress"] == "0.0"  # the scrape itself is not counted
    for name in ("http_request_duration_seconds_bucket", "process_resident_memory_bytes", "python_info"):
        assert name in text


async def test_nothing_that_a_client_thinks_of_makes_a_time_series(tmp_path: Path) -> None:
    hostile = ["/%s", "/model/load/%s", "/v2/models/%s/infer", "/docs/%s", "/predict/%s", "/%%0A%s"]
    async with running(api_settings(tmp_path)) as (client, services):

        async def ask(numbers: range) -> int:
            for number in numbers:
                path = hostile[number % len(hostile)] % f"invented-{number}"
                method = ("GET", "POST", f"M{number}")[number % 3]
                await client.request(method, path, headers={"x-request-id": f"{number}", "traceparent": f"{number}"})
            return sum(len(family.samples) for family in services.metrics.registry.collect())

        first = await ask(range(100))
        assert await ask(range(100, 1_100)) == first
        text = (await client.get("/metrics")).text
        assert "invented" not in text
        assert len(services.metrics._children) < 100
        assert (await client.get("/metrics/summary")).json()["errors"]["count"] == 1_100


async def test_predictions_trainings_and_loads_are_measured(tmp_path: Path) -> None:
    source = write_bundle(tmp_path / "source", tree()).directory
    commands = Commands(load=fake("succeed", source), train=fake("fail", "TrainingFailed", "no"))
    async with running(api_settings(tmp_path), commands) as (client, _):
        await client.post(f"/model/load/{RUN_A}")
        await client.post("/predict", json=BODY)
        await client.post("/predict", json=BODY | {"features": X[0].tolist()})
        train = {"data": X.tolist(), "target": [0, 0, 1, 1], "algorithm": "random_forest"}
        assert (await client.post("/train", json=train)).status_code == 500
        text = (await client.get("/metrics")).text
        for line in (
            "prediction_time_seconds_count 2.0",
            "prediction_batch_size_sum 5.0",
            'training_time_seconds_count{algorithm="random_forest",outcome="failed"} 1.0',
            'model_load_seconds_count{outcome="succeeded"} 1.0',
            f'model_info{{backend="sklearn",model="",run_id="{RUN_A}",version=""}} 1.0',
        ):
            assert line in text.splitlines()
        summary = (await client.get("/metrics/summary")).json()
        assert summary["predictions"]["rows"] == 5
        assert summary["predictions"]["model_calls"] == 2
        latency = summary["predictions"]["request_milliseconds"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
        assert summary["predictions"]["requests"] == 2
        assert summary["predictions"]["rows_per_call"] == 2.5
        assert 0 < latency["mean"] < 10_000
        (training,) = summary["trainings"]
        assert (training["algorithm"], training["outcome"], training["count"]) == ("random_forest", "failed", 1)
        (load,) = summary["loads"]
        assert (load["outcome"], load["count"]) == ("succeeded", 1)
        assert load["mean_seconds"] > 0
        assert (summary["model"]["run_id"], summary["model"]["estimator"]) == (RUN_A, "sklearn.DecisionTreeClassifier")
        assert summary["model"]["proof"]["verdict"] == "loaded"
        assert (summary["answered"], summary["in_flight"]) == (4, 0)  # a scrape is no user's request
        assert summary["errors"] == {"count": 1, "share": 0.25, "by_status": [{"status": 500, "count": 1}]}
        assert "does not say how its training data" in summary["drift"]["why_none"]
        assert {"method": "POST", "path": "/predict", "status": 200, "count": 2} in summary["requests"]


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_its_rank(counts: list[int], q: float) -> None:
    bounds = [float(i + 1) for i in range(len(counts) - 1)] + [math.inf]
    cumulative = [float(sum(counts[: i + 1])) for i in range(len(counts))]
    estimate = quantile(bounds, cumulative, q)
    if sum(counts) == 0:
        assert estimate is None
        return
    values = [bound for bound, count in zip(bounds, counts, strict=True) for _ in range(count)]
    bucket = values[math.ceil(q * len(values)) - 1]
    assert estimate is not None
    assert estimate == bounds[-2] if math.isinf(bucket) else bucket - 1 <= estimate <= bucket


async def test_loads_requests_to_the_bundle_cache_are_counted(tmp_path: Path, stream: io.StringIO) -> None:
    made = write_bundle(tmp_path / "b", tree(), RUN_A)
    commands = Commands(load=fake("succeed_from_a_cache", "error", made.directory))
    async with running(Settings(data_dir=tmp_path / "data"), commands) as (client, _):
        assert (await client.post(f"/model/load/{RUN_A}")).status_code == 200
        text = (await client.get("/metrics")).text
    counted = {line for line in text.splitlines() if line.startswith("bundle_cache_requests_total")}
    assert 'bundle_cache_requests_total{outcome="error"} 1.0' in counted
    assert 'bundle_cache_requests_total{outcome="hit"} 0.0' in counted
    assert [line["level"] for line in lines(stream) if line["message"] == "what became of it"] == ["warning"]


async def test_two_applications_share_nothing(tmp_path: Path) -> None:
    async with (
        running(api_settings(tmp_path, data_dir=tmp_path / "1")) as (one, _),
        running(api_settings(tmp_path, data_dir=tmp_path / "2")) as (two, _),
    ):
        await one.get("/nope")
        assert 'status="404"' not in (await two.get("/metrics")).text


class Traced:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = tracing.from_environment("fairlead-test", SimpleSpanProcessor(self.exporter))

    def spans(self) -> dict[str, Any]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


async def test_spans_follow_the_callers_trace_and_exemplars_lead_to_it(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", tree())
    traced = Traced()
    settings = Settings(role="predictor", bundle_dir=tmp_path / "b")
    async with running(settings, tracing=traced.tracing) as (client, _):
        await client.post("/predict", json=BODY, headers={"traceparent": PARENT})
        text = (await client.get("/metrics", headers=OPENMETRICS)).text
    spans = traced.spans()
    request, predict = spans["POST /predict"], spans["predict"]
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert predict.parent.span_id == request.context.span_id
    assert request.attributes["http.response.status_code"] == 200
    assert predict.attributes == {
        "fairlead.rows": 4,
        "fairlead.batch_rows": 4,
        "fairlead.run_id": RUN_A,
        "fairlead.backend": "sklearn",
    }
    assert f'# {{trace_id="{PARENT.split("-")[1]}"}}' in text
    assert text.endswith("# EOF\n")


async def test_what_the_caller_does_not_sample_is_not_traced(tmp_path: Path) -> None:
    traced = Traced()
    async with running(api_settings(tmp_path), tracing=traced.tracing) as (client, _):
        await client.get("/health", headers={"traceparent": UNSAMPLED})
        assert "trace_id=" not in (await client.get("/metrics", headers=OPENMETRICS | {"traceparent": UNSAMPLED})).text
    assert traced.spans() == {}


async def test_a_child_gets_its_parent(tmp_path: Path) -> None:
    traced = Traced()
    async with running(api_settings(tmp_path), tracing=traced.tracing) as (_, services):
        with services.tracing.span("load", {}) as span:
            environment = services.tracing.child_environment()
    assert environment["TRACEPARENT"].split("-")[2] == f"{span.get_span_context().span_id:016x}"


async def test_a_child_is_told_that_its_work_is_not_sampled(tmp_path: Path) -> None:
    commands = Commands(load=fake("environment"))
    async with running(api_settings(tmp_path), commands, Traced().tracing) as (client, services):
        seen: list[str] = []
        run = services.children.run

        async def spied(*arguments: Any, **named: Any) -> Any:
            seen.append(named["environment"]["TRACEPARENT"])
            return await run(*arguments, **named)

        services.children.run = spied  # type: ignore[method-assign]
        for parent in (PARENT, UNSAMPLED):
            await client.post(f"/model/load/{RUN_A}", headers={"traceparent": parent})
    assert [parent[-2:] for parent in seen] == ["01", "00"]
    assert seen[0].split("-")[1] == PARENT.split("-")[1]


@pytest.mark.parametrize(
    ("environment", "enabled"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_tracing_is_on_when_an_endpoint_is_set(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], enabled: bool
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = tracing.from_environment("fairlead-api")
    assert made.enabled is enabled
    made.close()


async def test_a_request_is_one_line_with_its_ids(stream: io.StringIO, tmp_path: Path) -> None:
    traced = Traced()
    async with running(api_settings(tmp_path), tracing=traced.tracing) as (client, _):
        answer = await client.get("/model/info", headers={"x-request-id": "mine-1", "traceparent": PARENT})
    assert answer.headers["x-request-id"] == "mine-1"
    (line,) = [line for line in lines(stream) if line["event"] == "request"]
    assert line["request_id"] == "mine-1"
    assert line["trace_id"] == PARENT.split("-")[1]
    assert (line["method"], line["route"], line["status"], line["level"]) == ("GET", "/model/info", 503, "info")
    assert line["service"] == "fairlead-test"
    assert line["timestamp"].endswith("+00:00")


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 65, "é", '"},{'])
async def test_a_request_id_that_is_none_is_replaced(request_id: str, tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as (client, _):
        answer = await client.get("/health", headers=[("x-request-id", request_id.encode())])  # type: ignore[list-item]
    assert len(answer.headers["x-request-id"]) == 32


async def test_train_and_load_are_audited_and_values_never_logged(stream: io.StringIO, tmp_path: Path) -> None:
    commands = Commands(load=fake("crash", 9), train=fake("fail", "InvalidData", "no"))
    async with running(api_settings(tmp_path), commands) as (client, _):
        await client.post(f"/model/load/{RUN_A}")
        rows = [[123456.789], [2.0]]
        await client.post("/train", json={"data": rows, "target": [0, 1], "algorithm": "random_forest"})
        await client.post("/predict", json={"features": rows})
    audits = [line for line in lines(stream) if line["event"] == "audit"]
    assert [(line["action"], line["outcome"], line["problem"]) for line in audits] == [
        ("load", "failed", "child-crashed"),
        ("train", "failed", "invalid-data"),
    ]
    assert all(line["client"] == "127.0.0.1" and line["request_id"] for line in audits)
    assert audits[0]["run_id"] == RUN_A
    assert "123456.789" not in stream.getvalue()
    (error,) = [line for line in lines(stream) if line["event"] == "error"]
    assert "MemoryError" in error["stderr"]


async def test_nothing_a_client_sends_forges_a_line(stream: io.StringIO, tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as (client, _):
        await client.get('/x%0A{"event":"audit"}%0A')
    assert [line["event"] for line in lines(stream)].count("audit") == 0


def test_what_json_cannot_say_is_logged_all_the_same(stream: io.StringIO) -> None:
    logs.event("log", "lone \udc80 surrogate", number=2**80, path=Path("/x"))
    logging.getLogger("somebody").warning("a library's %s", "words")
    first, second = lines(stream)
    assert first["message"] == "lone \\udc80 surrogate"
    assert second["message"] == "a library's words"
    assert second["logger"] == "somebody"


async def test_a_bug_is_a_500_that_tells_the_log_and_not_the_client(
    stream: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(api_settings(tmp_path)) as (client, services):

        def broken() -> None:
            raise RuntimeError("the secret")

        monkeypatch.setattr(services.metrics, "summary", broken)
        answer = await client.get("/metrics/summary")
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert "secret" not in answer.text
        assert answer.json()["instance"].endswith(answer.headers["x-request-id"])
        assert 'path="/metrics/summary",status="500"' in (await client.get("/metrics")).text
    (error,) = [line for line in lines(stream) if line["event"] == "error"]
    assert "RuntimeError: the secret" in error["exception"]
    assert error["request_id"] == answer.headers["x-request-id"]


async def test_in_progress_is_what_is_in_flight(predictor: httpx.AsyncClient) -> None:
    async def body(sent: asyncio.Event, go_on: asyncio.Event) -> Any:
        yield b'{"features": '
        sent.set()
        await go_on.wait()
        yield b"[1, 2, 3, 4]}"

    sent, go_on = asyncio.Event(), asyncio.Event()
    request = asyncio.create_task(predictor.post("/predict", content=body(sent, go_on)))
    await sent.wait()
    assert "\nhttp_requests_in_progress 1.0\n" in (await predictor.get("/metrics")).text
    go_on.set()
    assert (await request).status_code == 200
    assert "\nhttp_requests_in_progress 0.0\n" in (await predictor.get("/metrics")).text


async def test_the_metrics_have_the_names_and_buckets_of_the_contract(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", tree())
    async with running(Settings(role="predictor", bundle_dir=bundle.directory)) as (client, _):
        assert (await client.post("/predict", json=BODY)).status_code == 200
        text = (await client.get("/metrics")).text
    answered = 'method="POST",path="/predict",status="200"'
    assert f"{contract.METRIC_REQUESTS}{{{answered}}} 1.0" in text
    assert f"{contract.METRIC_IN_FLIGHT} 0.0" in text
    bounds = re.findall(contract.METRIC_DURATION + r'_bucket\{le="([^"]+)",' + re.escape(answered), text)
    assert [float(bound) * 1000 for bound in bounds[:-1]] == pytest.approx(contract.LATENCY_MILLISECONDS)


async def test_a_held_event_loop_is_seen() -> None:
    late: asyncio.Queue[float] = asyncio.Queue()
    sampler = asyncio.create_task(stalls.sample(late.put_nowait, 0.001))
    await late.get()
    while not late.empty():
        late.get_nowait()
    time.sleep(0.3)  # noqa: ASYNC251 (it is what is to be seen)
    assert await late.get() > 0.25
    sampler.cancel()


async def test_stalls_are_a_histogram(predictor: httpx.AsyncClient) -> None:
    async def timers() -> float:
        (line,) = re.findall(r"event_loop_stall_seconds_count (\S+)", (await predictor.get("/metrics")).text)
        return float(line)

    async with asyncio.timeout(60):
        while await timers() < 3:  # noqa: ASYNC110 (the sampler tells nobody else)
            await asyncio.sleep(stalls.INTERVAL_SECONDS)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("application/openmetrics-text; version=1.0.0", True),
        ("application/openmetrics-text", True),
        (
            'Application/OpenMetrics-Text;Version="1.0.0";escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2',
            True,
        ),
        ("text/plain;version=0.0.4;q=0.3,application/openmetrics-text;version=1.0.0;q=0.2", False),
        ("application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;version=x", False),
        ("application/openmetrics-text;version=1.x.0, application/openmetrics-text;version=1.0.0", True),
        ("application/openmetrics-text;version=99999999999999999999", False),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        ("application/openmetrics-text;version=1.0.0;q=x", False),
        ("application/openmetrics-text;q=0.٣", False),
        ("text/plain;version=²", False),
        ("text/html, */*;q=0.8", False),
        (";;=;,,=", False),
        ("", False),
    ],
)
async def test_metrics_are_in_the_form_that_is_preferred(
    predictor: httpx.AsyncClient, accept: str, openmetrics: bool
) -> None:
    answer = await predictor.get("/metrics", headers={"accept": accept.encode()})
    assert answer.status_code == 200
    kind = answer.headers["content-type"].split(";")[0]
    assert kind == ("application/openmetrics-text" if openmetrics else "text/plain")
    assert answer.text.endswith("# EOF\n") is openmetrics


@given(st.text(st.characters(max_codepoint=255)) | st.text('applictonexm/-;=,qversn 0.1"', max_size=80))
def test_any_accept_is_understood_or_passed_over(accept: str) -> None:
    assert wants_openmetrics(accept) in (True, False)
    assert (
        wants_openmetrics(f"{accept.replace(chr(34), '')},application/openmetrics-text;q=1") or "text/plain" in accept
    )


@pytest.mark.parametrize(
    ("general", "traces", "expected"),
    [
        ("http://otel:4318", "", "http://otel:4318/v1/traces"),
        ("http://otel:4318/", "", "http://otel:4318/v1/traces"),
        ("http://otel:4318/v1/traces", "", "http://otel:4318/v1/traces"),
        ("http://otel:4318/v1/traces/", "", "http://otel:4318/v1/traces"),
        ("http://otel:4318/prefix", "", "http://otel:4318/prefix/v1/traces"),
        ("http://otel:4318", "http://other:1/x", "http://other:1/x"),
        ("", "http://other:1", "http://other:1"),
        ("", "", None),
    ],
)
def test_where_spans_are_sent(general: str, traces: str, expected: str | None) -> None:
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": general, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": traces}
    assert sampling.address(named) == expected


def test_an_address_is_shown_without_its_password() -> None:
    assert sampling.shown("https://user:secret@otel:4318/v1/traces?token=secret") == "https://otel:4318/v1/traces"
    assert sampling.shown(None) == "no address"
