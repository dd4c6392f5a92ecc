"""What the service promises to the programs around it, as constants.

The operator has its own copy of what it relies on (`fairlead_operator.contract`); neither imports the other,
and `tests/unit/test_contract.py` compares the two.
"""

from enum import StrEnum
from typing import Final

HTTP_PORT: Final = 8000
TLS_PORT: Final = 8443
"""Where the server speaks TLS; the other port answers probes and metrics then, and nothing else."""
ALL_ADDRESSES: Final = "0.0.0.0"
LIVE_PATH: Final = "/health/live"
READY_PATH: Final = "/health/ready"
METRICS_PATH: Final = "/metrics"
PREDICT_PATH: Final = "/predict"
INFO_PATH: Final = "/model/info"
LOAD_PATH: Final = "/model/load/{run_id}"
SAMPLES_PATH: Final = "/model/samples"

REPLAY_HEADER: Final = "Fairlead-Replay"
"""On predictions that no user asked for: their rows are neither kept as samples nor counted as drift."""

SERVER_COMMAND: Final = ("python", "-m", "fairlead_service")
LOADER_COMMAND: Final = ("python", "-m", "fairlead_service.loading")

# Environment variables that the operator sets on predictor pods.
ENV_ROLE: Final = "FAIRLEAD_ROLE"
ENV_MODEL_URI: Final = "FAIRLEAD_MODEL_URI"
ENV_RUN_ID: Final = "FAIRLEAD_RUN_ID"
ENV_MODEL_NAME: Final = "FAIRLEAD_MODEL_NAME"
ENV_MODEL_VERSION: Final = "FAIRLEAD_MODEL_VERSION"
ENV_BUNDLE_DIR: Final = "FAIRLEAD_BUNDLE_DIR"
ENV_ALLOW_PICKLE: Final = "FAIRLEAD_ALLOW_PICKLE"
ENV_VERSION_POLICY: Final = "FAIRLEAD_VERSION_POLICY"
"""`strict`, `minor` (without it) or `warn`."""
ENV_DRAIN_SECONDS: Final = "FAIRLEAD_DRAIN_SECONDS"
ENV_HOT_SWAP: Final = "FAIRLEAD_HOT_SWAP"
ENV_LOAD_TOKEN_SHA256: Final = "FAIRLEAD_LOAD_TOKEN_SHA256"
ENV_LOAD_TOKEN: Final = "FAIRLEAD_LOAD_TOKEN"
ENV_TERMINATION_LOG: Final = "FAIRLEAD_TERMINATION_LOG"
ENV_REPLAY_SAMPLES: Final = "FAIRLEAD_REPLAY_SAMPLES"
ENV_CACHE_URL: Final = "FAIRLEAD_CACHE_URL"
ENV_CACHE_MAX_BYTES: Final = "FAIRLEAD_CACHE_MAX_BYTES"
ENV_CACHE_PASSWORD: Final = "FAIRLEAD_CACHE_PASSWORD"
ENV_CACHE_CA: Final = "FAIRLEAD_CACHE_CA"
ENV_CACHE_SIGNED: Final = "FAIRLEAD_CACHE_SIGNED"
ENV_CACHE_SIGNING_KEY: Final = "FAIRLEAD_CACHE_SIGNING_KEY"
ENV_API_KEYS_FILE: Final = "FAIRLEAD_API_KEYS_FILE"
ENV_OIDC_ISSUER: Final = "FAIRLEAD_OIDC_ISSUER"
ENV_OIDC_AUDIENCE: Final = "FAIRLEAD_OIDC_AUDIENCE"
ENV_OIDC_JWKS_URL: Final = "FAIRLEAD_OIDC_JWKS_URL"
ENV_OIDC_CA_FILE: Final = "FAIRLEAD_OIDC_CA_FILE"
ENV_OIDC_SUBJECT_CLAIM: Final = "FAIRLEAD_OIDC_SUBJECT_CLAIM"
ENV_OIDC_ROLES_CLAIM: Final = "FAIRLEAD_OIDC_ROLES_CLAIM"
ENV_OIDC_ROLES: Final = "FAIRLEAD_OIDC_ROLES"
ENV_TLS_CERT_FILE: Final = "FAIRLEAD_TLS_CERT_FILE"
ENV_TLS_KEY_FILE: Final = "FAIRLEAD_TLS_KEY_FILE"
ENV_TLS_CLIENT_CA_FILE: Final = "FAIRLEAD_TLS_CLIENT_CA_FILE"
ENV_TRACKING_URI: Final = "MLFLOW_TRACKING_URI"

