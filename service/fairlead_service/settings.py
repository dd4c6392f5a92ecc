"""What can be set from outside, and why one would. Every field is an environment variable: `FAIRLEAD_` and the
field's name in capitals, but for `MLFLOW_TRACKING_URI`, which MLflow's own clients read too."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fairlead_service import contract, patterns
from fairlead_service.access.provider import trustworthy
from fairlead_service.access.roles import Role


def _from_the_provider(url: str) -> str:
    if trustworthy(url):
        return url
    raise ValueError("must be an https address, so that nobody between can put other keys there")


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Seconds = Annotated[float, Field(ge=0)]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="FAIRLEAD_", frozen=True, extra="ignore", env_ignore_empty=True)

    role: Literal["api", "predictor"] = "api"
    """`api` trains, loads and predicts; `predictor` serves the one bundle in `bundle_dir` and nothing else."""

    host: str = contract.ALL_ADDRESSES
    """Address to listen on. All of them by default, as pods need; `127.0.0.1` on a workstation."""
    port: Annotated[int, Field(ge=0, le=65535)] = contract.HTTP_PORT
    """Port to listen on; 0 takes a free one and logs it."""
    listen_fd: Annotated[int, Field(ge=0)] | None = None
    """File descriptor of a socket that listens already, in place of `host` and `port`: for a program that has to be
    sure of the port before it starts the server."""
    tls_cert_file: Path | None = None
    """Serve TLS on `tls_port`, with this certificate chain (PEM). Read again when it changes. `port` stays as it is for
    probes, metrics and the operator, and for nobody else."""
    tls_key_file: Path | None = None
    """The certificate's private key (PEM)."""
    tls_client_ca_file: Path | None = None
    """Mutual TLS: clients need a certificate that one of these (PEM) has signed."""
    tls_port: Annotated[int, Field(ge=0, le=65535)] = contract.TLS_PORT
    """Port of TLS; 0 takes a free one and logs it."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """`debug` adds a line for each probe and scrape, and what child processes print."""

    tracking_uri: str = Field(
        default="http://127.0.0.1:5000",
        repr=False,
        validation_alias=AliasChoices(contract.ENV_TRACKING_URI, "tracking_uri"),
    )
    """MLflow's server, as the child processes are told. A user and a password in it are taken out (`addresses`)."""

    bundle_dir: Path | None = None
    """Role predictor: where the loader wrote the bundle. Required there, not used by role api."""
    data_dir: Path = Path(".fairlead/api")
    """Role api: bundles of the current and the previous model, and the files of running jobs."""
    termination_log: Path = Path(contract.TERMINATION_LOG)
    """Role predictor: where a start that failed leaves its reason, if the file exists (in a pod it does)."""
    allow_pickle: bool = False
    """Whether models saved by pickle may be loaded. Loading one runs whatever code its author put into it."""

    hot_swap: bool = False
    """Role predictor: whether another model may be loaded beside the one that serves and take its place, by
    `POST /model/load/RUN_ID`. The one before is kept in memory, and loading it again is a swap. Needs a `bundle_dir`
    whose directory can be written, MLflow, and memory for two models and one that is being loaded."""
    replay_samples: Annotated[int, Field(ge=0, le=1000)] = 0
    """Newest rows of requests to keep, one row in four, for `GET /model/samples`. 0, the default, keeps none for it and
    has no such path: rows are users' data. The operator replays them against a model on trial."""
    api_keys_file: Path | None = None
    """A JSON list of `{name, sha256, roles}`: the keys that clients may send. Read again when it changes.
    `python -m fairlead_service.access new` makes one. Without it and `oidc_issuer` nobody is asked who they are."""
    oidc_issuer: Annotated[str, AfterValidator(_from_the_provider)] | None = None
    """An OpenID Connect provider whose tokens clients may send; the `iss` of its tokens. A Kubernetes cluster is one,
    and the tokens of its service accounts are such tokens."""
    oidc_audience: str | None = None
    """The `aud` that tokens must have. Required with `oidc_issuer`."""
    oidc_jwks_url: Annotated[str, AfterValidator(_from_the_provider)] | None = None
    """Where the provider's keys are, if not where `/.well-known/openid-configuration` says."""
    oidc_ca_file: Path | None = None
    """Certificates that the provider is trusted by; unset: the system's."""
    oidc_subject_claim: str = "sub"
    """The claim that says whose a token is, in audit lines."""
    oidc_roles_claim: str = "roles"
    """The claim, or path to it with dots (`realm_access.roles`), that has the roles: a list, or words in a string."""
    oidc_roles: dict[str, frozenset[Role]] | None = None
    """JSON, `{"data-science": ["train", "predict"]}`: what values of that claim stand for; unset: the roles' own
    names."""
    load_token: SecretStr | None = None
    """The bearer token that loading another model and reading samples ask for; unset: nobody is asked for one. Where
    clients are asked who they are, it opens `/model/info` and `/predict`, too: it is the operator's."""
    load_token_sha256: Annotated[str, Field(pattern=patterns.SHA256)] | None = None
    """The same by its digest, in hexadecimal digits: what may be read by everybody who can see the pod."""

    max_body_bytes: Annotated[int, Field(gt=0)] = 16 * 2**20
    """Longest body of `/predict`; a longer one is refused while it is being read."""
    max_train_body_bytes: Annotated[int, Field(gt=0)] = 32 * 2**20
    """Longest body of `/train`. One of more than 256 KiB is parsed by a process of its own: larger data belong in
    MLflow."""
    max_upload_bytes: Annotated[int, Field(gt=0)] = 256 * 2**20
    """Longest body of `/train` with a CSV or Parquet file, and longest file fetched from MLflow. It is kept on disk."""
    max_batch_rows: Annotated[int, Field(gt=0)] = 10_000
    """Most rows in one `/predict`."""
    max_train_rows: Annotated[int, Field(gt=0)] = 1_000_000
    """Most rows in one `/train`."""
    max_train_columns: Annotated[int, Field(gt=0)] = 10_000
    """Most columns of one `/train`."""
    max_train_estimators: Annotated[int, Field(gt=0)] = 10_000
    """Most trees, or other estimators, of one ensemble in `/train` (`n_estimators`)."""
    max_train_iterations: Annotated[int, Field(gt=0)] = 100_000
    """Most iterations of one fit in `/train` (`max_iter`)."""
    body_timeout_seconds: Annotated[float, Field(gt=0)] = 30
    """How long a client may take to send a body."""
    upload_timeout_seconds: Annotated[float, Field(gt=0)] = 600
    """How long a client may take to send a file."""
    max_in_flight: Annotated[int, Field(gt=0)] = 1024
    """Predictions that are worked on at a time, by any protocol; further ones are answered 429 at once, before their
    bodies are read. Divide it by the predictions a second that a pod makes: so long may one take. 1024 is what Envoy
    lets into a server by default."""
    max_waiting_rows: Annotated[int, Field(gt=0)] = 100_000
    """Rows that may wait for a model that is slower than its clients; requests beyond are answered 429 at once."""
    predict_threads: Annotated[int, Field(gt=0, le=64)] = 2
    """Threads that run the model calls that take long. More than the container's cores gain nothing."""

    train_queue: Annotated[int, Field(ge=0)] = 4
    """Trainings that may wait for the one that runs; the next one is answered 429."""
    load_queue: Annotated[int, Field(ge=0)] = 8
    """Loads that may wait for the one that runs; the next one is answered 429."""
    train_timeout_seconds: Annotated[float, Field(gt=0)] = 3600
    """A training that takes longer is ended, with all processes it started."""
    load_timeout_seconds: Annotated[float, Field(gt=0)] = 300
    """A load that takes longer is ended."""
    child_grace_seconds: Seconds = 5
    """Between SIGTERM and SIGKILL for a child that has to end."""
    child_nice: Annotated[int, Field(ge=0, le=19)] = 5
    """Niceness of children, so that a training leaves the processor to `/predict`."""
    child_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    """Address space a child may use, so that a training too large ends alone; unset: no limit but the container's."""

    drain_seconds: Seconds = 5
    """After SIGTERM: how long new connections are still taken while load balancers learn that this server leaves."""
    shutdown_seconds: Annotated[int, Field(ge=0)] = 15
    """After the drain: how long requests in flight may take to finish. Drain, child grace and this together stay
    under the 30 s that Kubernetes gives a pod."""
    max_connection_age_seconds: Seconds = 30
    """Age after which an answer closes its connection, so that pooled clients move to new pods; 0: never."""
    keep_alive_seconds: Annotated[int, Field(gt=0)] = 65
    """How long an idle connection is kept. Longer than most clients' own limit, so that they, not we, close it:
    a connection closed by the server the moment a request is sent on it is a failed request."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        for one, other in (
            ("oidc_issuer", "oidc_audience"),
            ("oidc_audience", "oidc_issuer"),
            ("tls_cert_file", "tls_key_file"),
            ("tls_key_file", "tls_cert_file"),
            ("tls_client_ca_file", "tls_cert_file"),
        ):
            if getattr(self, one) is not None and getattr(self, other) is None:
                raise ValueError(f"FAIRLEAD_{one.upper()} needs FAIRLEAD_{other.upper()}, too")
        return self
