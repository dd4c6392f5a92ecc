"""`spec` of the custom resource. What the CRD's rules say is said here again, for whoever makes one in Python."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fairlead_operator import contract
from fairlead_operator.form import Strict

HTTPS_URL: Final = r"^https://[^/?#\s@]+(/[^?#\s]*)?$"
CACHE_BYTES: Final = 4 * 2**30
REDIS_URL: Final = r"^rediss?://([^:@/?# ]+@)?([^:@/?#\[\] ]+|\[[0-9a-fA-F:.]+\])(:[1-9][0-9]{0,4})?(/[0-9]{0,3})?$"
"""Without a password, which belongs into a Secret."""


def _foreign(labels: Mapping[str, str]) -> Mapping[str, str]:
    if ours := sorted(name for name in labels if OURS.match(name)):
        raise ValueError(f"must be labels that the operator does not set itself: {', '.join(ours)}")
    return labels


OURS: Final = re.compile(r"(fairlead\.dev|app\.kubernetes\.io)/")
"""Labels that selectors and the operator itself rely on begin so."""
Quantity = str | int
BYTES: Final = ("memory", "ephemeral-storage")
FRACTION: Final = re.compile(r"[num]$|[eE]-|^[+-]?[0-9]*\.[0-9]*[1-9][0-9]*$")
"""Quantities that are fractions of a byte: 512m is half a byte, 512M and 512Mi are what was meant."""

Percent = Annotated[str, Field(pattern=r"^(100(\.0{1,3})?|[0-9]{1,2}(\.[0-9]{1,3})?)$")]
"""0 to 100, as a string, because Kubernetes' API conventions have no floats."""


class ModelSource(Strict):
    uri: Annotated[
        str | None,
        Field(
            pattern=r"^(models:/[^/@:]+@[^/@:]+|models:/[^/@:]+/[1-9][0-9]*|models:/m-[0-9a-f]{32}"
            r"|runs:/[0-9a-f]{32}/[^/].*)$"
        ),
    ] = None
    run_id: Annotated[str | None, Field(pattern=r"^[0-9a-f]{32}$")] = None
    allow_pickle: bool = False
    version_policy: Literal["Strict", "Minor", "Warn"] | None = None
    update_policy: Literal["Auto", "Manual"] = "Auto"

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.uri is None) == (self.run_id is None):
            raise ValueError("must be exactly one of uri and runID")
        return self


class Autoscaling(Strict):
    min_replicas: Annotated[int, Field(ge=1, le=10000)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=10000)]
    in_flight_requests_per_pod: Annotated[int, Field(ge=1, le=10000)] = 4
    engine: Literal["KEDA", "HPA"] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas must be at most maxReplicas")
        return self


class ServiceLevel(Strict):
    """`spec.slo`: what users of the model are promised."""

    latency_milliseconds: Annotated[int | None, Field(ge=1, le=600_000)] = None
    """95 % of the predictions are answered within it."""
    success_percent: Percent | None = None


class Rollout(Strict):
    strategy: Literal["Rolling", "Canary", "HotSwap"] = "Rolling"
    steps: Annotated[tuple[Annotated[int, Field(ge=0, le=99)], ...], Field(min_length=1, max_length=20)] = (0, 20, 50)
    """Per cent of the pods on trial, ascending."""
    step_seconds: Annotated[int, Field(ge=5, le=86400)] = 60
    min_requests: Annotated[int, Field(ge=1, le=10000)] = 50
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 2
    max_disagreement_percent: Percent | None = None
    replay_samples: Annotated[int, Field(ge=0, le=1000)] = 0
    progress_deadline_seconds: Annotated[int, Field(ge=5, le=86400)] = 600

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError("steps must be ascending")
        return self


class Resources(Strict):
    limits: Mapping[str, str | int] = {}
    requests: Mapping[str, str | int] = {}

    @model_validator(mode="after")
    def _whole_bytes(self) -> Self:
        for name, amount in (*self.limits.items(), *self.requests.items()):
            if name in BYTES and FRACTION.search(str(amount)):
                raise ValueError(f"{name} must be a whole number of bytes, such as 512Mi: {amount} is a fraction")
        return self


class Storage(Strict):
    """`spec.storage`: sizes of the pods' scratch volumes."""

    bundle_size_limit: Quantity | None = None
    """What a loader downloads, and the bundle that it makes of it."""
    tmp_size_limit: Quantity | None = None


class Loader(Strict):
    resources: Resources | None = None


class MLflowTrust(Strict):
    """`spec.mlflow`: authorities that loaders trust MLflow by, with the key `ca.crt`, in the resource's namespace."""

    ca_config_map_name: Annotated[str | None, Field(min_length=1, max_length=253)] = None
    ca_secret_name: Annotated[str | None, Field(min_length=1, max_length=253)] = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.ca_config_map_name is None) == (self.ca_secret_name is None):
            raise ValueError("must be exactly one of caConfigMapName and caSecretName")
        return self


