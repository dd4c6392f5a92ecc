"""What models are scaled by: promtool evaluates KEDA's queries and the adapter's rules over the pods' series."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fairlead_operator.api import ModelDeployment
from fairlead_operator.desired import autoscaling, signals
from fairlead_operator.desired.surroundings import Surroundings
from tests.chart.promtool import History
from tests.chart.rendering import STACK, strict

RESOURCE = ModelDeployment.model_validate(
    {
        "metadata": {"name": "fraud", "namespace": "ml", "uid": "1"},
        "spec": {
            "model": {"uri": "models:/fraud/1"},
            "autoscaling": {"maxReplicas": 5},
            "slo": {"latencyMilliseconds": 250},
        },
    }
)
IN_FLIGHT, P95 = signals.in_flight(RESOURCE, 60), signals.p95_milliseconds(RESOURCE, 60)
FRAUD = 'namespace="ml",model_deployment="fraud"'
PREDICTED = 'path="/predict",status="200"'


def pod(name: str, track: str | None = "stable", model: str = "fraud") -> str:
    labels = f'namespace="ml",model_deployment="{model}",pod="{name}"'
    return f'{labels},track="{track}"' if track else labels


def gauge(who: str, values: str) -> dict[str, str]:
    return {f"http_requests_in_progress{{{who}}}": values}


def latencies(who: str, each: int, seconds: float, more: str = PREDICTED, steps: int = 60) -> dict[str, str]:
    """`each` answers of about `seconds` in every 15 s."""
    buckets = {bound: each if bound >= seconds else 0 for bound in (0.1, 0.25, 0.5, 1.0)} | {float("inf"): each}
    name = f"http_request_duration_seconds_%s{{{who},{more}%s}}"
    series = {
        name % ("bucket", f',le="{"+Inf" if bound == float("inf") else bound}"'): f"0+{count}x{steps}"
        for bound, count in buckets.items()
    }
    series[name % ("count", "")] = f"0+{each}x{steps}"
    series[name % ("sum", "")] = f"0+{each * seconds}x{steps}"
    return series


def asked(series: dict[str, str], query: str, value: float, tmp_path: Path, when: str = "10m") -> None:
    History(series, interval="15s").expect(f"round({query}, 0.001)", when, {"{}": value}).check(tmp_path)


def test_idle_and_unknown_models_are_at_zero(tmp_path: Path) -> None:
    idle = gauge(pod("a"), "0x60") | latencies(pod("a"), 0, 0.2)
    for series in (idle, {"up": "1x60"}):
        for query in (IN_FLIGHT, P95):
            asked(series, query, 0, tmp_path)


def test_short_requests_count_although_no_scrape_sees_them(tmp_path: Path) -> None:
    """1,200 requests of 25 ms each 15 s are two in flight."""
    series = gauge(pod("a"), "0x60") | latencies(pod("a"), 600, 0.025) | latencies(pod("b"), 600, 0.025)
    asked(series, IN_FLIGHT, 2, tmp_path)


def test_requests_that_do_not_end_count_although_none_is_answered(tmp_path: Path) -> None:
    asked(
        gauge(pod("a"), "7x60") | gauge(pod("b", None), "5x60") | latencies(pod("a"), 0, 0.1), IN_FLIGHT, 12, tmp_path
    )


def test_only_stable_pods_of_this_model_and_only_predictions_are_counted(tmp_path: Path) -> None:
    series = gauge(pod("a"), "3x60") | gauge(pod("c", "candidate"), "50x60") | gauge(pod("o", model="other"), "70x60")
    series |= latencies(pod("a"), 6000, 0.1, 'path="/metrics",status="200"')
    asked(series, IN_FLIGHT, 3, tmp_path)


def test_latency_is_of_all_pods_behind_the_service_in_milliseconds(tmp_path: Path) -> None:
    series = latencies(pod("a"), 90, 0.2) | latencies(pod("c", "candidate"), 10, 0.4)
    series |= latencies(pod("o", model="other"), 1000, 0.05)
    series |= latencies(pod("a"), 1000, 0.05, 'path="/predict",status="422"')
    asked(series, P95, 375, tmp_path)  # half way from 250 to 500


def test_a_few_slow_requests_are_no_percentile(tmp_path: Path) -> None:
    asked(latencies(pod("a"), 4, 0.9), P95, 0, tmp_path)
    asked(latencies(pod("a"), 6, 0.9), P95, 975, tmp_path)


def adapter(name: str, group_by: str, matchers: str) -> str:
    """A rule's query as prometheus-adapter fills it in."""
    values = yaml.safe_load((STACK / "values.yaml").read_text())["prometheus-adapter"]
    (rule,) = [one for one in values["rules"]["custom"] if one["name"]["as"] == name]
    query = rule["metricsQuery"].replace("<<.GroupBy>>", group_by).replace("<<.LabelMatchers>>", matchers)
    assert "<<" not in query
    assert query.count(f'path=~"{signals.PATHS}"') == (1 if name == autoscaling.IN_FLIGHT else 2)
    return str(query)


def test_the_adapter_measures_pods_and_services_the_same(tmp_path: Path) -> None:
    series = gauge(pod("a"), "7x60") | latencies(pod("a"), 300, 0.1) | gauge(pod("b"), "0x60")
    series |= latencies(pod("b"), 600, 0.1) | latencies(pod("i", model="idle"), 0, 0.1)
    series |= latencies(pod("n", model="new"), 9, 0.01, 'path="/health/ready",status="200"')
    per_pod = adapter(autoscaling.IN_FLIGHT, "pod", 'namespace="ml",pod=~"a|b|n"')
    History(series, interval="15s").expect(f"round({per_pod}, 0.001)", "10m", {'{pod="a"}': 7, '{pod="b"}': 4}).check(
        tmp_path
    )
    models = adapter(autoscaling.LATENCY, "model_deployment", 'namespace="ml",model_deployment=~"fraud|idle|new"')
    values = {'{model_deployment="fraud"}': 95.0, '{model_deployment="idle"}': 0.0, '{model_deployment="new"}': 0.0}
    History(series, interval="15s").expect(f"round({models}, 0.001)", "10m", values).check(tmp_path)


def test_the_command_that_is_told_installs_what_the_stack_pins() -> None:
    pins = {found["name"]: found for found in yaml.safe_load((STACK / "Chart.yaml").read_text())["dependencies"]}
    told = autoscaling.INSTALL["keda.sh"]
    assert f"--repo {pins['keda']['repository']} --version {pins['keda']['version']} " in told
    assert f"{pins['prometheus-adapter']['condition']}=true" in autoscaling.INSTALL["custom.metrics.k8s.io"]


@pytest.mark.parametrize("latency", [None, 250])
def test_the_scaled_object_fits_kedas_schema(latency: int | None) -> None:
    spec = RESOURCE.spec if latency else RESOURCE.spec.model_copy(update={"slo": None})
    resource = RESOURCE.model_copy(update={"spec": spec})
    assert spec.autoscaling is not None
    made = autoscaling.build(resource, spec.autoscaling, Surroundings(prometheus_url="http://prometheus:9090"))
    schema = strict(json.loads((Path(__file__).parent / "schemas/scaledobject.json").read_text()))
    schema["properties"]["metadata"] = {"type": "object"}
    validator: Any = jsonschema.Draft202012Validator(schema)
    assert not [error.message for error in validator.iter_errors(made)]
    assert made is not None
    assert list(validator.iter_errors({**made, "spec": made["spec"] | {"maxReplicas": 3}}))
