"""The process, from its first moment."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: silent
clusters: [{name: silent, cluster: {server: "http://127.0.0.1:%d"}}]
contexts: [{name: silent, context: {cluster: silent, user: nobody}}]
users: [{name: nobody, user: {}}]
"""


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[tuple[socket.socket, Path]]:
    """An API server that takes connections and says nothing, and a way to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        path = tmp_path / "kubeconfig"
        path.write_text(KUBECONFIG % server.getsockname()[1])
        yield server, path


def start(kubeconfig: Path) -> "subprocess.Popen[bytes]":
    ours = {
        "KUBECONFIG": str(kubeconfig),
        "FAIRLEAD_OPERATOR_PREDICTOR_IMAGE": "predictor:1",
        "FAIRLEAD_OPERATOR_MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "FAIRLEAD_OPERATOR_METRICS_PORT": "0",
    }
    others = {
        name: value for name, value in os.environ.items() if not name.startswith(("FAIRLEAD", "KUBE", "COVERAGE"))
    }
    return subprocess.Popen([sys.executable, "-m", "fairlead_operator"], env=others | ours, stderr=subprocess.PIPE)


def await_handler(process: "subprocess.Popen[bytes]") -> None:
    """Until it listens for SIGTERM, by what Linux says of it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)  # there is no other sign
    raise AssertionError("it never listens")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_ends_well_while_it_imports(silent: tuple[socket.socket, Path]) -> None:
    process = start(silent[1])
    await_handler(process)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")


def test_it_ends_well_while_the_api_server_keeps_it_waiting(silent: tuple[socket.socket, Path]) -> None:
    server, kubeconfig = silent
    process = start(kubeconfig)
    connection, _ = server.accept()
    process.terminate()
    _, said = process.communicate(timeout=60)
    connection.close()
    assert (process.returncode, said) == (0, b"")
