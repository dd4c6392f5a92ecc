"""`make forward`: the faces at their ports, also after the pod behind one was replaced."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.cluster.observed import eventually
from tools.cluster import ROOT, Cluster
from tools.forward import FACES
from tools.up import NAMESPACE

PATHS = {"API": "/health", "MLflow": "/health", "Prometheus": "/-/ready", "Grafana": "/api/health", "Jaeger": "/"}


@pytest.fixture(scope="module")
def forwarding(cluster: Cluster) -> Iterator[list[str]]:
    """Runs it; gives the lines it printed up to the last face."""
    command = [sys.executable, "-u", "-m", "tools.forward"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if "Ctrl-C" in line:
                break
        yield lines
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0


def answers(title: str) -> bool:
    (face,) = [face for face in FACES if face.title == title]
    try:
        return httpx.get(f"http://127.0.0.1:{face.local}{PATHS[title]}", timeout=3).is_success
    except httpx.HTTPError:
        return False


def test_every_face_answers_or_is_said_to_be_missing(forwarding: list[str]) -> None:
    told = "\n".join(forwarding)
    for face in FACES:
        if f"{face.title} is not on this cluster" in told:
            continue
        assert f"{face.title} at http://127.0.0.1:{face.local}" in told
        eventually(lambda face=face: answers(face.title), seconds=30)


def test_it_comes_back_when_the_pod_is_replaced(forwarding: list[str], cluster: Cluster) -> None:
    eventually(lambda: answers("API"), seconds=30)
    cluster.kubectl("rollout", "restart", "deployment/fairlead-api", "--namespace", NAMESPACE)
    cluster.kubectl("rollout", "status", "deployment/fairlead-api", "--namespace", NAMESPACE, "--timeout=120s")
    eventually(lambda: answers("API"), seconds=60)


def test_a_taken_port_is_said(forwarding: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.forward"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "port 8000, for API, is taken" in done.stderr
