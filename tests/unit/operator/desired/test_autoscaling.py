"""The autoscalers, and the queries they scale by."""

import copy
import json
import re
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator import contract
from fairlead_operator.desired import Desired, desired, naming, signals
from fairlead_operator.desired.autoscaling import NO_PROMETHEUS
from fairlead_operator.desired.pods import Template
from fairlead_operator.desired.surroundings import Surroundings
from tests.unit.operator import samples
from tests.unit.operator.samples import DEFAULTS

AROUND = Surroundings(prometheus_url="http://prometheus:9090")
SCALERS = {"ScaledObject", "HorizontalPodAutoscaler"}


def wanted(md: Any, around: Surroundings = AROUND, **more: Any) -> Desired:
    template = Template(samples.model(), "predictor:1", **{"replicas": md.spec.replicas, **more})
    return desired(md, template, DEFAULTS, around=around)


def scaler(md: Any, around: Surroundings = AROUND) -> Any:
    (found,) = [child for child in wanted(md, around).manifests if child["kind"] in SCALERS]
    return found


def kinds(children: Desired) -> set[str]:
    return {child["kind"] for child in children.manifests}


@given(samples.measured_mds, samples.surroundings)
def test_replicas_are_absent_exactly_if_an_autoscaler_is_there(md: Any, around: Surroundings) -> None:
    children = wanted(md, around)
    deployment = next(child for child in children.manifests if child["kind"] == "Deployment")
    if md.spec.autoscaling is None:
        assert not kinds(children) & SCALERS
        assert children.unmet == ()
        return
    assert "replicas" not in deployment["spec"]
    assert len(kinds(children) & SCALERS) + len(children.unmet) == 1
    if children.unmet:
        assert around.prometheus_url is None
        return
    found = scaler(md, around)
    assert (
        found["kind"]
        == {"KEDA": "ScaledObject", "HPA": "HorizontalPodAutoscaler"}[
            md.spec.autoscaling.engine or around.autoscaling_engine
        ]
    )
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert found["spec"]["scaleTargetRef"] == target
    assert found["metadata"] == deployment["metadata"]


@given(samples.measured_mds, samples.surroundings)
def test_deterministic_without_shared_parts_and_its_input_left_alone(md: Any, around: Surroundings) -> None:
    before = copy.deepcopy((md, around))
    first, second = wanted(md, around), wanted(md, around)
    assert first == second
    assert (md, around) == before
    parts = [part for children in (first, second) for part in mutable(children.manifests)]
    parts += mutable(around.monitoring_labels)
    assert len(parts) == len(set(parts))


def mutable(value: Any) -> list[int]:
    """Identities of all mutable parts."""
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [id(value), *(part for one in inner for part in mutable(one))]


def test_an_autoscaler_stays_while_nothing_is_rolled_and_goes_when_no_model_may_serve() -> None:
    md = samples.md(autoscaling={"maxReplicas": 5})
    held = desired(md, None, DEFAULTS, around=AROUND)
    assert {("ScaledObject", "fraud"), ("HorizontalPodAutoscaler", "fraud")} <= held.kept
    assert not kinds(wanted(md, replicas=0)) & SCALERS


def test_keda_gets_the_load_and_the_guard() -> None:
    md = samples.md(
        autoscaling={"minReplicas": 2, "maxReplicas": 8, "inFlightRequestsPerPod": 3}, slo={"latencyMilliseconds": 250}
    )
    spec = scaler(md)["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 8)
    load, guard = spec["triggers"]
    assert (load["metricType"], load["metadata"]["threshold"]) == ("AverageValue", "3")
    assert (guard["metricType"], guard["metadata"]["threshold"]) == ("Value", "250")
    assert {trigger["metadata"]["serverAddress"] for trigger in (load, guard)} == {"http://prometheus:9090"}
    assert all(isinstance(value, str) for trigger in (load, guard) for value in trigger["metadata"].values())


def test_no_slo_is_no_guard_and_no_prometheus_no_scaled_object() -> None:
    md = samples.md(autoscaling={"maxReplicas": 8}, slo={"successPercent": "99"})
    assert len(scaler(md)["spec"]["triggers"]) == 1
    assert len(scaler(md, Surroundings(autoscaling_engine="HPA"))["spec"]["metrics"]) == 1
    assert wanted(md, Surroundings()).unmet == (NO_PROMETHEUS,)


def test_pods_come_at_once_and_go_late_and_by_halves() -> None:
    around = Surroundings(prometheus_url="http://p", scale_down_window_seconds=120, scale_down_period_seconds=30)
    for engine in ("KEDA", "HPA"):
        spec = scaler(samples.md(autoscaling={"maxReplicas": 8, "engine": engine}), around)["spec"]
        config = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", spec)
        up, down = config["behavior"]["scaleUp"], config["behavior"]["scaleDown"]
        assert (up["stabilizationWindowSeconds"], down["stabilizationWindowSeconds"]) == (0, 120)
        assert {(policy["type"], policy["value"]) for policy in up["policies"]} == {("Percent", 100), ("Pods", 4)}
        assert down["policies"] == [{"type": "Percent", "value": 50, "periodSeconds": 30}]


@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_kubernetes_accepts_the_hpa(version: str) -> None:
    md = samples.md(autoscaling={"maxReplicas": 8, "engine": "HPA"}, slo={"latencyMilliseconds": 250})
    kubernetes_validate.validate(json.loads(json.dumps(scaler(md))), version, strict=True)


@given(samples.measured_mds, st.integers(10, 3600))
def test_queries_are_about_this_models_pods_alone(md: Any, seconds: int) -> None:
    name = naming.child_name(md.metadata.name)
    for query in (signals.in_flight(md, seconds), signals.p95_milliseconds(md, seconds)):
        promql_parser.parse(query)
        selectors = re.findall(r"\{(namespace=[^{}]*(?:\[[{}]\][^{}]*)*)\}", query)
        assert len(selectors) == 2
        assert all(found.startswith(f'namespace="ml",model_deployment="{name}"') for found in selectors)
        assert query.endswith("or vector(0)"), "one series, also where there is nothing to measure"


def test_a_canarys_pods_are_behind_the_service_but_not_the_autoscalers() -> None:
    md = samples.md()
    assert signals.in_flight(md, 60).count('track!="candidate"') == 2
    assert "track" not in signals.p95_milliseconds(md, 60)


def test_the_paths_are_those_of_predictions() -> None:
    assert all(re.fullmatch(signals.PATHS, path) for path in contract.INFERENCE_PATHS)
    for other in ("/health", "/metrics", "/train", "/v2/models/{name}", "/v2/health/live", "unmatched", "/predict/"):
        assert not re.fullmatch(signals.PATHS, other)
