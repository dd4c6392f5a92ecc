"""The kinds the operator reads and writes."""

from dataclasses import dataclass
from typing import Final, Literal

from fairlead_operator import api

About = Literal["pods", "autoscaler", "alerts"]
"""What an object is for. Models serve as they should without the last two."""


@dataclass(frozen=True)
class Kind:
    group: str
    """Empty for the core group."""
    version: str
    kind: str
    plural: str
    labelled: bool = True
    """Whether only objects with our owner label are ours to see."""
    needs: str = ""
    """An API group that objects of this kind are of no use without, and that a cluster may not have."""
    about: About = "pods"

    @property
    def optional(self) -> bool:
        """Whether a cluster may not know the kind itself."""
        return bool(self.needs) and self.needs == self.group

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
LEASE: Final = Kind("coordination.k8s.io", "v1", "Lease", "leases")

HORIZONTAL_POD_AUTOSCALER: Final = Kind(
    "autoscaling",
    "v2",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    needs="custom.metrics.k8s.io",
    about="autoscaler",
)
SCALED_OBJECT: Final = Kind("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", needs="keda.sh", about="autoscaler")
PROMETHEUS_RULE: Final = Kind(
    "monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules", needs="monitoring.coreos.com", about="alerts"
)

CHILDREN: Final = {
    kind.kind: kind
    for kind in (
        DEPLOYMENT,
        CONFIG_MAP,
        SERVICE,
        DISRUPTION_BUDGET,
        NETWORK_POLICY,
        HORIZONTAL_POD_AUTOSCALER,
        SCALED_OBJECT,
        PROMETHEUS_RULE,
    )
}
OWNED: Final = (*CHILDREN.values(), POD)
"""What belongs to a ModelDeployment: children, and the pods of its Deployments."""
