"""A pod that sends a steady load to a model's Service, and the summary of what it was answered."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_PORT = 9000
"""As in the script."""
SCRIPT = Path(__file__).with_name("load_script.py")


@dataclass(frozen=True)
class Load:
    kubectl: Callable[..., str]
    """In the namespace of the pod."""

    def stop(self) -> Any:
        """Ends the load; returns its summary."""
        self.kubectl("exec", "load", "--", "touch", "/tmp/load-stop")
        return self.result()

    def result(self) -> Any:
        """Waits until the load has ended by itself; returns its summary."""
        self.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/load", "--timeout=180s")
        return json.loads(self.kubectl("logs", "load").strip().splitlines()[-1])


def config_map(namespace: str, name: str, content: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": content,
    }


def load_pod(namespace: str, image: str, arguments: list[str]) -> dict[str, Any]:
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "load",
        "image": image,
        "command": arguments,
        "securityContext": security,
        "volumeMounts": [{"name": "script", "mountPath": "/script"}],
        "readinessProbe": {"tcpSocket": {"port": READY_PORT}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "load", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "volumes": [{"name": "script", "configMap": {"name": "load"}}],
        },
    }
