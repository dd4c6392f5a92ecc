"""The operator's settings: `FAIRLEAD_OPERATOR_*` environment variables, checked at start."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fairlead_operator.addresses import split_userinfo
from fairlead_operator.desired.pods import PodDefaults
from fairlead_operator.desired.surroundings import RUNBOOKS, Engine, Surroundings
from fairlead_operator.spec import CACHE_BYTES, REDIS_URL


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="FAIRLEAD_OPERATOR_", frozen=True, env_ignore_empty=True)

    predictor_image: str
    """Image of the serving pods. A ModelDeployment keeps the one it was rolled out with until its next roll-out."""

    mlflow_tracking_uri: str
    """Where the operator and the pods find MLflow. A user and password in it become those of the operator below; pods
    get the address without them, and their own from `mlflow_credentials_secret`."""

    mlflow_username: str | None = None
    """Of the operator itself, for an MLflow with basic authentication."""

    mlflow_password: SecretStr | None = None

    mlflow_token: SecretStr | None = None
    """Of the operator itself, for an MLflow that takes bearer tokens."""

    mlflow_credentials_secret: str | None = None
    """Name of a Secret whose entries the loaders get as environment variables (`MLFLOW_TRACKING_USERNAME`, …). Looked
    up in each ModelDeployment's own namespace; a namespace without it gets none. The operator never reads it."""

    mlflow_ca_file: Path | None = None
    """Authorities (PEM) that MLflow's certificate is trusted by, for the operator itself; unset: the system's."""

    mlflow_ca_configmap: str | None = None
    """Name of a ConfigMap with the same authorities in its key `ca.crt`, for the loaders. Looked up in each
    ModelDeployment's own namespace: pods do not start in one without it."""

    mlflow_ca_secret: str | None = None
    """The same in a Secret; at most one of the two."""

    version_policy: Literal["Strict", "Minor", "Warn"] = "Minor"
    """Which differences between a model's versions and the image's refuse it, where `spec.model` does not say."""

    load_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    """A secret that the operator alone has. From it the tokens are made, one for each ModelDeployment, that pods ask
    for before they swap models (strategy HotSwap) or hand out rows (`replaySamples`). Unset: whoever reaches a pod may
    do both. Another key rolls those pods."""

    pod_ca_file: Path | None = None
    """Authorities (PEM) that certificates of pods with `spec.tls` are trusted by; unset: the system's."""

    pod_cert_file: Path | None = None
    """The operator's own certificate (PEM), for pods that ask their clients for one."""

    pod_key_file: Path | None = None

    lease_name: str | None = None
    """Name of the Lease by which replicas elect the one that works; unset: there is one replica, and no election."""

    lease_namespace: str | None = None
    """Where the Lease is; unset: in the operator's own namespace."""

    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated; empty watches all namespaces."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Of the serving pods."""

    default_requests: Annotated[dict[str, str], NoDecode] = {"cpu": "50m", "memory": "128Mi"}
    """`name=amount`, comma-separated, or `none`: resources that containers of pods request where `spec.resources` is
    not set."""

    default_limits: Annotated[dict[str, str], NoDecode] = {"memory": "2Gi"}
    """The same for their limits."""

    bundle_size_limit: str = "8Gi"
    """Size of the pods' volume for models, where `spec.storage` does not say: the download and what is made of it."""

    tmp_size_limit: str = "1Gi"
    """Size of their `/tmp`, where `spec.storage` does not say."""

    otlp_endpoint: str | None = None
    """Where the serving pods send traces (OTLP over HTTP); unset sends none."""

    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of requests that the serving pods trace when the caller has not decided; only with an OTLP endpoint."""

    egress_ports: Annotated[tuple[int, ...], NoDecode] = ()
    """Comma-separated: more ports the serving pods may connect to. 443 for artifacts in an object store. DNS, MLflow's
    port and the OTLP endpoint's are always open. Policies see the pod's port, which may differ from a Service's."""

    cache_url: Annotated[str | None, Field(pattern=REDIS_URL)] = None
    """A Redis that keeps bundles for ModelDeployments without a `spec.cache`; unset: there is no cache for them."""

    cache_secret: str | None = None
    """Name of a Secret with its `password`, `ca.crt` and `signing-key`, as far as there are any, looked up in each
    ModelDeployment's own namespace. The operator never reads it."""

    cache_signed: bool = False
    """Whether loaders use only bundles that were signed with the Secret's `signing-key`."""

    cache_max_bytes: Annotated[int, Field(ge=1_048_576)] = CACHE_BYTES
    """Of all bundles together; those not used for longest go first."""

    alias_poll_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How long an alias that moved may go unnoticed. One call a period for each registered model in use, whatever the
    number of its aliases and of the resources that follow them."""

    resync_seconds: Annotated[float, Field(gt=0)] = 600.0
    """How often everything is listed, which finds what a broken watch missed: one list a kind, whatever the number of
    resources. Jittered by a tenth."""

    prometheus_url: Annotated[str | None, Field(pattern=r"^https?://\S+$")] = None
    """Where the operator looks up the traffic of canaries and the drift of models, and KEDA the load of models. A user
    and password in it become those of the operator below."""

    prometheus_username: str | None = None
    """Of the operator itself, for a Prometheus with basic authentication."""

    prometheus_password: SecretStr | None = None

    drift_poll_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How often Prometheus is asked about drift: one query a period, whatever the number of models."""

    autoscaling_engine: Engine = "KEDA"
    """For ModelDeployments whose `spec.autoscaling` names none."""

    scaling_window_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    """Models are scaled on averages over so long; at least four scrape intervals. The HPA engine's window is in the
    adapter's rules instead."""

    scaling_poll_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """How often KEDA itself looks. The HPA asks for the metrics at its own pace, every 15 s."""

    scale_up_window_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    """Pods are added when the lowest wish of so long a time wants them. Up to 30 makes sense: users wait."""

    scale_down_window_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    """Pods are taken away when the highest wish of so long a time does not want them."""

    scale_down_period_seconds: Annotated[int, Field(ge=1, le=1800)] = 60
    """At most half of the pods go in so long."""

    monitoring_labels: Annotated[dict[str, str], NoDecode] = {}
    """`name=value`, comma-separated: labels of the PrometheusRules, where Prometheus selects by label."""

    runbook_url: str = RUNBOOKS
    """Where the alerts' runbooks are: the directory, without the last slash."""

    workers: Annotated[int, Field(ge=1, le=100)] = 8
    """ModelDeployments worked on at the same time."""

    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Of `/metrics` and `/healthz`; 0 takes a free one."""

    webhook_secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    """What MLflow signs its webhooks with. Unset: there is no endpoint for them, and only the poll notices changes."""

    webhook_port: Annotated[int, Field(ge=0, le=65535)] = 8081
    """Of `/webhooks/mlflow`; 0 takes a free one."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("watch_namespaces", "egress_ports", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("monitoring_labels", "default_requests", "default_limits", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.strip().lower() == "none":
            return {}
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("must be name=value, comma-separated")
        return {name.strip(): text.strip() for name, _, text in pairs}

    @model_validator(mode="before")
    @classmethod
    def _without_userinfo(cls, data: dict[str, object]) -> dict[str, object]:
        """Addresses reach messages, logs and pods: no user or password may be left in one."""
        data = dict(data)
        for field, of in (("mlflow_tracking_uri", "mlflow"), ("prometheus_url", "prometheus")):
            if not isinstance(value := data.get(field), str):
                continue
            data[field], username, password = split_userinfo(value)
            if username is not None and not data.get(f"{of}_username"):
                data |= {f"{of}_username": username, f"{of}_password": password}
        return data

    @field_validator("otlp_endpoint")
    @classmethod
    def _no_userinfo(cls, value: str | None) -> str | None:
        if value is not None and split_userinfo(value).url != value:
            raise ValueError("must have no user and password, which every pod would show; use spec.env for them")
        return value

    @model_validator(mode="after")
    def _one_authority(self) -> Self:
        if self.mlflow_ca_configmap and self.mlflow_ca_secret:
            raise ValueError("must be at most one of MLFLOW_CA_CONFIGMAP and MLFLOW_CA_SECRET")
        return self

    @property
    def mlflow_auth(self) -> tuple[str, str] | None:
        """User and password."""
        return (self.mlflow_username, secret(self.mlflow_password) or "") if self.mlflow_username else None

    @property
    def prometheus_auth(self) -> tuple[str, str] | None:
        """User and password."""
        if not self.prometheus_username:
            return None
        return self.prometheus_username, secret(self.prometheus_password) or ""

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(
            prometheus_url=self.prometheus_url,
            autoscaling_engine=self.autoscaling_engine,
            scaling_window_seconds=self.scaling_window_seconds,
            scaling_poll_seconds=self.scaling_poll_seconds,
            scale_up_window_seconds=self.scale_up_window_seconds,
            scale_down_window_seconds=self.scale_down_window_seconds,
            scale_down_period_seconds=self.scale_down_period_seconds,
            monitoring_labels=self.monitoring_labels,
            runbook_url=self.runbook_url,
        )

    @property
    def pods(self) -> PodDefaults:
        return PodDefaults(
            image=self.predictor_image,
            tracking_uri=self.mlflow_tracking_uri,
            image_pull_policy=self.image_pull_policy,
            requests=tuple(sorted(self.default_requests.items())),
            limits=tuple(sorted(self.default_limits.items())),
            bundle_size_limit=self.bundle_size_limit,
            tmp_size_limit=self.tmp_size_limit,
            otlp_endpoint=self.otlp_endpoint,
            trace_sample_ratio=self.trace_sample_ratio,
            mlflow_credentials_secret=self.mlflow_credentials_secret,
            mlflow_ca_config_map=self.mlflow_ca_configmap,
            mlflow_ca_secret=self.mlflow_ca_secret,
            egress_ports=self.egress_ports,
            load_key=secret(self.load_key),
            version_policy=self.version_policy,
            cache_url=self.cache_url,
            cache_secret=self.cache_secret,
            cache_signed=self.cache_signed,
            cache_max_bytes=self.cache_max_bytes,
        )


def secret(value: SecretStr | None) -> str | None:
    """As it is, for whom it is meant; settings that are printed show stars."""
    return None if value is None else value.get_secret_value()
