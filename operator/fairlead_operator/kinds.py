"""The kinds the operator reads and writes."""

from dataclasses import dataclass
from typing import Final

from fairlead_operator import api


@dataclass(frozen=True)
class Kind:
    group: str
    """Empty for the core group."""
    version: str
    kind: str
    plural: str
    labelled: bool = True
    """Whether only objects with our owner label are ours to see."""

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of a collection, an object or a subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        where = [f"namespaces/{namespace}"] if namespace else []
        return "/".join([root, *where, self.plural, *(part for part in (name, subresource) if part)])


MODEL_DEPLOYMENT: Final = Kind(api.GROUP, api.VERSION, api.KIND, api.PLURAL, labelled=False)
DEPLOYMENT: Final = Kind("apps", "v1", "Deployment", "deployments")
CONFIG_MAP: Final = Kind("", "v1", "ConfigMap", "configmaps")
SERVICE: Final = Kind("", "v1", "Service", "services")
DISRUPTION_BUDGET: Final = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY: Final = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
POD: Final = Kind("", "v1", "Pod", "pods")
EVENT: Final = Kind("", "v1", "Event", "events")

CHILDREN: Final = {kind.kind: kind for kind in (DEPLOYMENT, CONFIG_MAP, SERVICE, DISRUPTION_BUDGET, NETWORK_POLICY)}
WATCHED: Final = (MODEL_DEPLOYMENT, *CHILDREN.values(), POD)
