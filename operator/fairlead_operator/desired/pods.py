"""What a Deployment is made from, beside the resource itself."""

import hmac
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from fairlead_operator.api import ModelDeployment, ModelRef
from fairlead_operator.spec import CACHE_BYTES


@dataclass(frozen=True)
class PodDefaults:
    """The part of the operator's settings that pods depend on. All but `image` reach running pods by a roll-out."""

    image: str
    """For roll-outs that start from now on, unless the resource names its own."""
    tracking_uri: str
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    requests: tuple[tuple[str, str], ...] = (("cpu", "50m"), ("memory", "128Mi"))
    """Resource and amount, for containers whose resource has no `spec.resources`: without any, pods would be the first
    that a node evicts."""
    limits: tuple[tuple[str, str], ...] = (("memory", "2Gi"),)
    """The same."""
    bundle_size_limit: str = "8Gi"
    """For resources whose `spec.storage` does not say."""
    tmp_size_limit: str = "1Gi"
    otlp_endpoint: str | None = None
    trace_sample_ratio: float = 0.01
    mlflow_credentials_secret: str | None = None
    """A Secret in the resource's own namespace, given to the loader as environment variables."""
    mlflow_ca_config_map: str | None = None
    """A ConfigMap in the resource's own namespace with `ca.crt`: authorities that the loader trusts MLflow by."""
    mlflow_ca_secret: str | None = None
    """The same in a Secret."""
    egress_ports: tuple[int, ...] = ()
    """More ports that pods may connect to, such as 443 for an object store."""
    load_key: str | None = field(default=None, repr=False)
    """What the tokens are made from that pods ask for before they swap models or hand out rows."""
    cache_url: str | None = None
    """A Redis that keeps bundles for resources without a `spec.cache`."""
    cache_secret: str | None = None
    """A Secret in the resource's own namespace."""
    cache_signed: bool = False
    cache_max_bytes: int = CACHE_BYTES

    version_policy: Literal["Strict", "Minor", "Warn"] = "Minor"
    """Of loaders whose resource does not say."""


@dataclass(frozen=True)
class Template:
    """What the roll-out wants the pods to hold now."""

    model: ModelRef
    image: str
    replicas: int | None
    """None leaves the number to whoever sets it (an autoscaler, a person)."""


@dataclass(frozen=True)
class Trial:
    """What a canary's own pods hold."""

    model: ModelRef
    image: str
    replicas: int


def load_token(md: ModelDeployment, defaults: PodDefaults) -> str | None:
    """The bearer token of one resource's pods, which know only its digest: nobody has to be able to read or write
    Secrets in their namespace, and no pod learns a token that another one takes."""
    if defaults.load_key is None:
        return None
    place = f"{md.metadata.namespace}/{md.metadata.name}"
    return hmac.digest(defaults.load_key.encode(), place.encode(), "sha256").hex()


def port_of(uri: str) -> int:
    """The TCP port a URL leads to."""
    parts = urlsplit(uri)
    return parts.port or {"https": 443, "redis": 6379, "rediss": 6379}.get(parts.scheme, 80)
