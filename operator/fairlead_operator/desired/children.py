"""Everything a ModelDeployment owns, in the order it is applied."""

from dataclasses import dataclass

from fairlead_operator.api import Manifest, ModelDeployment, ModelRef
from fairlead_operator.desired import alerts, autoscaling, configmap, deployment, disruption, naming, network, service
from fairlead_operator.desired.pods import PodDefaults, Template, Trial
from fairlead_operator.desired.surroundings import Surroundings

Place = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True)
class Desired:
    manifests: list[Manifest]
    kept: frozenset[Place] = frozenset()
    """What stays as it is, if it is there."""
    unmet: tuple[str, ...] = ()
    """For people: what was asked for and cannot be made, because the operator has not been told something."""

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
    around: Surroundings | None = None,
    recorded: ModelRef | None = None,
) -> Desired:
    """The children this resource should have now. Without a template there is no Deployment among them, and one that
    exists stays as it is; so does what belongs to a canary where that is frozen. `recorded`: what pods that swap models
    start with, if it is not the template's."""
    around = around or Surroundings()
    manifests = [service.build(md), network.build(md, defaults)]
    if budget := disruption.build(md):
        manifests.append(budget)
    if md.spec.slo and (rule := alerts.build(md, md.spec.slo, around)):
        manifests.append(rule)
    stable, canary = naming.names(md)
    scaler = _autoscaler(md, template, around)
    kept = set(scaler.kept)
    if template is None:
        kept |= {("Deployment", stable), ("ConfigMap", stable)}
    if recorded is None and template is not None and configmap.swaps(md):
        recorded = template.model
    if recorded is not None:  # also while pods of another strategy are on their way
        manifests.append(configmap.build(md, recorded))
    if template is not None:
        manifests.append(deployment.build(md, template, defaults))
    if frozen:
        kept |= {("Deployment", canary), ("Service", canary)}
    elif trial is not None:
        manifests += [service.build_candidate(md), deployment.build_candidate(md, trial, defaults)]
    return Desired([*manifests, *scaler.manifests], frozenset(kept), scaler.unmet)


def _autoscaler(md: ModelDeployment, template: Template | None, around: Surroundings) -> Desired:
    """One that scales what is there, also while the resource is suspended. Where the operator itself sets the replicas
    (none, for a model that was rejected with nothing to go back to) it would only be fought with."""
    scaling, name = md.spec.autoscaling, naming.child_name(md.metadata.name)
    if scaling is None or (template is not None and template.replicas is not None):
        return Desired([])
    if template is None:
        return Desired([], frozenset({(autoscaling.SCALED_OBJECT, name), (autoscaling.HORIZONTAL, name)}))
    built = autoscaling.build(md, scaling, around)
    return Desired([built]) if built else Desired([], unmet=(autoscaling.NO_PROMETHEUS,))
