"""MLflow on PostgreSQL and S3 with users of its own, started as the chart starts it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from fairlead_operator.mlflow import MLflow, UnavailableError
from fairlead_operator.reference import VersionReference
from fairlead_service import wire
from fairlead_service.contract import FailureReason
from fairlead_service.loading import loader
from fairlead_service.loading.errors import LoadError
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.source import MlflowSource
from fairlead_service.loading.tracking import TrackingClient, TrackingServer
from fairlead_service.models.backends import Want, build
from tests.chart.rendering import Manifest
from tests.integration.storage.release import Running, Secrets, basic, mlflow_of, program, release
from tests.integration.storage.servers import PASSWORD, S3, Postgresql
from tools.localcluster.certificates import Authority

ADMIN = ("admin", "an administrator's: 50%")
USER = ("fairlead", "the service's own: 50%")
SECRET_KEY = "signs forms, and nothing else"
PROXIED = {"MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false"}
"""Without it MLflow's client asks the server for signed addresses in the object store, which it may not reach."""
X = np.random.default_rng(3).random((60, 3))
Y = np.array(["no", "yes"])[(X[:, 0] > 0.5).astype(int)]
TRAIN = {"target": Y.tolist(), "algorithm": "random_forest", "hyperparameters": {"n_estimators": 5}}
TRAIN |= {"model_name": "trees", "alias": "champion"}


def secrets(tls: Authority, s3: S3) -> Secrets:
    certificates = tls.certificate.read_text()
    return {
        "mlflow-db-app": {"password": PASSWORD},
        "mlflow-db-ca": {"ca.crt": certificates},
        "s3-ca": {"tls-ca.crt": certificates},
        "mlflow-s3": {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key},
        "mlflow-admin": {
            "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN[0],
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": SECRET_KEY,
        },
    }


def stored_outside(postgresql: Postgresql, s3: S3, database: str) -> list[Manifest]:
    """The chart's profile of that name, with the addresses of our servers."""
    return release(
        "mlflow-storage",
        mlflow__backendStore__postgresql__host="localhost",
        mlflow__backendStore__postgresql__port=postgresql.port,
        mlflow__backendStore__postgresql__database=database,
        mlflow__artifacts__s3__endpoint=s3.endpoint,
    )


@dataclass(frozen=True)
class Story:
    """What was seen of a server and of the one that took its place."""

    first: Running
    second: Running
    commands: str
    trained: dict[str, Any]


@pytest.fixture(scope="module")
def story(postgresql: Postgresql, s3: S3, tls: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A model is trained while the first server runs; the second one starts with nothing but the stores."""
    postgresql.create("outside")
    manifests, given = stored_outside(postgresql, s3, "outside"), secrets(tls, s3)
    with mlflow_of(manifests, given, tmp_path_factory.mktemp("first")) as first:
        commands = first.command_lines()
        user = {"username": USER[0], "password": USER[1]}
        new = httpx.post(f"{first.url}/api/2.0/mlflow/users/create", auth=ADMIN, json=user)
        assert new.status_code == 200, new.text
        trained = train(first.url, tmp_path_factory.mktemp("train"))
    with mlflow_of(manifests, given, tmp_path_factory.mktemp("second")) as second:
        yield Story(first, second, commands, trained)


def train(url: str, directory: Path) -> dict[str, Any]:
    """Trains and registers with Fairlead's own trainer, as the user that the API is."""
    (directory / "request.json").write_text(json.dumps(TRAIN))
    np.save(directory / "data.npy", X)
    done = subprocess.run(
        [sys.executable, "-m", "fairlead_service.training", "--request", directory, "--bundle", directory / "bundle"],
        env=clean() | {"MLFLOW_TRACKING_URI": url} | basic(*USER),
        capture_output=True,
        timeout=120,
    )
    last = wire.parse(done.stdout.splitlines()[-1])
    assert last.kind == "result", (last, done.stderr.decode()[-3000:])
    return dict(last.value)


def clean() -> dict[str, str]:
    return {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "FAIRLEAD_", "AWS_", "PG"))
    }


def load(url: str, uri: str, directory: Path, *credentials: str) -> Any:
    server = TrackingServer.from_environment(
        {"MLFLOW_TRACKING_URI": url} | (basic(*credentials) if credentials else {})
    )
    with TrackingClient(server) as client:
        return loader.load(uri, directory / "b", MlflowSource(client), LoadOptions(), lambda *_: None)


