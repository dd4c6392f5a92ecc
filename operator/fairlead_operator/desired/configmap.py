"""The ConfigMap of a resource whose pods swap models. The run is there and not in the pod template, so another run
leaves the pods alone. A new pod's loader starts with what it says; a running pod is told by the operator.
"""

from fairlead_operator import contract
from fairlead_operator.api import Manifest, ModelDeployment, ModelRef
from fairlead_operator.desired import naming


def swaps(md: ModelDeployment) -> bool:
    """Whether the run is in the ConfigMap and not in the pod template."""
    return md.spec.rollout.strategy == "HotSwap"


def variables(model: ModelRef) -> dict[str, str]:
    """What tells a loader which model to load."""
    return {
        contract.ENV_MODEL_URI: model.model_uri,
        contract.ENV_RUN_ID: model.run_id,
        contract.ENV_MODEL_NAME: model.model_name or "",
        contract.ENV_MODEL_VERSION: model.model_version or "",
    }


def build(md: ModelDeployment, model: ModelRef) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": naming.metadata(md), "data": variables(model)}
