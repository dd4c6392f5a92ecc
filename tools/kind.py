"""The cluster of `make up` where Docker and kind are."""

import shutil
import subprocess
from pathlib import Path

CLUSTER = "fairlead"
NODES = {
    "1.37.0": "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5",
    "1.34.11": "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d",
}
"""Of kind v0.33.0, whose notes name an image for each version; the first is the one of kind-config.yaml."""


def answers() -> bool:
    """Whether kind is there and a Docker engine answers."""
    if not (shutil.which("docker") and shutil.which("kind")):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def runs() -> bool:
    """Whether there is a kind cluster of ours."""
    if shutil.which("kind") is None:
        return False
    listed = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False)
    return CLUSTER in listed.stdout.split()


def create(root: Path, kubeconfig: Path, version: str) -> None:
    """One of `NODES`."""
    config = ["--config", "kind-config.yaml", "--image", NODES[version], "--kubeconfig", str(kubeconfig)]
    subprocess.run(["kind", "create", "cluster", "--name", CLUSTER, *config], cwd=root, check=True)


def delete() -> int:
    return subprocess.run(["kind", "delete", "cluster", "--name", CLUSTER], check=False).returncode
