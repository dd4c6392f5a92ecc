"""`make forward`: the faces at their ports, also after the pod behind one was replaced.

Jaeger's pod is the one that is replaced, so these tests share a group with those that look for traces, and with the
tutorial, which takes the same ports.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.cluster.queries import eventually
from tools.cluster import ROOT, Cluster
from tools.forward import FACES, require_free
from tools.up import JAEGER, MONITORING

pytestmark = pytest.mark.xdist_group("ports-and-jaeger")
PATHS = {"API": "/health", "MLflow": "/health", "Prometheus": "/-/ready", "Grafana": "/api/health", "Jaeger": "/"}


@contextmanager
def started() -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-u", "-m", "tools.forward"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in iter(process.stdout.readline, ""):
            sys.stdout.write(line)
            if "Ctrl-C" in line:
                break
        yield process


@pytest.fixture
def forwarding(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """Runs it; gives what it printed up to the last face."""
    with started() as process:
        yield capsys.readouterr().out
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0


def answers(title: str) -> bool:
    (face,) = [face for face in FACES if face.title == title]
    try:
        return httpx.get(f"http://127.0.0.1:{face.local}{PATHS[title]}", timeout=3).is_success
    except httpx.HTTPError:
        return False


def test_every_face_answers_or_is_said_to_be_missing(forwarding: str) -> None:
    for face in FACES:
        if f"{face.title} is not on this cluster" in forwarding:
            continue
        assert f"{face.title} at http://127.0.0.1:{face.local}" in forwarding
        eventually(lambda face=face: answers(face.title))


def test_it_comes_back_when_the_pod_is_replaced(forwarding: str, cluster: Cluster) -> None:
    if "Jaeger is not on this cluster" in forwarding:
        pytest.skip("no Jaeger on this cluster")
    eventually(lambda: answers("Jaeger"))
    cluster.kubectl("rollout", "restart", f"deployment/{JAEGER}", "--namespace", MONITORING)
    cluster.kubectl("rollout", "status", f"deployment/{JAEGER}", "--namespace", MONITORING, "--timeout=120s")
    eventually(lambda: answers("Jaeger"))


def test_a_taken_port_is_said(forwarding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.forward"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "port 8000, for API, is taken" in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_behind(cluster: Cluster, ending: signal.Signals) -> None:
    with started() as process:
        process.send_signal(ending)
        assert process.wait(15) == 0
    require_free(FACES)
