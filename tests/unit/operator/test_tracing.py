"""Traces: of what is done, in OpenTelemetry's own form, and nothing of it when nobody wants them."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fairlead_operator import tracing
from fairlead_operator.logs import JsonFormatter
from fairlead_operator.mlflow import MLflow, UnavailableError


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    found = InMemorySpanExporter()
    tracing.configure({}, SimpleSpanProcessor(found))
    yield found
    tracing.close()


def named(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def logged() -> dict[str, str]:
    line: dict[str, str] = json.loads(
        JsonFormatter().format(logging.makeLogRecord({"msg": "x", "levelno": logging.INFO}))
    )
    return line


def test_calls_of_a_reconcile_are_below_it(spans: InMemorySpanExporter) -> None:
    async def apply(kind: str) -> None:
        with tracing.call(f"apply {kind}", {"url.path": "/apis"}):
            await asyncio.sleep(0)

    async def reconcile() -> None:
        with tracing.work("reconcile", "ml", "fraud"):
            await asyncio.gather(apply("Deployment"), apply("Service"))

    asyncio.run(reconcile())
    found = named(spans)
    root = found["reconcile"]
    assert root.attributes == {"namespace": "ml", "name": "fraud", "result": "ok"}
    assert root.parent is None
    for kind in ("Deployment", "Service"):
        child = found[f"apply {kind}"]
        assert child.parent is not None
        assert root.context is not None
        assert child.parent.span_id == root.context.span_id
        assert child.attributes == {"url.path": "/apis"}
    assert root.start_time is not None
    assert root.start_time <= min(span.start_time or 0 for span in found.values())


def test_work_that_calls_nobody_has_no_trace(spans: InMemorySpanExporter) -> None:
    with tracing.work("reconcile", "ml", "fraud"):
        assert tracing.identity() == tracing.headers() == {}
    with tracing.call("ask MLflow"):
        assert tracing.headers() == {}, "a poll is no work for anybody"
    assert spans.get_finished_spans() == ()


def test_errors_are_on_the_call_and_on_the_work(spans: InMemorySpanExporter) -> None:
    with (
        pytest.raises(RuntimeError),
        tracing.work("reconcile", "ml", "fraud"),
        tracing.call("apply Deployment"),
    ):
        raise RuntimeError("503: no")
    for span in spans.get_finished_spans():
        assert not span.status.is_ok
        assert span.status.description == "503: no"
        assert (span.attributes or {})["error.type"] == "RuntimeError"
    assert (named(spans)["reconcile"].attributes or {})["result"] == "error"


def test_what_goes_on_after_its_work_is_no_part_of_it(spans: InMemorySpanExporter) -> None:
    async def later() -> None:
        await asyncio.sleep(0.01)
        with tracing.call("late"):
            assert tracing.identity() == {}
        with tracing.work("measure", "ml", "fraud"), tracing.call("ask pod"):
            pass

    async def reconcile() -> None:
        with tracing.work("reconcile", "ml", "fraud"), tracing.call("apply Deployment"):
            task = asyncio.create_task(later())
        await task

    asyncio.run(reconcile())
    found = named(spans)
    assert found.keys() == {"reconcile", "apply Deployment", "measure", "ask pod"}
    assert found["measure"].parent is None
    assert len({span.context.trace_id for span in found.values() if span.context}) == 2


def test_log_lines_and_callees_know_the_trace(spans: InMemorySpanExporter) -> None:
    with tracing.work("reconcile", "ml", "fraud"):
        assert "trace_id" not in logged()
        with tracing.call("ask MLflow"):
            inside, headers = logged(), tracing.headers()
        after = logged()
    found = named(spans)
    root, child = found["reconcile"].context, found["ask MLflow"].context
    assert root is not None
    assert child is not None
    assert (inside["trace_id"], inside["span_id"]) == (f"{child.trace_id:032x}", f"{child.span_id:016x}")
    assert (after["trace_id"], after["span_id"]) == (f"{root.trace_id:032x}", f"{root.span_id:016x}")
    assert headers["traceparent"].startswith(f"00-{child.trace_id:032x}-{child.span_id:016x}-")
    assert int(headers["traceparent"][-2:], 16) & 1, "sampled"
    assert "trace_id" not in logged()


def test_what_is_not_sampled_is_not_sampled_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    found = InMemorySpanExporter()
    tracing.configure({}, SimpleSpanProcessor(found))
    try:
        with tracing.work("reconcile", "ml", "fraud"), tracing.call("ask pod"):
            assert not int(tracing.headers()["traceparent"][-2:], 16) & 1
            assert tracing.identity() == {}
    finally:
        tracing.close()
    assert found.get_finished_spans() == ()


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP, and whatever else is sent with a `traceparent`."""

    spans: list[str]
    parents: list[str | None]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.parents.append(self.headers.get("traceparent"))
        if self.path == "/v1/traces":
            sent = ExportTraceServiceRequest.FromString(body)
            self.spans += [
                span.name for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans
            ]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[tuple[type[Collector], str]]:
    kept = type("Kept", (Collector,), {"spans": [], "parents": []})
    server = HTTPServer(("127.0.0.1", 0), kept)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kept, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_arrive_as_otlp(collector: tuple[type[Collector], str], monkeypatch: pytest.MonkeyPatch) -> None:
    kept, url = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    tracing.configure({"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    with tracing.work("reconcile", "ml", "fraud"), tracing.call("apply Deployment"):
        pass
    tracing.close()
    assert sorted(kept.spans) == ["apply Deployment", "reconcile"]


async def test_mlflow_gets_the_traceparent(collector: tuple[type[Collector], str], spans: InMemorySpanExporter) -> None:
    kept, url = collector
    mlflow = MLflow(url)
    try:
        with tracing.work("reconcile", "ml", "fraud"), pytest.raises(UnavailableError):
            await mlflow._request("POST", "runs/set-tag", "run", json={})
    finally:
        await mlflow.close()
    span = named(spans)["ask MLflow"]
    assert span.context is not None
    (parent,) = kept.parents
    assert parent is not None
    assert parent.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert span.attributes is not None
    assert span.attributes["url.path"] == "runs/set-tag"


def test_a_backend_that_does_not_answer_holds_up_nobody(
    collector: tuple[type[Collector], str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept, url = collector
    asked, let_go, answer = threading.Event(), threading.Event(), kept.do_POST

    def held(self: Collector) -> None:
        asked.set()
        let_go.wait()
        answer(self)

    kept.do_POST = held  # type: ignore[method-assign]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    tracing.configure({"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    for _ in range(5000):
        with tracing.work("reconcile", "ml", "fraud"), tracing.call("apply Deployment"):
            pass
    assert asked.wait(60)
    tracing.close()
    (last,) = [thread for thread in threading.enumerate() if thread.name == "last-spans"]  # the backend still holds it
    assert kept.spans == []
    let_go.set()
    last.join(60)
    assert kept.spans
    assert not caplog.records


def test_a_backend_that_is_away_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = "http://127.0.0.1:9"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    tracing.configure({"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    for _ in range(100):
        with tracing.work("reconcile", "ml", "fraud"), tracing.call("apply Deployment"):
            pass
    deadline = time.monotonic() + 60
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.05)  # the exporter's thread gives no sign but its line
    tracing.close()
    assert [record.name for record in caplog.records] == ["fairlead_operator.exporter"]
    assert "Traces are not taken" in caplog.text


def test_nothing_is_imported_when_nobody_wants_traces() -> None:
    code = (
        "import os, sys; from fairlead_operator import program, tracing; tracing.configure(os.environ)\n"
        "with tracing.work('reconcile', 'ml', 'fraud'), tracing.call('apply Deployment'):\n"
        "    assert tracing.identity() == tracing.headers() == {}\n"
        "tracing.close()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert done.stdout == "[]\n"
