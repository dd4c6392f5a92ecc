"""The Deployments: the run is part of the pod template, so that Kubernetes does the rolling; but for pods that swap
models (`configmap`)."""

import copy
import hashlib
import json
import math
from functools import lru_cache
from typing import Any, Final

from fairlead_operator import api, contract
from fairlead_operator.api import Manifest, ModelDeployment, ModelRef
from fairlead_operator.desired import access, cache, configmap, mlflow_ca, naming
from fairlead_operator.desired.pods import PodDefaults, Template, Trial, load_token
from fairlead_operator.spec import Resources, TopologySpreadConstraint

BUNDLE_MOUNT: Final = "/bundle"
BUNDLE_DIR: Final = "/bundle/current"
DRAIN_SECONDS: Final = 5
USER: Final = 65532
_REVISION_LENGTH: Final = 10


def build(md: ModelDeployment, template: Template, defaults: PodDefaults) -> Manifest:
    """The Deployment that holds what `template` says."""
    spec: Manifest = {
        "selector": {"matchLabels": naming.track_selector(md, api.STABLE)},
        "revisionHistoryLimit": 2,
        # Never fewer pods than wanted: a new pod is Ready before an old one goes.
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": _surge(template.replicas)},
        },
        "template": pod_template(md, template.model, template.image, defaults),
    }
    if template.replicas is not None:
        spec["replicas"] = template.replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": naming.metadata(md), "spec": spec}


def build_candidate(md: ModelDeployment, trial: Trial, defaults: PodDefaults) -> Manifest:
    """The second Deployment of a canary, behind the same Service: its pods are Ready only once they are admitted."""
    template = pod_template(md, trial.model, trial.image, defaults)
    template["metadata"]["labels"][api.TRACK_LABEL] = api.CANDIDATE
    template["spec"]["readinessGates"] = [{"conditionType": api.ADMITTED}]
    spec: Manifest = {
        "replicas": trial.replicas,
        "selector": {"matchLabels": naming.track_selector(md, api.CANDIDATE)},
        "revisionHistoryLimit": 0,
        # The serving pods have the capacity that users need. Waiting for the next candidate's pods to be Ready, which
        # they are not before they are admitted, would keep this one for ever.
        "strategy": {"type": "Recreate"},
        "template": template,
    }
    metadata = naming.metadata(md, naming.canary_name(md.metadata.name))
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _surge(replicas: int | None) -> int | str:
    """New pods at a time: a quarter as is usual, but two at least, so that a small model rolls in one go."""
    return "25%" if replicas is None else max(2, math.ceil(replicas / 4))


def revision(md: ModelDeployment, model: ModelRef, image: str, defaults: PodDefaults) -> str:
    """Digest of the pod template: two revisions are equal exactly if no pod has to change."""
    return _revision(md.model_dump_json(by_alias=True, exclude_unset=True), model.ref(), image, defaults)


@lru_cache(maxsize=4096)
def _revision(resource: str, model: ModelRef, image: str, defaults: PodDefaults) -> str:
    """Remembered, because it is asked several times at each look at a resource."""
    template = _template(ModelDeployment.model_validate_json(resource), model, image, defaults)
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_REVISION_LENGTH]


def pod_template(md: ModelDeployment, model: ModelRef, image: str, defaults: PodDefaults) -> Manifest:
    """The pod template, with its own digest as a label: pods of two revisions can be told apart, and a revision that
    comes back finds its old ReplicaSet."""
    template = _template(md, model, image, defaults)
    template["metadata"]["labels"][api.REVISION_LABEL] = revision(md, model, image, defaults)
    return template


def _template(md: ModelDeployment, model: ModelRef, image: str, defaults: PodDefaults) -> Manifest:
    spec = md.spec
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_loader(md, model, image, defaults)],
        "containers": [_server(md, model, image, defaults)],
        "volumes": [
            {"name": "bundle", "emptyDir": {"sizeLimit": _size(md, "bundle", defaults)}},
            {"name": "tmp", "emptyDir": {"sizeLimit": _size(md, "tmp", defaults)}},
            *mlflow_ca.volumes(md, defaults),
            *cache.volumes(cache.chosen(md, defaults)),
            *access.volumes(md),
        ],
        "topologySpreadConstraints": _spread(md),
    }
    optional = {
        "nodeSelector": _plain(spec.node_selector),
        "tolerations": _plain(spec.tolerations),
        "affinity": _plain(spec.affinity),
        "imagePullSecrets": [{"name": secret.name} for secret in spec.image_pull_secrets],
        "serviceAccountName": spec.service_account_name,
        "priorityClassName": spec.priority_class_name,
    }
    pod |= {name: value for name, value in optional.items() if value}
    labels = {**spec.pod_labels, **naming.labels(md), api.TRACK_LABEL: api.STABLE}
    if not configmap.swaps(md):
        labels[api.RUN_LABEL] = model.run_id
    metadata: Manifest = {"labels": labels}
    if spec.pod_annotations:
        metadata["annotations"] = dict(spec.pod_annotations)
    return {"metadata": metadata, "spec": pod}


def _spread(md: ModelDeployment) -> list[Manifest]:
    """Over nodes, if the resource does not say otherwise."""
    wanted = md.spec.topology_spread_constraints
    if wanted is None:
        wanted = (TopologySpreadConstraint(topology_key="kubernetes.io/hostname"),)
    return [
        {
            **constraint.model_dump(by_alias=True, exclude_none=True),
            "labelSelector": {"matchLabels": naming.selector(md)},
        }
        for constraint in wanted
    ]


