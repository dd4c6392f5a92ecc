"""The PodDisruptionBudget: a drained node takes one pod at a time."""

from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import naming


def build(md: ModelDeployment) -> Manifest | None:
    """None for a model that never has more than one pod: a budget would protect nothing, or block every drain.

    `maxUnavailable` and not `minAvailable`: scaled down to one, the latter would block every drain as well.
    """
    if not _several(md):
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": naming.metadata(md),
        "spec": {
            "maxUnavailable": 1,
            # A pod that is not Ready serves nobody: it must not block a drain either.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": naming.selector(md)},
        },
    }


def _several(md: ModelDeployment) -> bool:
    """Whether more than one pod may be wanted; where nothing is said of their number, somebody else sets it."""
    scaling = md.spec.autoscaling
    most = scaling.max_replicas if scaling else md.spec.replicas
    return most is None or most > 1
