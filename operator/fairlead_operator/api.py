"""The custom resource as Python sees it: names, reasons, and frozen models of spec and status.

`manifests/crd.yaml` is the same thing for the API server; a test compares the two. Nothing here does I/O.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator
from pydantic.alias_generators import to_camel

from fairlead_operator import contract

GROUP: Final = "fairlead.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "ModelDeployment"
PLURAL: Final = "modeldeployments"
FIELD_MANAGER: Final = "fairlead"
UNSEEN: Final = -1
"""`status.observedGeneration` by default."""

OWNER_LABEL: Final = "fairlead.dev/model-deployment"
"""On everything owned and on its pods: the name of the children (`desired.naming.child_name`)."""
RUN_LABEL: Final = "fairlead.dev/run-id"
APPLIED_ANNOTATION: Final = "fairlead.dev/applied"
"""On everything owned: the digest of the manifest that was applied last."""
TRACK_LABEL: Final = "fairlead.dev/track"
"""On pods and on the Deployments that hold them: `stable` or `candidate`."""
STABLE: Final = "stable"
CANDIDATE: Final = "candidate"
REVISION_LABEL: Final = "fairlead.dev/revision"
"""On pods: the digest of their template. Failures are charged to a revision, never only to a run."""

ADMITTED: Final = "fairlead.dev/admitted"
"""A condition of candidate pods, and their readiness gate: users' requests reach them when the operator has set it."""
PROMOTE_ANNOTATION: Final = "fairlead.dev/promote"
ABORT_ANNOTATION: Final = "fairlead.dev/abort"
APPROVE_ANNOTATION: Final = "fairlead.dev/approve"
"""What people say about one model: its version, or its run ID. About any other model it says nothing."""

CACHE_BYTES: Final = 4 * 2**30
REDIS_URL: Final = r"^rediss?://([^:@/?# ]+@)?([^:@/?#\[\] ]+|\[[0-9a-fA-F:.]+\])(:[1-9][0-9]{0,4})?(/[0-9]{0,3})?$"
"""Without a password, which belongs into a Secret."""

Manifest = dict[str, Any]
"""A Kubernetes object as JSON has it."""


class Reason(StrEnum):
    """Every `reason` a condition can have, with the failure reasons of `contract.FailureReason`."""

    # Ready
    SERVING = "Serving"
    """At least one pod with a proven model answers."""
    STARTING = "Starting"
    """The first pods are on their way."""
    NO_POD_AVAILABLE = "NoPodAvailable"
    """A model is proven, but none of its pods is available now."""
    SCALED_TO_ZERO = "ScaledToZero"
    # ModelResolved
    RESOLVED = "Resolved"
    RESOLVING = "Resolving"
    # UpToDate
    UP_TO_DATE = "UpToDate"
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    """The model did not become ready in `spec.rollout.progressDeadlineSeconds`."""
    SUSPENDED = "Suspended"
    UPDATE_AVAILABLE = "UpdateAvailable"
    """With `updatePolicy: Manual`: the alias means another model, and nobody has approved it yet."""
    # UpToDate, of a canary
    CANARY_IN_PROGRESS = "CanaryInProgress"
    ANALYSIS_UNAVAILABLE = "AnalysisUnavailable"
    """The candidate cannot be judged now: Prometheus or a pod does not answer, or there is no data."""
    ANALYSIS_FAILED = "AnalysisFailed"
    """The candidate was worse than the thresholds and than what serves, `failureThreshold` times."""
    ABORTED = "Aborted"
    """Somebody annotated it so."""
    NAME_CONFLICT = "NameConflict"
    """An object of a name this resource needs belongs to somebody else."""
    INVALID_SPEC = "InvalidSpec"
    """The stored object, or a child made from it, is refused as invalid."""
    APPLY_REFUSED = "ApplyRefused"
    """The API server refuses a child for another reason: rights, quota, an admission policy."""
    AUTOSCALER_MISSING = "AutoscalerMissing"
    """The cluster, or the operator's settings, lack what the autoscaling engine needs."""
    AUTOSCALER_IN_PLACE = "AutoscalerInPlace"
    # DataDrift
    DRIFTED = "Drifted"
    """Requests or predictions are distributed otherwise than in training. The model serves on."""
    NOT_DRIFTED = "NotDrifted"
    # what a pod or the registry says (contract.FailureReason)
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_CORRUPT = "ModelCorrupt"
    MODEL_REFUSED = "ModelRefused"
    MODEL_UNSUPPORTED = "ModelUnsupported"
    VERSION_MISMATCH = "VersionMismatch"
    SELF_TEST_FAILED = "SelfTestFailed"
    TRACKING_SERVER_UNAVAILABLE = "TrackingServerUnavailable"
    LOAD_FAILED = "LoadFailed"


