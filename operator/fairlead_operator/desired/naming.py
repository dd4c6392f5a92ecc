"""Names, labels and owner references that all children share. None depends on run, image or replicas."""

import hashlib
import re
from typing import Final

from fairlead_operator import api, contract
from fairlead_operator.api import Manifest, ModelDeployment

MAX_LABEL: Final = 63
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_HASH_LENGTH: Final = 8
_CANARY: Final = "canary"


def child_name(name: str) -> str:
    """The name of all children: `name` itself where a Service may have it (RFC 1035 label), else a readable part of it
    and a hash. A resource's name may be longer, hold dots or start with a digit; a Service's may not."""
    if len(name) <= MAX_LABEL and _DNS_LABEL.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    readable = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    if not readable[:1].isalpha():
        readable = f"m-{readable}"
    return f"{readable[: MAX_LABEL - _HASH_LENGTH - 1].rstrip('-')}-{digest}"


def canary_name(name: str) -> str:
    """The name of what exists only during a canary."""
    return child_name(f"{child_name(name)}-{_CANARY}")


def names(md: ModelDeployment) -> tuple[str, str]:
    """Every name that a child of this resource can have."""
    return child_name(md.metadata.name), canary_name(md.metadata.name)


def selector(md: ModelDeployment) -> dict[str, str]:
    """Selects the pods of this resource, of both tracks."""
    return {
        "app.kubernetes.io/name": "fairlead-predictor",
        "app.kubernetes.io/component": "predictor",
        api.OWNER_LABEL: child_name(md.metadata.name),
    }


def track_selector(md: ModelDeployment, track: str) -> dict[str, str]:
    """Selects the pods of one track: what a Deployment, and so its autoscaler, counts as its own."""
    return selector(md) | {api.TRACK_LABEL: track}


def labels(md: ModelDeployment) -> dict[str, str]:
    """Of children and pods."""
    return {
        **selector(md),
        "app.kubernetes.io/instance": child_name(md.metadata.name),
        "app.kubernetes.io/managed-by": "fairlead",
    }


def metadata(md: ModelDeployment, name: str | None = None) -> Manifest:
    """Metadata of a child, called `name` or else as all are. The owner reference deletes it with the resource."""
    return {
        "name": name or child_name(md.metadata.name),
        "namespace": md.metadata.namespace,
        "labels": labels(md),
        "ownerReferences": [
            {
                "apiVersion": api.API_VERSION,
                "kind": api.KIND,
                "name": md.metadata.name,
                "uid": md.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def host(md: ModelDeployment) -> str:
    """Of the Service, inside the cluster; what certificates are for."""
    return f"{child_name(md.metadata.name)}.{md.metadata.namespace}.svc"


def url(md: ModelDeployment) -> str:
    """Where the model answers inside the cluster."""
    if md.spec.tls is not None:
        return f"https://{host(md)}:{contract.TLS_PORT}"
    return f"http://{host(md)}:{contract.HTTP_PORT}"