SEMANTIC_VERSION_TAG: Final = "semantic_version"
"""Of a model version in MLflow."""

ROLE_API: Final = "api"
ROLE_PREDICTOR: Final = "predictor"

# Metrics of the pods, and what tells predictions from other requests in them.
METRIC_REQUESTS: Final = "http_requests_total"
METRIC_IN_FLIGHT: Final = "http_requests_in_progress"
METRIC_DURATION: Final = "http_request_duration_seconds"
"""A classic histogram, with the labels `path` and `status` as METRIC_REQUESTS has them."""
INFERENCE_PATHS: Final = (
    "/predict",
    "/invocations",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
)
"""Values of the label `path`: route templates."""
LATENCY_MILLISECONDS: Final = (
    0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 75, 100, 150, 250, 350, 500, 750, 1000, 2500, 5000, 10000,
)  # fmt: skip
"""The histogram's finite bounds, in thousandths of its unit."""
METRIC_FEATURE_DRIFT: Final = "feature_drift_psi"
METRIC_PREDICTION_DRIFT: Final = "prediction_drift_psi"
METRIC_DRIFT_ROWS: Final = "drift_sample_rows"
DRIFT_PSI_THRESHOLD: Final = 0.25
"""Above it a feature or the predictions have drifted; how often that is chance is in docs/drift.md."""

TERMINATION_LOG: Final = "/dev/termination-log"
"""A failed loader writes one JSON object `{"reason": FailureReason, "message": str, "run_id": str}` here, the last if
it was given one (at most 4096 bytes)."""


class FailureReason(StrEnum):
    """Why a model could not be loaded. All but TRACKING_SERVER_UNAVAILABLE and LOAD_FAILED are final:
    trying the same run again gives the same answer."""

    MODEL_NOT_FOUND = "ModelNotFound"
    """No such run, version or alias, or the run has no model."""
    MODEL_CORRUPT = "ModelCorrupt"
    """Files are missing, truncated or do not parse."""
    MODEL_REFUSED = "ModelRefused"
    """Pickle without permission, or types outside the allow-list."""
    MODEL_UNSUPPORTED = "ModelUnsupported"
    """Not a scikit-learn model, or one whose input is not a numeric matrix."""
    VERSION_MISMATCH = "VersionMismatch"
    """Trained with other versions of scikit-learn, numpy or Python than this image has."""
    SELF_TEST_FAILED = "SelfTestFailed"
    """Loaded, but fails on its own input example."""
    TRACKING_SERVER_UNAVAILABLE = "TrackingServerUnavailable"
    """MLflow does not answer; worth trying again."""
    LOAD_FAILED = "LoadFailed"
    """Anything else (a crash, out of memory); may pass."""


FINAL_REASONS: Final = frozenset(FailureReason) - {
    FailureReason.TRACKING_SERVER_UNAVAILABLE,
    FailureReason.LOAD_FAILED,
}


class TrainingReason(StrEnum):
    """Why a training gave no model. The first four are the request's fault, and `where` points into it."""

    UNKNOWN_ALGORITHM = "UnknownAlgorithm"
    INVALID_HYPERPARAMETER = "InvalidHyperparameter"
    INVALID_DATA = "InvalidData"
    """The matrix or the target cannot be learned from: one class, not finite, lengths differ, labels of mixed types."""
    INVALID_REQUEST = "InvalidRequest"
    """Any other field of the request."""
    TRACKING_SERVER_UNAVAILABLE = "TrackingServerUnavailable"
    """MLflow does not answer; worth trying again."""
    DISK_FULL = "DiskFull"
    """There is no space for the files of the training; may pass."""
    CANCELLED = "Cancelled"
    """The trainer was told to stop (SIGTERM); its MLflow run is KILLED."""
    TRAINING_FAILED = "TrainingFailed"
    """Anything else."""