class TopologySpreadConstraint(Strict):
    """As in a pod; the operator adds the selector of the resource's own pods."""

    max_skew: Annotated[int, Field(ge=1)] = 1
    topology_key: Annotated[str, Field(min_length=1, max_length=317)]
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    min_domains: Annotated[int | None, Field(ge=1)] = None

    @model_validator(mode="after")
    def _strict_domains(self) -> Self:
        if self.min_domains is not None and self.when_unsatisfiable != "DoNotSchedule":
            raise ValueError("must be whenUnsatisfiable DoNotSchedule where minDomains is set")
        return self


class ServiceSettings(Strict):
    """`spec.service`: the Service that clients call."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    annotations: Mapping[str, str] = {}
    labels: Annotated[Mapping[str, str], AfterValidator(_foreign)] = {}


class EnvVar(Strict):
    name: Annotated[str, Field(min_length=1)]
    value: str | None = None
    value_from: Mapping[str, Any] | None = None

    @model_validator(mode="after")
    def _not_ours(self) -> Self:
        if self.name in contract_variables():
            raise ValueError(f"{self.name} must be left to the operator, which sets it itself")
        return self


class LocalReference(Strict):
    name: str


class ClaimSource(Strict):
    claim_name: Annotated[str, Field(min_length=1, max_length=253)]


class RedisSource(Strict):
    url: Annotated[str, Field(max_length=512, pattern=REDIS_URL)]


class CacheSource(Strict):
    """`spec.cache`: where bundles are kept for all pods."""

    enabled: bool = True
    persistent_volume_claim: ClaimSource | None = None
    redis: RedisSource | None = None
    secret_name: Annotated[str | None, Field(min_length=1, max_length=253)] = None
    """In the resource's own namespace, with the keys `password`, `signing-key` and `ca.crt` as far as there are any."""
    signed: bool = False
    max_bytes: Annotated[int, Field(ge=1_048_576)] = CACHE_BYTES

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        places = [place for place in (self.persistent_volume_claim, self.redis) if place is not None]
        if len(places) != (1 if self.enabled else 0):
            raise ValueError("must be exactly one of persistentVolumeClaim and redis, or enabled: false alone")
        if self.signed and self.secret_name is None:
            raise ValueError("must be with a secretName when signed is true")
        return self


_Name = Annotated[str, Field(min_length=1, max_length=253)]
_Address = Annotated[str, Field(max_length=512, pattern=HTTPS_URL)]


class OpenIDConnect(Strict):
    """`spec.auth.oidc`: whose tokens clients may send."""

    issuer: _Address
    audience: Annotated[str, Field(min_length=1, max_length=253)]
    jwks_url: _Address | None = None
    ca_config_map_name: _Name | None = None
    """In the resource's own namespace, with the key `ca.crt`."""
    subject_claim: Annotated[str, Field(min_length=1, max_length=253)] = "sub"
    roles_claim: Annotated[str, Field(min_length=1, max_length=253)] = "roles"
    roles: Mapping[str, tuple[Literal["predict", "admin"], ...]] = {}


class Auth(Strict):
    """`spec.auth`: who may ask the pods."""

    api_keys_secret_name: _Name | None = None
    """In the resource's own namespace, with the key `keys.json`."""
    oidc: OpenIDConnect | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.api_keys_secret_name is None and self.oidc is None:
            raise ValueError("must be with apiKeysSecretName, oidc or both")
        return self


class Tls(Strict):
    """`spec.tls`: what the pods' second port shows, and asks for."""

    secret_name: _Name
    """In the resource's own namespace, with the keys `tls.crt` and `tls.key`."""
    client_ca_secret_name: _Name | None = None
    """The same, with the key `ca.crt`: clients need a certificate that it has signed."""


class Spec(Strict):
    model: ModelSource
    replicas: Annotated[int | None, Field(ge=0, le=10000)] = None
    autoscaling: Autoscaling | None = None
    slo: ServiceLevel | None = None
    rollout: Rollout = Rollout()
    image: str | None = None
    cache: CacheSource | None = None
    auth: Auth | None = None
    tls: Tls | None = None
    mlflow: MLflowTrust | None = None
    service: ServiceSettings = ServiceSettings()
    resources: Resources | None = None
    loader: Loader | None = None
    storage: Storage | None = None
    pod_annotations: Mapping[str, str] = {}
    pod_labels: Annotated[Mapping[str, str], AfterValidator(_foreign)] = {}
    priority_class_name: Annotated[str | None, Field(min_length=1, max_length=253)] = None
    topology_spread_constraints: Annotated[tuple[TopologySpreadConstraint, ...] | None, Field(max_length=16)] = None
    termination_grace_period_seconds: Annotated[int, Field(ge=30, le=3600)] = 30
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] | None = None
    env: tuple[EnvVar, ...] = ()
    image_pull_secrets: tuple[LocalReference, ...] = ()
    service_account_name: str | None = None
    suspend: bool = False
    history_limit: Annotated[int, Field(ge=0, le=100)] = 10

    @model_validator(mode="after")
    def _one_master_of_replicas(self) -> Self:
        if self.replicas is not None and self.autoscaling is not None:
            raise ValueError("must be at most one of replicas and autoscaling")
        return self


def contract_variables() -> frozenset[str]:
    """Environment variables the operator sets on its pods; a user's `env` may not."""
    return frozenset(value for name, value in vars(contract).items() if name.startswith("ENV_"))