FINAL_REASONS: Final = frozenset(Reason(reason.value) for reason in contract.FINAL_REASONS)


def _parse_time(value: object) -> object:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _print_time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[datetime, BeforeValidator(_parse_time), PlainSerializer(_print_time)]
"""A point in time with a zone, in whole seconds once written."""


def _to_json_name(name: str) -> str:
    """`run_id` is `runID` and `model_uri` is `modelURI`: acronyms keep one case (Kubernetes API conventions)."""
    camel = to_camel(name)
    return camel.replace("Id", "ID").replace("Uri", "URI").replace("Url", "URL") if "_" in name else camel


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=_to_json_name, populate_by_name=True, extra="ignore")


class _Strict(_Frozen):
    model_config = ConfigDict(extra="forbid")


Percent = Annotated[str, Field(pattern=r"^(100(\.0{1,3})?|[0-9]{1,2}(\.[0-9]{1,3})?)$")]
"""0 to 100, as a string, because Kubernetes' API conventions have no floats."""


class ModelSource(_Strict):
    uri: Annotated[
        str | None, Field(pattern=r"^(models:/[^/@:]+@[^/@:]+|models:/[^/@:]+/[1-9][0-9]*|runs:/[0-9a-f]{32}/[^/].*)$")
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


class Autoscaling(_Strict):
    min_replicas: Annotated[int, Field(ge=1, le=10000)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=10000)]
    in_flight_requests_per_pod: Annotated[int, Field(ge=1, le=10000)] = 4
    engine: Literal["KEDA", "HPA"] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas must be at most maxReplicas")
        return self


class ServiceLevel(_Strict):
    """`spec.slo`: what users of the model are promised."""

    latency_milliseconds: Annotated[int | None, Field(ge=1, le=600_000)] = None
    """95 % of the predictions are answered within it."""
    success_percent: Percent | None = None


class Rollout(_Strict):
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


class Resources(_Strict):
    limits: Mapping[str, str | int] = {}
    requests: Mapping[str, str | int] = {}


class EnvVar(_Strict):
    name: Annotated[str, Field(min_length=1)]
    value: str | None = None
    value_from: Mapping[str, Any] | None = None

    @model_validator(mode="after")
    def _not_ours(self) -> Self:
        if self.name in contract_variables():
            raise ValueError(f"{self.name} must be left to the operator, which sets it itself")
        return self


class LocalReference(_Strict):
    name: str


class ClaimSource(_Strict):
    claim_name: Annotated[str, Field(min_length=1, max_length=253)]


class RedisSource(_Strict):
    url: Annotated[str, Field(max_length=512, pattern=REDIS_URL)]


class CacheSource(_Strict):
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


class Spec(_Strict):
    model: ModelSource
    replicas: Annotated[int | None, Field(ge=0, le=10000)] = None
    autoscaling: Autoscaling | None = None
    slo: ServiceLevel | None = None
    rollout: Rollout = Rollout()
    image: str | None = None
    cache: CacheSource | None = None
    resources: Resources | None = None
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


class Metadata(_Frozen):
    name: str
    namespace: str
    uid: str
    generation: int = 1
    annotations: Mapping[str, str] = {}

    def says(self, annotation: str, model: "ModelRef") -> bool:
        """Whether somebody said this about that very model."""
        return self.annotations.get(annotation) in {model.run_id, model.model_version} - {None, ""}


class ModelDeployment(_Frozen):
    """One custom resource, without its status (see `Status`)."""

    metadata: Metadata
    spec: Spec


