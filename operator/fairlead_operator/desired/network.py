"""The NetworkPolicy: in, only the ports it serves; out, only names, MLflow, traces, cache and identity provider."""

from typing import Final

from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import access, cache, naming
from fairlead_operator.desired.pods import PodDefaults, port_of

DNS_PORTS: Final = (53, 1053)
"""Policies see the pod's port, not the Service's: some cluster DNS pods listen above 1024 to need no capability."""


def build(md: ModelDeployment, defaults: PodDefaults) -> Manifest:
    """By ports alone: where MLflow runs is not ours to guess, so no address ranges or namespaces are named."""
    outward = {port_of(defaults.tracking_uri), *defaults.egress_ports}
    if defaults.otlp_endpoint:
        outward.add(port_of(defaults.otlp_endpoint))
    outward |= cache.ports(cache.chosen(md, defaults)) | access.outward(md)
    dns = [{"port": port, "protocol": protocol} for port in DNS_PORTS for protocol in ("UDP", "TCP")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": naming.metadata(md),
        "spec": {
            "podSelector": {"matchLabels": naming.selector(md)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": port, "protocol": "TCP"} for _, port in access.ports(md)]}],
            "egress": [{"ports": [*dns, *({"port": port, "protocol": "TCP"} for port in sorted(outward))]}],
        },
    }
