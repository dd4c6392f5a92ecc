"""Everything a ModelDeployment owns, in the order it is applied."""

from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import deployment, disruption, network, service
from fairlead_operator.desired.pods import PodDefaults, Template


def desired(md: ModelDeployment, template: Template | None, defaults: PodDefaults) -> list[Manifest]:
    """The children this resource should have now. Without a template there is no Deployment among them, and one that
    exists stays as it is: nothing is resolved yet, or the resource is suspended."""
    children = [service.build(md), disruption.build(md), network.build(md, defaults)]
    if template is not None:
        children.append(deployment.build(md, template, defaults))
    return children
