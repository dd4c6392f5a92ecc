"""The bundled MLflow answers every name it is called by in a cluster, and no other.

MLflow refuses requests whose Host header it does not know (403), and `--allowed-hosts` replaces its own defaults, so a
forgotten name is an outage. The arguments are the chart's; the server is real.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.rendering import Helm, environment, pick, render

START_TIMEOUT = 120.0
POD_IP = "10.1.2.3"


def container_of(helm: Helm, profile: str) -> dict[str, object]:
    deployment = pick(render(helm, profile), "Deployment", "fairlead-mlflow")
    container: dict[str, object] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def allowed_hosts(helm: Helm, profile: str) -> list[str]:
    arguments = container_of(helm, profile)["args"]
    assert isinstance(arguments, list)
    (hosts,) = (one for one in arguments if one.startswith("--allowed-hosts="))
    return str(hosts).partition("=")[2].split(",")


def test_every_name_of_the_service_is_there_with_and_without_port(helm: Helm) -> None:
    hosts = allowed_hosts(helm, "default")
    for suffix in ("", ".fairlead", ".fairlead.svc", ".fairlead.svc.cluster.local"):
        assert f"fairlead-mlflow{suffix}" in hosts
        assert f"fairlead-mlflow{suffix}:5000" in hosts


def test_hosts_follow_port_domain_and_values(helm: Helm) -> None:
    hosts = allowed_hosts(helm, "production")
    assert {"fairlead-mlflow.fairlead.svc:80", "fairlead-mlflow.fairlead.svc.cluster.example"} <= set(hosts)
    assert hosts[-2:] == ["mlflow.example.org", "*.ml.example.org"]
    assert "*" not in hosts


@pytest.fixture(scope="module")
def server(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a real `mlflow server` with the chart's own arguments and variables."""
    home = tmp_path_factory.mktemp("mlflow")
    container = container_of(helm, "default")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    variables = {name: value.replace("/mlflow/", f"{home}/") for name, value in environment(container).items()}
    variables |= {"POD_IP": POD_IP, "HOME": str(home), "PATH": os.environ["PATH"]}
    arguments = [
        argument.replace("$(POD_IP)", POD_IP)
        .replace("/mlflow/artifacts", f"{home}/artifacts")
        .replace("--port=5000", f"--port={port}")
        .replace("--host=0.0.0.0", "--host=127.0.0.1")
        for argument in container["args"]  # type: ignore[attr-defined]
    ]
    assert container["command"] == ["mlflow", "server"]
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments],
            cwd=home,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_health(process, port, log)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _await_health(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if answer(port, "any.example", "/health") == 200:
                return
        except OSError:
            time.sleep(0.2)  # polling a process that gives no other sign of life
    pytest.fail(f"mlflow server did not come up:\n{log.read_text()[-4000:]}")


def answer(port: int, host: str, path: str = "/api/2.0/mlflow/experiments/search?max_results=1") -> int:
    """Status of a GET with that Host header."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("fairlead-mlflow", 200),
        ("fairlead-mlflow:5000", 200),
        ("fairlead-mlflow.fairlead:5000", 200),
        ("fairlead-mlflow.fairlead.svc:5000", 200),
        ("fairlead-mlflow.fairlead.svc.cluster.local:5000", 200),
        ("localhost:5000", 200),
        ("localhost:15000", 200),
        ("127.0.0.1:39999", 200),
        ("[::1]:5000", 200),
        (f"{POD_IP}:5000", 200),
        ("mlflow.example.org", 403),
        ("fairlead-mlflow.elsewhere.svc:5000", 403),
        ("10.rebinding.example:5000", 403),
        ("localhost.example:5000", 403),
    ],
)
def test_real_mlflow_answers_known_hosts_only(server: int, host: str, status: int) -> None:
    assert answer(server, host) == status


def test_probes_may_name_any_host(server: int) -> None:
    assert answer(server, "10.9.8.7:5000", "/health") == 200
