"""The NetworkPolicy: in, only the HTTP port; out, only names, MLflow, traces and the cache."""

from typing import Final

from fairlead_operator import contract
from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import cache, naming
from fairlead_operator.desired.pods import PodDefaults, port_of

DNS_PORTS: Final = (53, 1053)
"""Policies see the pod's port, not the Service's: some cluster DNS pods listen above 1024 to need no capability."""


def build(md: ModelDeployment, defaults: PodDefaults) -> Manifest:
    """By ports alone: where MLflow runs is not ours to guess, so no address ranges or namespaces are named."""
    outward = {port_of(defaults.tracking_uri), *defaults.egress_ports}
    if defaults.otlp_endpoint:
        outward.add(port_of(defaults.otlp_endpoint))
    outward |= cache.ports(cache.chosen(md, defaults))
    dns = [{"port": port, "protocol": protocol} for port in DNS_PORTS for protocol in ("UDP", "TCP")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": naming.metadata(md),
        "spec": {
            "podSelector": {"matchLabels": naming.selector(md)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": contract.HTTP_PORT, "protocol": "TCP"}]}],
            "egress": [{"ports": [*dns, *({"port": port, "protocol": "TCP"} for port in sorted(outward))]}],
        },
    }
