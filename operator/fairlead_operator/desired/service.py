"""The Service that applications call."""

from fairlead_operator import contract
from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import naming


def build(md: ModelDeployment) -> Manifest:
    port = {"name": "http", "port": contract.HTTP_PORT, "protocol": "TCP", "targetPort": "http"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": naming.metadata(md),
        "spec": {"type": "ClusterIP", "selector": naming.selector(md), "ports": [port]},
    }
