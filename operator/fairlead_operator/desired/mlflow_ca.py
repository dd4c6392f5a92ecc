"""Authorities that loaders trust MLflow by, where a private one has signed its certificate."""

from typing import Final

from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired.pods import PodDefaults

VOLUME: Final = "mlflow-ca"
MOUNT: Final = f"/etc/fairlead/{VOLUME}"
KEY: Final = "ca.crt"
VARIABLE: Final = "MLFLOW_TRACKING_SERVER_CERT_PATH"
"""MLflow's own: a file of authorities (PEM)."""


def volumes(md: ModelDeployment, defaults: PodDefaults) -> list[Manifest]:
    """Not optional: without the file MLflow cannot be reached, and Kubernetes names what is missing."""
    own = md.spec.mlflow
    config_map = own.ca_config_map_name if own else defaults.mlflow_ca_config_map
    secret = own.ca_secret_name if own else defaults.mlflow_ca_secret
    items = [{"key": KEY, "path": KEY}]
    if config_map:
        return [{"name": VOLUME, "configMap": {"name": config_map, "items": items}}]
    if secret:
        return [{"name": VOLUME, "secret": {"secretName": secret, "defaultMode": 0o440, "items": items}}]
    return []


def give(container: Manifest, md: ModelDeployment, defaults: PodDefaults) -> None:
    """Mounts the file and names it, unless `spec.env` names another."""
    if not volumes(md, defaults):
        return
    container["volumeMounts"].append({"name": VOLUME, "mountPath": MOUNT, "readOnly": True})
    if all(variable.name != VARIABLE for variable in md.spec.env):
        container["env"].append({"name": VARIABLE, "value": f"{MOUNT}/{KEY}"})
