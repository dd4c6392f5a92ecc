"""The PodDisruptionBudget: a drained node takes one pod at a time."""

from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import naming


def build(md: ModelDeployment) -> Manifest:
    """`maxUnavailable` and not `minAvailable`: with one replica the latter would block every node drain for ever."""
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