def test_what_was_registered_is_there_after_a_restart(story: Story, tmp_path: Path) -> None:
    made = load(story.second.url, "models:/trees@champion", tmp_path, *USER)
    assert made.manifest.identity.run_id == story.trained["run_id"]
    assert made.manifest.proof.verdict == "identical"
    answer = build(made).evaluate(X, Want()).predictions
    assert (answer == Y).mean() > 0.9


def test_artifacts_are_in_the_bucket_below_the_prefix(story: Story, s3: S3) -> None:
    model = f"mlflow/1/models/{story.trained['model_id']}/artifacts"
    assert {f"{model}/MLmodel", f"{model}/model.skops", f"{model}/fairlead/manifest.json"} <= s3.keys("models")
    assert not list(story.first.home.parent.rglob("model.skops"))


def test_users_download_through_the_server_without_a_way_to_the_bucket(story: Story, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlflow", "artifacts", "download", "-d", tmp_path]
    done = subprocess.run(
        [*command, "-u", f"models:/{story.trained['model_id']}"],
        env=clean() | {"MLFLOW_TRACKING_URI": story.second.url} | basic(*USER) | PROXIED,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert list(tmp_path.rglob("MLmodel"))


def test_nobody_reads_a_password_in_arguments_or_logs(story: Story, s3: S3) -> None:
    said = story.commands + "".join((one.home / "server.log").read_text() for one in (story.first, story.second))
    assert "uvicorn" in story.commands
    assert "Created admin user" in said
    for secret in (PASSWORD, ADMIN[1], USER[1], s3.secret_key, SECRET_KEY):
        assert secret not in said


@pytest.mark.parametrize("credentials", [(), (USER[0], "wrong")], ids=["none", "wrong"])
def test_a_loader_without_the_right_credentials_says_what_to_set(
    story: Story, tmp_path: Path, credentials: tuple[str, ...]
) -> None:
    with pytest.raises(LoadError) as caught:
        load(story.second.url, "models:/trees@champion", tmp_path, *credentials)
    assert caught.value.reason is FailureReason.TRACKING_SERVER_UNAVAILABLE
    assert "refuses the credentials (401" in caught.value.message
    assert "MLFLOW_TRACKING_USERNAME" in caught.value.message


async def test_the_operator_resolves_and_tells_with_its_credentials(story: Story) -> None:
    operator = MLflow(story.second.url, auth=USER)
    found = await operator.version(VersionReference("trees", "1"))
    assert found.run_id == story.trained["run_id"]
    await operator.tag_version("trees", "1", "fairlead.status", "serving")
    await operator.close()
    stranger = MLflow(story.second.url)
    with pytest.raises(UnavailableError, match="401"):
        await stranger.registered_model("trees")
    await stranger.close()


def test_probes_need_no_password_and_metrics_do(story: Story) -> None:
    def status(path: str, **arguments: Any) -> int:
        return httpx.get(f"{story.second.url}{path}", **arguments).status_code

    assert status("/health") == 200
    assert status("/metrics") == 401
    assert status("/metrics", auth=USER) == 403
    assert status("/metrics", auth=ADMIN) == 200, "so the ServiceMonitor is the administrator"


@pytest.mark.parametrize(("password", "code"), [(USER[1], 0), ("wrong", 1)])
def test_helm_test_asks_with_the_credentials(
    story: Story, postgresql: Postgresql, s3: S3, password: str, code: int, tmp_path: Path
) -> None:
    (pod,) = (one["spec"] for one in stored_outside(postgresql, s3, "outside") if one["kind"] == "Pod")
    (container,) = pod["containers"]
    given = {"fairlead-mlflow-user": basic(USER[0], password)}
    made = program(pod, container | {"volumeMounts": []}, given, tmp_path)
    urls = [word.replace("http://fairlead-mlflow:5000", story.second.url) for word in made.command]
    script = [word.replace("range(10)", "range(1)").replace("time.sleep(2)", "pass") for word in urls]
    asked = [word for word in script if "fairlead-api" not in word]
    done = subprocess.run(asked, env=made.environment, capture_output=True, timeout=60, text=True)
    assert done.returncode == code, done.stdout + done.stderr
