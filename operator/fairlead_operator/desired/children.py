"""Everything a ModelDeployment owns, in the order it is applied."""

from dataclasses import dataclass

from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import configmap, deployment, disruption, naming, network, service
from fairlead_operator.desired.pods import PodDefaults, Template, Trial

Place = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True)
class Desired:
    manifests: list[Manifest]
    kept: frozenset[Place] = frozenset()
    """What stays as it is, if it is there."""

    @property
    def places(self) -> frozenset[Place]:
        """Everything that may exist; what else there is of ours is to be deleted."""
        return self.kept | {(manifest["kind"], manifest["metadata"]["name"]) for manifest in self.manifests}


def desired(
    md: ModelDeployment, template: Template | None, defaults: PodDefaults, trial: Trial | None = None
) -> Desired:
    """The children this resource should have now. Without a template there is no Deployment among them, and those that
    exist stay as they are: nothing is resolved yet, or the resource is suspended."""
    manifests = [service.build(md), disruption.build(md), network.build(md, defaults)]
    if configmap.swaps(md) and template is not None:
        manifests.append(configmap.build(md, template.model))
    if trial is not None:
        manifests += [service.build_candidate(md), deployment.build_candidate(md, trial, defaults)]
    if template is None:
        kept = {(kind, name) for kind in ("ConfigMap", "Deployment", "Service") for name in naming.names(md)}
        return Desired(manifests, frozenset(kept))
    return Desired([*manifests, deployment.build(md, template, defaults)])