class ModelRef(_Frozen):
    """A model that cannot change any more: what an alias, a version or a run ID stood for when it was looked up."""

    run_id: str
    model_uri: str = ""
    """Immutable: `models:/NAME/VERSION` or `runs:/RUN_ID/PATH`, never an alias."""
    model_name: str | None = None
    model_version: str | None = None
    alias: str | None = None

    def ref(self) -> "ModelRef":
        """Only the reference, without what subclasses add to it."""
        return ModelRef(**{name: getattr(self, name) for name in ModelRef.model_fields})


class Deployed(ModelRef):
    """A model with the pods that hold it."""

    image: str = ""
    """The image it was rolled out with; kept until the next roll-out, so that an operator upgrade restarts no pod."""
    revision: str = ""
    """Digest of the pod template (`desired.deployment.revision`)."""

    def same(self, other: "Deployed | None") -> bool:
        """Whether it is the same model in the same pods. Of pods that swap models, the revision alone does not say."""
        names = ("revision", "run_id", "model_uri", "model_name", "model_version")
        return other is not None and all(getattr(self, name) == getattr(other, name) for name in names)


class Serving(Deployed):
    since: Time


class Check(_Frozen):
    """One comparison of a candidate, as it came out last."""

    name: str
    value: str | None = None
    """As people read it, with its unit; unset when there was no data."""
    threshold: str = ""
    ok: bool | None = None
    """None: it could not be said."""


class Candidate(Deployed):
    started_at: Time | None = None
    """When its progress deadline began to run; unset while it cannot progress (suspended, scaled to zero). A canary's
    begins anew at each step."""
    step: int | None = None
    """Of a canary: the index into `spec.rollout.steps`. None: no canary."""
    weight_percent: int | None = None
    """Share of the pods with users' traffic that are the candidate's."""
    step_at: Time | None = None
    """Since when all pods of the step are in place: checks look no further back."""
    checked_at: Time | None = None
    checks: tuple[Check, ...] = ()
    failures: int = 0
    """Failed checks so far, over all steps."""
    promoted_at: Time | None = None
    """Since when it takes the serving model's place, all steps passed."""


class Rejection(Deployed):
    trial: str = ""
    """What was tried (`rollout.trial_of`): as long as that stays the same, it is not tried again."""
    reason: Reason
    message: str = ""
    at: Time


class Failure(_Frozen):
    run_id: str | None = None
    pod: str | None = None
    reason: Reason
    message: str = ""
    at: Time


class HistoryEntry(_Frozen):
    run_id: str
    model_version: str | None = None
    from_: Annotated[Time | None, Field(alias="from")] = None
    to: Time | None = None
    verdict: str


class ModelVerdict(_Frozen):
    """What became of a model here, for the model registry."""

    run_id: str
    model_name: str | None = None
    model_version: str | None = None
    text: str


class Condition(_Frozen):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: Time
    observed_generation: int | None = None


def _seen(generation: object) -> object:
    """None for the number that the CRD gives a resource which nobody has looked at yet."""
    return None if generation == UNSEEN else generation


class Status(_Frozen):
    observed_generation: Annotated[int | None, BeforeValidator(_seen)] = None
    conditions: tuple[Condition, ...] = ()
    serving: Serving | None = None
    candidate: Candidate | None = None
    rejected: tuple[Rejection, ...] = ()
    last_failure: Failure | None = None
    history: tuple[HistoryEntry, ...] = ()
    replicas: int | None = None
    ready_replicas: int | None = None
    selector: str | None = None
    url: str | None = None
    untold: tuple[ModelVerdict, ...] = ()
    """What the registry has not been told yet, because it did not answer."""

    def condition(self, kind: str) -> Condition | None:
        return next((found for found in self.conditions if found.type == kind), None)

    def to_json(self) -> Manifest:
        """As the API server stores it: fields that are not set are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def contract_variables() -> frozenset[str]:
    """Environment variables the operator sets on its pods; a user's `env` may not."""
    return frozenset(value for name, value in vars(contract).items() if name.startswith("ENV_"))


def read_status(raw: Mapping[str, Any] | None) -> Status:
    """The stored status; whatever cannot be read is as if it had never been written, and is observed anew."""
    try:
        return Status.model_validate(raw or {})
    except ValueError:
        pass
    fields: dict[str, Any] = {}
    for name, value in (raw or {}).items():
        try:
            Status.model_validate({name: value})
        except ValueError:
            continue
        fields[name] = value
    return Status.model_validate(fields)
