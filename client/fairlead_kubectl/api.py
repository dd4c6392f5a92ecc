"""`predict`, and aliases that are moved: by `kubectl port-forward` and Fairlead's own client."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fairlead import Client, FairleadError, Prediction, Tls, UnreachableError
from fairlead_kubectl.cluster import Cluster, ClusterError
from fairlead_kubectl.decide import AliasMove, RefusedError
from fairlead_kubectl.reading import child_name

_API: Final = "app.kubernetes.io/part-of=fairlead,app.kubernetes.io/component=api"
_PORT: Final = 8000
_TLS_PORT: Final = 8443


def predict(cluster: Cluster, name: str, file: str, candidate: bool, tls: Tls) -> Prediction:
    """Sends the rows to one of the model's pods, or of its canary's. Raises RefusedError, ClusterError."""
    rows, wants = read_rows(file)
    resource = cluster.resource(name)
    namespace, service = resource["metadata"]["namespace"], child_name(resource)
    tls = replace(tls, server_name=f"{service}.{namespace}.svc")
    if candidate:
        if ((resource.get("status") or {}).get("candidate") or {}).get("step") is None:
            raise RefusedError(f"{name} has no canary to ask; leave --candidate out")
        service = _canary_service(cluster, service)
    secure = bool((resource.get("spec") or {}).get("tls"))
    with _client(cluster, namespace, service, _TLS_PORT if secure else _PORT, tls if secure else None) as api:
        return api.predict(rows, **wants)


@contextmanager
def _client(cluster: Cluster, namespace: str, service: str, port: int, tls: Tls | None) -> Iterator[Client]:
    """Fairlead's client of a Service, by port-forward. Raises ClusterError."""
    try:
        with cluster.forwarded(namespace, f"service/{service}", port) as url:
            if tls is not None:
                url = url.replace("http://", "https://")
            with Client(url, tls=tls) as client:
                yield client
    except UnreachableError as error:
        hint = (
            "; --certificate-authority names who signed its certificate" if "CERTIFICATE_VERIFY" in str(error) else ""
        )
        raise ClusterError(f"{error}{hint}") from None
    except OSError as error:  # ssl.SSLError is one
        raise ClusterError(f"the certificates given cannot be used: {error}") from None
    except (FairleadError, TypeError, ValueError) as error:
        raise ClusterError(str(error)) from None


def read_rows(file: str) -> tuple[Any, dict[str, bool]]:
    """Rows, and what is wanted beside predictions, of a JSON file. Raises RefusedError."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        found = json.loads(text)
    except OSError as error:
        raise RefusedError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RefusedError(f"{file} is no JSON: {error}") from None
    if not isinstance(found, dict) or "features" not in found:
        return found, {}
    unknown = found.keys() - {"features", "probabilities", "scores"}
    if unknown:
        raise RefusedError(
            f"{file}: unknown field {min(unknown)!r}; a /predict body has features, probabilities, scores"
        )
    return found["features"], {key: bool(found[key]) for key in ("probabilities", "scores") if key in found}


def move_alias(cluster: Cluster, move: AliasMove, tls: Tls) -> str:
    """Through the API of the release; it needs a key with the role admin in FAIRLEAD_API_KEY where there are keys."""
    services = cluster.listed("services", "--selector", _API, everywhere=True)
    if not services:
        raise RefusedError("no Service of Fairlead's API is in the cluster; move the alias in MLflow")
    namespace, name = services[0]["metadata"]["namespace"], services[0]["metadata"]["name"]
    ports = {port.get("name"): int(port["port"]) for port in services[0]["spec"]["ports"]}
    secure = "https" in ports
    port = ports["https"] if secure else next(iter(ports.values()))
    tls = replace(tls, server_name=f"{name}.{namespace}.svc")
    with _client(cluster, namespace, name, port, tls if secure else None) as api:
        model = api.move_alias(move.name, move.alias, version=move.version)
    return f"alias {move.alias} of {model.name} is at version {model.aliases.get(move.alias)}"


def _canary_service(cluster: Cluster, child: str) -> str:
    """The operator names it; a long name is cut, so it is looked up by what it selects."""
    services = cluster.listed("services", "--selector", f"fairlead.dev/model-deployment={child}")
    found = [one for one in services if (one["spec"].get("selector") or {}).get("fairlead.dev/track") == "candidate"]
    if not found:
        raise ClusterError("the canary's Service is not there yet")
    return str(found[0]["metadata"]["name"])
