"""The Services: the one that applications call, and one that leads to a candidate alone, for people who try it."""

from fairlead_operator import api, contract
from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import naming


def build(md: ModelDeployment) -> Manifest:
    """Leads to every pod that is Ready, of both tracks: the share of a candidate's pods is its share of the traffic."""
    return _service(naming.metadata(md), {"selector": naming.selector(md)})


def build_candidate(md: ModelDeployment) -> Manifest:
    metadata = naming.metadata(md, naming.canary_name(md.metadata.name))
    selector = naming.track_selector(md, api.CANDIDATE)
    return _service(metadata, {"selector": selector, "publishNotReadyAddresses": True})


def _service(metadata: Manifest, rest: Manifest) -> Manifest:
    port = {"name": "http", "port": contract.HTTP_PORT, "protocol": "TCP", "targetPort": "http"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"type": "ClusterIP", **rest, "ports": [port]},
    }
