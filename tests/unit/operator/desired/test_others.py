"""Service, PodDisruptionBudget and NetworkPolicy."""

from typing import Any

import pytest

from fairlead_operator.desired import disruption, network, service
from fairlead_operator.desired.pods import PodDefaults, port_of
from tests.unit.operator import samples


def test_the_service_leads_to_the_named_port() -> None:
    spec = service.build(samples.md())["spec"]
    assert spec["ports"] == [{"name": "http", "port": 8000, "protocol": "TCP", "targetPort": "http"}]


@pytest.mark.parametrize("spec", [{"replicas": 2}, {"autoscaling": {"maxReplicas": 2}}, {}])
def test_of_several_pods_a_drain_takes_one_at_a_time(spec: dict[str, Any]) -> None:
    budget = disruption.build(samples.md(**spec))
    assert budget is not None
    assert budget["spec"]["maxUnavailable"] == 1
    assert "minAvailable" not in budget["spec"], "after scaling down to one it would block every drain"


@pytest.mark.parametrize("spec", [{"replicas": 1}, {"replicas": 0}, {"autoscaling": {"maxReplicas": 1}}])
def test_a_single_pod_has_no_budget(spec: dict[str, Any]) -> None:
    assert disruption.build(samples.md(**spec)) is None


def test_pods_may_reach_names_mlflow_and_traces_and_nothing_else() -> None:
    defaults = PodDefaults(
        image="i", tracking_uri="https://mlflow.example", otlp_endpoint="http://jaeger:4318", egress_ports=(9000,)
    )
    spec = network.build(samples.md(), defaults)["spec"]
    tcp = {port["port"] for port in spec["egress"][0]["ports"] if port["protocol"] == "TCP"}
    assert tcp == {53, 1053, 443, 4318, 9000}
    assert spec["ingress"] == [{"ports": [{"port": 8000, "protocol": "TCP"}]}]
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_ports_of_urls() -> None:
    assert [port_of(uri) for uri in ("http://a:5000/x", "http://a", "https://a")] == [5000, 80, 443]