def _size(md: ModelDeployment, volume: str, defaults: PodDefaults) -> str:
    name = f"{volume}_size_limit"
    own = getattr(md.spec.storage, name) if md.spec.storage else None
    return str(getattr(defaults, name) if own is None else own)


def _loader(md: ModelDeployment, model: ModelRef, image: str, defaults: PodDefaults) -> Manifest:
    """Fetches and checks the model. It alone talks to MLflow, so it alone gets the credentials; but for a server that
    swaps models, whose children do the same."""
    container = _container("loader", contract.LOADER_COMMAND, md, model, image, defaults)
    container["volumeMounts"][0]["readOnly"] = False
    container["terminationMessagePolicy"] = "File"
    if md.spec.loader and md.spec.loader.resources:
        container["resources"] = _resources(md.spec.loader.resources)
    _give_cache(container, md, defaults)
    mlflow_ca.give(container, md, defaults)
    recorded = [{"configMapRef": {"name": naming.child_name(md.metadata.name)}}] if configmap.swaps(md) else []
    if sources := [*recorded, *_credentials(defaults)]:
        container["envFrom"] = sources
    return container


def _server(md: ModelDeployment, model: ModelRef, image: str, defaults: PodDefaults) -> Manifest:
    container = _container("server", contract.SERVER_COMMAND, md, model, image, defaults)
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    container["env"] += access.environment(md)
    container["volumeMounts"] += access.mounts(md)
    container["ports"] = [
        {"name": name, "containerPort": number, "protocol": "TCP"} for name, number in access.ports(md)
    ]
    container["startupProbe"] = _probe(contract.LIVE_PATH, period=1, failures=120)
    container["readinessProbe"] = _probe(contract.READY_PATH, period=1, failures=3)
    container["livenessProbe"] = _probe(contract.LIVE_PATH, period=10, failures=3)
    if configmap.swaps(md):
        container["volumeMounts"][0]["readOnly"] = False
        _give_cache(container, md, defaults)
        mlflow_ca.give(container, md, defaults)
        if sources := _credentials(defaults):
            container["envFrom"] = sources
    return container


def _give_cache(container: Manifest, md: ModelDeployment, defaults: PodDefaults) -> None:
    source = cache.chosen(md, defaults)
    container["env"] += cache.environment(source)
    container["volumeMounts"] += cache.mounts(source)


def _credentials(defaults: PodDefaults) -> list[Manifest]:
    """For MLflow."""
    secret = defaults.mlflow_credentials_secret
    return [{"secretRef": {"name": secret, "optional": True}}] if secret else []


def _container(
    name: str, command: tuple[str, ...], md: ModelDeployment, model: ModelRef, image: str, defaults: PodDefaults
) -> Manifest:
    container: Manifest = {
        "name": name,
        "image": image,
        "imagePullPolicy": defaults.image_pull_policy,
        "command": list(command),
        "env": _environment(md, model, defaults),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "bundle", "mountPath": BUNDLE_MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    own = md.spec.resources or Resources(limits=dict(defaults.limits), requests=dict(defaults.requests))
    if resources := _resources(own):
        container["resources"] = resources
    return container


def _resources(wanted: Resources) -> Manifest:
    amounts = {"limits": dict(wanted.limits), "requests": dict(wanted.requests)}
    return {kind: found for kind, found in amounts.items() if found}


def _environment(md: ModelDeployment, model: ModelRef, defaults: PodDefaults) -> list[Manifest]:
    ours = {
        contract.ENV_ROLE: contract.ROLE_PREDICTOR,
        **({} if configmap.swaps(md) else configmap.variables(model)),
        contract.ENV_BUNDLE_DIR: BUNDLE_DIR,
        contract.ENV_ALLOW_PICKLE: "true" if md.spec.model.allow_pickle else "false",
        contract.ENV_DRAIN_SECONDS: str(DRAIN_SECONDS),
        contract.ENV_TRACKING_URI: defaults.tracking_uri,
    }
    if (policy := md.spec.model.version_policy or defaults.version_policy) != "Minor":  # the loader's own default
        ours[contract.ENV_VERSION_POLICY] = policy.lower()
    if md.spec.rollout.replay_samples:
        ours[contract.ENV_REPLAY_SAMPLES] = str(md.spec.rollout.replay_samples)
    if configmap.swaps(md):
        ours[contract.ENV_HOT_SWAP] = "true"
    guarded = configmap.swaps(md) or md.spec.rollout.replay_samples or md.spec.auth is not None
    if guarded and (token := load_token(md, defaults)):
        ours[contract.ENV_LOAD_TOKEN_SHA256] = hashlib.sha256(token.encode()).hexdigest()
    replaceable = _tracing(defaults.otlp_endpoint, defaults.trace_sample_ratio) if defaults.otlp_endpoint else {}
    theirs = [variable.model_dump(by_alias=True, exclude_none=True) for variable in md.spec.env]
    taken = {variable["name"] for variable in theirs}
    environment = [{"name": name, "value": value} for name, value in ours.items()]
    environment += [{"name": name, "value": value} for name, value in replaceable.items() if name not in taken]
    return environment + copy.deepcopy(theirs)


def _tracing(endpoint: str, ratio: float) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(ratio),
    }


def _probe(path: str, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _plain(value: Any) -> Any:
    """A copy in plain dicts and lists, shared with nothing."""
    return json.loads(json.dumps(value)) if value else None
