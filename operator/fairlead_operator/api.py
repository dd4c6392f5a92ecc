"""The custom resource as Python sees it: names, reasons, and frozen models; its spec is in `spec`.

`manifests/crd.yaml` is the same thing for the API server; a test compares the two. Nothing here does I/O.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from fairlead_operator import contract
from fairlead_operator.form import Frozen, Time
from fairlead_operator.spec import Spec

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

LOGGED_MODEL: Final = "m-"
"""A model's identity begins so where it was logged outside a run: it is the logged model's ID, not a run's."""
ADMITTED: Final = "fairlead.dev/admitted"
"""A condition of candidate pods, and their readiness gate: users' requests reach them when the operator has set it."""
PROMOTE_ANNOTATION: Final = "fairlead.dev/promote"
ABORT_ANNOTATION: Final = "fairlead.dev/abort"
APPROVE_ANNOTATION: Final = "fairlead.dev/approve"
"""What people say about one model: its version, or its run ID. About any other model it says nothing."""

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
    APPLY_FAILED = "ApplyFailed"
    """The API server did not take a child for a reason that may pass; the operator tries again."""
    INTERNAL_ERROR = "InternalError"
    """The operator itself failed; its log has the details, and it tries again."""
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


class Metadata(Frozen):
    name: str
    namespace: str
    uid: str
    generation: int = 1
    annotations: Mapping[str, str] = {}

    def says(self, annotation: str, model: "ModelRef") -> bool:
        """Whether somebody said this about that very model."""
        return self.annotations.get(annotation) in {model.run_id, model.model_version} - {None, ""}


class ModelDeployment(Frozen):
    """One custom resource, without its status (see `Status`)."""

    metadata: Metadata
    spec: Spec


class ModelRef(Frozen):
    """A model that cannot change any more: what an alias, a version or a run ID stood for when it was looked up."""

    run_id: str
    """Its run; of a model that was logged outside a run, the logged model's ID (`m-…`)."""
    model_uri: str = ""
    """Immutable: `models:/NAME/VERSION`, `models:/m-ID` or `runs:/RUN_ID/PATH`, never an alias."""
    model_name: str | None = None
    model_version: str | None = None
    alias: str | None = None

    def same_model(self, other: "ModelRef") -> bool:
        """Whether it is the same model, perhaps by another name. A run may have logged several."""
        if self.run_id != other.run_id:
            return False
        exact = all(ref.model_uri.startswith(("runs:/", f"models:/{LOGGED_MODEL}")) for ref in (self, other))
        return not exact or self.model_uri == other.model_uri

    def ref(self) -> "ModelRef":
        """Only the reference, without what subclasses add to it."""
        return ModelRef(**{name: getattr(self, name) for name in ModelRef.model_fields})


class Deployed(ModelRef):
    """A model with the pods that hold it."""

    image: str = ""
    """The image it was rolled out with."""
    image_defaulted: bool = False
    """Whether that was the operator's default. Only a default is kept until the next roll-out, so that an operator
    upgrade restarts no pod; an image that the spec named goes when the spec no longer names it."""
    revision: str = ""
    """Digest of the pod template (`desired.deployment.revision`)."""

    def same(self, other: "Deployed | None") -> bool:
        """Whether it is the same model in the same pods. Of pods that swap models, the revision alone does not say."""
        names = ("revision", "run_id", "model_uri", "model_name", "model_version")
        return other is not None and all(getattr(self, name) == getattr(other, name) for name in names)


class Serving(Deployed):
    since: Time


class Check(Frozen):
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


class Failure(Frozen):
    run_id: str | None = None
    pod: str | None = None
    reason: Reason
    message: str = ""
    at: Time


class HistoryEntry(Frozen):
    run_id: str
    model_version: str | None = None
    from_: Annotated[Time | None, Field(alias="from")] = None
    to: Time | None = None
    verdict: str


class ModelVerdict(Frozen):
    """What became of a model here, for the model registry."""

    run_id: str
    model_name: str | None = None
    model_version: str | None = None
    text: str


class Condition(Frozen):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: Time
    observed_generation: int | None = None


def _seen(generation: object) -> object:
    """None for the number that the CRD gives a resource which nobody has looked at yet."""
    return None if generation == UNSEEN else generation


class Status(Frozen):
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
