"""Settings, logs, metrics and errors: what the operator shows to those who run it."""

import json
import logging
import sys
import urllib.error
import urllib.request

import pytest
from pydantic import ValidationError

from fairlead_operator import logs, program
from fairlead_operator.handlers import kopf_settings
from fairlead_operator.kube import ConflictError, KubeError, NotFoundError, RefusedError, _error
from fairlead_operator.logs import JsonFormatter, _tells
from fairlead_operator.metrics import MetricsServer
from fairlead_operator.settings import Settings
from tests.log_lines import problems


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("FAIRLEAD_OPERATOR_PREDICTOR_IMAGE", "predictor:1")
    monkeypatch.setenv("FAIRLEAD_OPERATOR_MLFLOW_TRACKING_URI", "http://mlflow:5000")
    return monkeypatch


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FAIRLEAD_OPERATOR_WATCH_NAMESPACES", "ml, data")
    environment.setenv("FAIRLEAD_OPERATOR_EGRESS_PORTS", "443,9000")
    environment.setenv("FAIRLEAD_OPERATOR_OTLP_ENDPOINT", "")
    settings = Settings()  # type: ignore[call-arg]
    assert settings.watch_namespaces == ("ml", "data")
    assert settings.pods.egress_ports == (443, 9000)
    assert settings.pods.image == "predictor:1"
    assert settings.pods.otlp_endpoint is None


def test_labels_come_as_pairs(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FAIRLEAD_OPERATOR_MONITORING_LABELS", "release=monitoring, team=ml")
    environment.setenv("FAIRLEAD_OPERATOR_PROMETHEUS_URL", "http://prometheus:9090")
    around = Settings().surroundings  # type: ignore[call-arg]
    assert around.monitoring_labels == {"release": "monitoring", "team": "ml"}
    assert around.prometheus_url == "http://prometheus:9090"
    environment.setenv("FAIRLEAD_OPERATOR_MONITORING_LABELS", "release")
    with pytest.raises(ValidationError, match="name=value"):
        Settings()  # type: ignore[call-arg]


def test_no_namespaces_are_all(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FAIRLEAD_OPERATOR_WATCH_NAMESPACES", "")
    assert Settings().watch_namespaces == ()  # type: ignore[call-arg]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("FAIRLEAD_OPERATOR_PREDICTOR_IMAGE", raising=False)
    monkeypatch.setenv("FAIRLEAD_OPERATOR_WORKERS", "0")
    assert program.main() == 2
    said = capsys.readouterr().err
    assert "FAIRLEAD_OPERATOR_PREDICTOR_IMAGE: Field required" in said
    assert "FAIRLEAD_OPERATOR_WORKERS" in said


def test_kopf_has_nowhere_to_write() -> None:
    settings = kopf_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled


def test_every_log_line_is_one_json_object() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        fields = {"name": "kopf.objects", "levelno": logging.INFO, "msg": "line\n%s", "args": ("two",)}
        record = logging.makeLogRecord(fields | {"exc_info": sys.exc_info()})
    record.k8s_ref = {"name": "fraud"}
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert {field: found[field] for field in ("level", "event", "message", "service", "logger", "object")} == {
        "level": "info",
        "event": "log",
        "message": "line\ntwo",
        "service": "fairlead-operator",
        "logger": "kopf.objects",
        "object": {"name": "fraud"},
    }
    assert not problems(line.encode())
    assert "ValueError" in found["exception"]


@pytest.mark.parametrize("level", [logging.ERROR, logging.CRITICAL])
def test_errors_are_events_of_their_own(level: int) -> None:
    record = logging.LogRecord("asyncio", level, __file__, 1, "Task exception was never retrieved", None, None)
    assert json.loads(JsonFormatter().format(record))["event"] == "error"


def test_audit_lines_say_what_happened_to_whom(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logs.audit("CanaryPassed", "100 %", namespace="ml", name="fraud", run_id="a" * 32, by=None, ok=True)
    (record,) = caplog.records
    line = JsonFormatter().format(record)
    assert not problems(line.encode())
    found = json.loads(line)
    del found["timestamp"]
    assert found == {
        "level": "info",
        "event": "audit",
        "message": "100 %",
        "service": "fairlead-operator",
        "logger": "fairlead.audit",
        "action": "CanaryPassed",
        "namespace": "ml",
        "modeldeployment": "fraud",
        "run_id": "a" * 32,
        "ok": True,
    }


def test_the_end_of_a_watch_is_no_error_and_other_generators_are() -> None:
    text = "an error occurred during closing of asynchronous generator <async_generator object {} at 0x7f>"
    told = [_tells(logging.makeLogRecord({"msg": text.format(name)})) for name in ("infinite_watch", "ours")]
    assert told == [False, True]


def test_metrics_and_health_are_on_one_port() -> None:
    problem: list[str] = []
    server = MetricsServer(0, lambda: problem[0] if problem else None, host="127.0.0.1")
    url = f"http://127.0.0.1:{server.port}"
    try:
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            text = answer.read().decode()
        assert "fairlead_reconciles_total" in text
        assert "process_resident_memory_bytes" in text
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            assert answer.status == 200
        problem.append("the event loop has been stuck for 31 s")
        with pytest.raises(urllib.error.HTTPError) as failure:
            urllib.request.urlopen(f"{url}/healthz")
        assert failure.value.code == 503
        assert b"stuck" in failure.value.read()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFoundError), (403, RefusedError), (422, RefusedError), (409, ConflictError), (500, KubeError)],
)
def test_answers_become_errors(status: int, kind: type[KubeError]) -> None:
    error = _error(status, b'{"message": "no"}')
    assert type(error) is kind
    assert str(error) == f"{status}: no"
    assert "<html>" in str(_error(status, b"<html>"))


def test_another_object_of_that_name_is_a_conflict_and_not_an_invalid_manifest() -> None:
    about_uid = {"message": "field is immutable", "details": {"causes": [{"field": "metadata.uid"}]}}
    assert type(_error(422, json.dumps(about_uid).encode())) is ConflictError
    about_ports = {"message": "no", "details": {"causes": [{"field": "spec.ports"}]}}
    assert type(_error(422, json.dumps(about_ports).encode())) is RefusedError


def test_secrets_are_not_printed() -> None:
    fields = {name: f"a-secret-of-many-characters-{name}" for name in SECRETS}
    others = {"predictor_image": "i", "mlflow_tracking_uri": "u", "mlflow_username": "me"}
    settings = Settings.model_validate(others | fields)
    assert "a-secret" not in repr(settings)
    assert settings.mlflow_auth == ("me", fields["mlflow_password"])
    assert settings.pods.load_key == fields["load_key"]


SECRETS = ("load_key", "mlflow_password", "mlflow_token", "webhook_secret")


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(predictor_image="i", mlflow_tracking_uri="u", alias_poll_seconds=0)
