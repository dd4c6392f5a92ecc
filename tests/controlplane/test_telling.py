"""What the operator tells those who run it: metrics of what is wrong, audit lines, drift, traces. API server and MLflow
are real; Prometheus and the traces' backend are there as far as their HTTP APIs are asked."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.controlplane.cluster import Api, Kubelet, Operator, Registry, await_true, condition, md, up_to_date
from tools.localcluster.controlplane import ControlPlane

REST_SECONDS = 4
REQUIRED = {"timestamp", "level", "event", "message", "service", "logger"}


def lines(operator: Operator, namespace: str) -> list[dict[str, Any]]:
    """Audit lines about one namespace."""
    found = [json.loads(line) for line in operator.log.read_text().splitlines()]
    assert all(line.keys() >= REQUIRED for line in found)
    return [line for line in found if line["event"] == "audit" and line["namespace"] == namespace]


def samples(operator: Operator, name: str) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.port}/metrics", timeout=5) as answer:
        return [line for line in answer.read().decode().splitlines() if line.startswith(f"{name}{{")]


def verdicts(operator: Operator, verdict: str) -> float:
    (line,) = (one for one in samples(operator, "fairlead_rollouts_total") if f'"{verdict}"' in one)
    return float(line.rsplit(" ", 1)[1])


def test_what_is_wrong_is_a_series_and_a_roll_out_counts_once(
    api: Api, operator: Operator, registry: Registry, kubelet: Kubelet, namespace: str
) -> None:
    promoted, rejected = verdicts(operator, "promoted"), verdicts(operator, "rejected")
    good, bad = registry.run(), registry.run()
    kubelet.fates[bad] = {"reason": "ModelCorrupt", "message": "model.skops is truncated"}
    api.create("md", md(namespace, "fraud", good))
    api.wait("md", namespace, "fraud", up_to_date)
    about = f'name="fraud",namespace="{namespace}"'

    def problems() -> list[str]:
        return [one for one in samples(operator, "fairlead_modeldeployment_problem") if about in one]

    await_true(lambda: not problems(), "a resource that is well is named")
    api.patch("md", namespace, "fraud", {"spec": {"model": {"runID": bad}}})
    api.wait("md", namespace, "fraud", lambda found: condition(found, "Stalled"))
    series = f'fairlead_modeldeployment_problem{{condition="UpToDate",{about},reason="ModelCorrupt"}} 1.0'
    await_true(lambda: problems() == [series], "the rejection is not told")
    await_true(lambda: verdicts(operator, "promoted") == promoted + 1, "the first roll-out is not counted")
    assert verdicts(operator, "rejected") == rejected + 1
    rejection = next(line for line in lines(operator, namespace) if line["action"] == "ModelRejected")
    assert rejection["run_id"] == bad
    assert "by" not in rejection

    operator.restart()
    await_true(lambda: problems() == [series], "a new process does not know what is wrong")
    await_true(lambda: operator.metric("fairlead_queue_depth") == 0, "it does not come to rest")
    assert (verdicts(operator, "promoted"), verdicts(operator, "rejected")) == (0, 0), "told before, by the other"
    api.delete("md", namespace, "fraud")
    await_true(lambda: not problems(), "what is gone is still wrong")


def test_who_approves_a_model_is_in_the_audit_log(
    api: Api, operator: Operator, registry: Registry, namespace: str, plane: ControlPlane
) -> None:
    name = f"model-{namespace}"
    registry.alias(name, "champion", registry.version(name, registry.run()))
    registry.version(name, registry.run())
    api.create("md", md(namespace, "fraud", "", model={"uri": f"models:/{name}@champion", "updatePolicy": "Manual"}))
    api.wait("md", namespace, "fraud", up_to_date)
    registry.alias(name, "champion", "2")
    api.wait("md", namespace, "fraud", lambda found: condition(found, "UpToDate").get("reason") == "UpdateAvailable")
    plane.kubectl(
        "annotate", "md/fraud", "-n", namespace, "fairlead.dev/approve=2", "--field-manager=anna", "--overwrite"
    )
    api.wait("md", namespace, "fraud", up_to_date)
    started = [line for line in lines(operator, namespace) if line["action"] == "RolloutStarted"]
    assert [line.get("by") for line in started] == [None, "anna"]


@dataclass
class Outside:
    """Prometheus, which says what `drift` is, and a backend that takes spans, at one address."""

    drift: list[tuple[dict[str, str], str]] = field(default_factory=list)
    asked: int = 0
    spans: list[str] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    url: str = ""

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/v1/traces":
            for one in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.services |= {
                    found.value.string_value for found in one.resource.attributes if found.key == "service.name"
                }
                self.spans += [span.name for scope in one.scope_spans for span in scope.spans]
            return {}
        self.asked += 1
        result = [{"metric": labels, "value": [0, value]} for labels, value in self.drift]
        return {"status": "success", "data": {"resultType": "vector", "result": result}}


@pytest.fixture
def outside() -> Iterator[Outside]:
    found = Outside()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps(found.answer(self.path, self.rfile.read(int(self.headers["Content-Length"])))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def test_drift_is_a_condition_and_one_event(
    api: Api, operator: Operator, registry: Registry, namespace: str, outside: Outside, plane: ControlPlane
) -> None:
    operator.restart(PROMETHEUS_URL=outside.url, DRIFT_POLL_SECONDS="0.5")
    try:
        api.create("md", md(namespace, "fraud", registry.run()))
        resource = api.wait(
            "md", namespace, "fraud", lambda found: up_to_date(found) and condition(found, "Ready")["status"] == "True"
        )
        assert condition(resource, "DataDrift") == {}
        where = {"namespace": namespace, "model_deployment": "fraud"}
        drifting = [
            (where | {"part": "worst"}, "0.41"),
            (where | {"part": "feature", "feature": "petal_width"}, "0.41"),
            (where | {"part": "rows"}, "1000"),
        ]
        outside.drift = drifting
        plane.kubectl("wait", "--for=condition=DataDrift", "md/fraud", "-n", namespace, "--timeout=60s")
        outside.drift = [(labels, value.replace("0.41", "0.43")) for labels, value in drifting]
        asked = outside.asked
        await_true(lambda: outside.asked > asked + 3, "Prometheus is not asked")
        drifts = api.get("md", namespace, "fraud")
        assert condition(drifts, "DataDrift")["message"] == "petal_width 0.41; limit 0.25, over 1,000 rows"
        assert condition(drifts, "Ready") == condition(resource, "Ready")
        assert condition(drifts, "UpToDate") == condition(resource, "UpToDate")
        events = [event["reason"] for event in api.list("event", namespace)]
        assert events.count("DataDrifted") == 1
        outside.drift = [(where | {"part": "worst"}, "0.1")]
        plane.kubectl("wait", "--for=condition=DataDrift=false", "md/fraud", "-n", namespace, "--timeout=60s")
        outside.drift = []
        api.wait("md", namespace, "fraud", lambda found: condition(found, "DataDrift") == {})
    finally:
        operator.restart(PROMETHEUS_URL="", DRIFT_POLL_SECONDS="60")


def rests(outside: Outside) -> bool:
    """Whether no span comes for a while, in which aliases are polled."""
    before = len(outside.spans)
    time.sleep(REST_SECONDS)  # silence gives no sign
    return len(outside.spans) == before


def test_a_roll_out_is_traced_and_rest_is_not(
    api: Api,
    operator: Operator,
    registry: Registry,
    namespace: str,
    outside: Outside,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", outside.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    operator.restart()
    try:
        api.create("md", md(namespace, "fraud", registry.run()))
        api.wait("md", namespace, "fraud", up_to_date)
        wanted = {"reconcile", "apply Deployment", "apply Service", "apply ModelDeployment status", "ask MLflow"}
        await_true(lambda: set(outside.spans) >= wanted, f"only {set(outside.spans)} have come")
        assert outside.services == {"fairlead-operator"}
        await_true(lambda: any("trace_id" in line for line in lines(operator, namespace)), "audit lines have no trace")
        await_true(lambda: rests(outside), "there are spans for ever, though nothing happens")
    finally:
        monkeypatch.undo()
        operator.restart()
