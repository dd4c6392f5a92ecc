"""Everything a ModelDeployment owns, in the order it is applied."""

from dataclasses import dataclass

from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import deployment, disruption, naming, network, service
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
    md: ModelDeployment,
    template: Template | None,
    defaults: PodDefaults,
    trial: Trial | None = None,
    frozen: bool = False,
) -> Desired:
    """The children this resource should have now. Without a template there is no Deployment among them, and one that
    exists stays as it is; so does what belongs to a canary where that is frozen."""
    manifests = [service.build(md), disruption.build(md), network.build(md, defaults)]
    stable, canary = naming.names(md)
    kept: set[Place] = set()
    if template is None:
        kept.add(("Deployment", stable))
    else:
        manifests.append(deployment.build(md, template, defaults))
    if frozen:
        kept |= {("Deployment", canary), ("Service", canary)}
    elif trial is not None:
        manifests += [service.build_candidate(md), deployment.build_candidate(md, trial, defaults)]
    return Desired(manifests, frozenset(kept))
