"""Service, PodDisruptionBudget and NetworkPolicy."""

from fairlead_operator.desired import disruption, network, service
from fairlead_operator.desired.pods import PodDefaults, port_of
from tests.unit.operator import samples


def test_the_service_leads_to_the_named_port() -> None:
    spec = service.build(samples.md())["spec"]
    assert spec["ports"] == [{"name": "http", "port": 8000, "protocol": "TCP", "targetPort": "http"}]


def test_a_single_pod_does_not_block_a_drain() -> None:
    spec = disruption.build(samples.md(replicas=1))["spec"]
    assert spec["maxUnavailable"] == 1
    assert "minAvailable" not in spec


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
