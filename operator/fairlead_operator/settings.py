"""The operator's settings: `FAIRLEAD_OPERATOR_*` environment variables, checked at start."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fairlead_operator.desired.pods import PodDefaults


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="FAIRLEAD_OPERATOR_", frozen=True, env_ignore_empty=True)

    predictor_image: str
    """Image of the serving pods. A ModelDeployment keeps the one it was rolled out with until its next roll-out."""

    mlflow_tracking_uri: str
    """Where the operator and the pods find MLflow."""

    mlflow_username: str | None = None
    """Of the operator itself, for an MLflow with basic authentication."""

    mlflow_password: str | None = None

    mlflow_token: str | None = None
    """Of the operator itself, for an MLflow that takes bearer tokens."""

    mlflow_credentials_secret: str | None = None
    """Name of a Secret whose entries the loaders get as environment variables (`MLFLOW_TRACKING_USERNAME`, …). Looked
    up in each ModelDeployment's own namespace; a namespace without it gets none. The operator never reads it."""

    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated; empty watches all namespaces."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Of the serving pods."""

    otlp_endpoint: str | None = None
    """Where the serving pods send traces (OTLP over HTTP); unset sends none."""

    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of requests that the serving pods trace when the caller has not decided; only with an OTLP endpoint."""

    egress_ports: Annotated[tuple[int, ...], NoDecode] = ()
    """Comma-separated: more ports the serving pods may connect to. 443 for artifacts in an object store. DNS, MLflow's
    port and the OTLP endpoint's are always open. Policies see the pod's port, which may differ from a Service's."""

    alias_poll_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How long an alias that moved may go unnoticed. One call a period for each registered model in use, whatever the
    number of its aliases and of the resources that follow them."""

    resync_seconds: Annotated[float, Field(gt=0)] = 600.0
    """How often everything is listed, which finds what a broken watch missed: one list a kind, whatever the number of
    resources. Jittered by a tenth."""

    workers: Annotated[int, Field(ge=1, le=100)] = 8
    """ModelDeployments worked on at the same time."""

    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Of `/metrics` and `/healthz`; 0 takes a free one."""

    webhook_secret: Annotated[str | None, Field(min_length=16)] = None
    """What MLflow signs its webhooks with. Unset: there is no endpoint for them, and only the poll notices changes."""

    webhook_port: Annotated[int, Field(ge=0, le=65535)] = 8081
    """Of `/webhooks/mlflow`; 0 takes a free one."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("watch_namespaces", "egress_ports", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def pods(self) -> PodDefaults:
        return PodDefaults(
            image=self.predictor_image,
            tracking_uri=self.mlflow_tracking_uri,
            image_pull_policy=self.image_pull_policy,
            otlp_endpoint=self.otlp_endpoint,
            trace_sample_ratio=self.trace_sample_ratio,
            mlflow_credentials_secret=self.mlflow_credentials_secret,
            egress_ports=self.egress_ports,
        )
