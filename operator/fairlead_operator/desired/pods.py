"""What a Deployment is made from, beside the resource itself."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from fairlead_operator.api import ModelRef


@dataclass(frozen=True)
class PodDefaults:
    """The part of the operator's settings that pods depend on. All but `image` reach running pods by a roll-out."""

    image: str
    """For roll-outs that start from now on, unless the resource names its own."""
    tracking_uri: str
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    otlp_endpoint: str | None = None
    trace_sample_ratio: float = 0.01
    mlflow_credentials_secret: str | None = None
    """A Secret in the resource's own namespace, given to the loader as environment variables."""
    egress_ports: tuple[int, ...] = ()
    """More ports that pods may connect to, such as 443 for an object store."""


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


def port_of(uri: str) -> int:
    """The TCP port a URL leads to."""
    parts = urlsplit(uri)
    return parts.port or (443 if parts.scheme == "https" else 80)
