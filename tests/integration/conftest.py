"""A real MLflow server for the integration tier, and sample models logged to it as people log them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.localcluster.controlplane import free_port

START_TIMEOUT = 120.0
"""Seconds; migrating a new SQLite database takes most of a normal start of 5-15 s."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where workers run tests side by side, a file's tests stay together: they share the servers that it starts."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(Path(__file__).parent))))


@dataclass(frozen=True)
class LoggedModel:
    run_id: str
    model_id: str
    experiment_id: str


def _await_health(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        if process.poll() is not None:
            pytest.fail(f"mlflow server ended with {process.returncode}:\n{log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                pytest.fail(f"mlflow server did not answer within {START_TIMEOUT:.0f} s:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)  # polling a process that is not ours; it gives no other sign


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and the workers it started: they are one process group, made for this."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its data go with the test session; nothing is worth waiting for
    process.wait(10)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of an MLflow tracking server of our own."""
    with mlflow_running(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@contextlib.contextmanager
def mlflow_running(home: Path) -> Iterator[str]:
    """Base URL of an MLflow tracking server: SQLite, artifacts through its proxy, one worker."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", f"{home}/artifacts"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment |= {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
    environment |= {"MLFLOW_WEBHOOK_CACHE_TTL": "0"}  # else a webhook is not used for a minute after it is made
    with serving(command, environment, home, url):
        yield url


@contextlib.contextmanager
def serving(command: list[str], environment: dict[str, str], home: Path, url: str) -> Iterator[int]:
    """Process id of an MLflow server that answers at url; its log is `server.log` in its working directory home."""
    log = home / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _await_health(process, url, log)
        yield process.pid
    finally:
        _end_group(process)


@pytest.fixture(scope="session")
def log_sample(mlflow_server: str) -> Callable[..., LoggedModel]:
    """Logs a fitted estimator the way a data scientist does, with MLflow's own client.

    `log_sample(estimator, x, name="model", **log_model_arguments)`: the first rows of x (n, p) become the input
    example unless `input_example` is given; `None` logs without one.
    """
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow
    import mlflow.sklearn

    mlflow.set_tracking_uri(mlflow_server)
    experiment = mlflow.set_experiment("samples")

    def log(estimator: Any, x: Any, name: str = "model", **arguments: Any) -> LoggedModel:
        example = x[:3] if x is not None else None
        settings: dict[str, Any] = {"input_example": example, "pip_requirements": REQUIREMENTS} | arguments
        with mlflow.start_run(experiment_id=experiment.experiment_id) as run:
            info = mlflow.sklearn.log_model(estimator, name=name, **settings)
        return LoggedModel(run.info.run_id, info.model_id, experiment.experiment_id)

    return log


def _installed_requirements() -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in ("mlflow-skinny", "scikit-learn", "numpy", "skops")]


REQUIREMENTS = _installed_requirements()
"""Given to MLflow instead of letting it infer them, which takes a fresh process and seconds for each model."""
