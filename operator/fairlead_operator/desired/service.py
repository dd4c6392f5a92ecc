"""The Services: the one that applications call, and one that leads to a candidate alone, for people who try it."""

from fairlead_operator import api
from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import access, naming


def build(md: ModelDeployment) -> Manifest:
    """Leads to every pod that is Ready, of both tracks: the share of a candidate's pods is its share of the traffic."""
    wanted, metadata = md.spec.service, naming.metadata(md)
    metadata["labels"] = {**wanted.labels, **metadata["labels"]}
    if wanted.annotations:
        metadata["annotations"] = dict(wanted.annotations)
    return _service(md, metadata, {"type": wanted.type, "selector": naming.selector(md)})


def build_candidate(md: ModelDeployment) -> Manifest:
    metadata = naming.metadata(md, naming.canary_name(md.metadata.name))
    selector = naming.track_selector(md, api.CANDIDATE)
    rest = {"type": "ClusterIP", "selector": selector, "publishNotReadyAddresses": True}
    return _service(md, metadata, rest)


def _service(md: ModelDeployment, metadata: Manifest, rest: Manifest) -> Manifest:
    ports = [{"name": name, "port": number, "protocol": "TCP", "targetPort": name} for name, number in access.ports(md)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {**rest, "ports": ports},
    }
