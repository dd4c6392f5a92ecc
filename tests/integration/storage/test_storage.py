"""MLflow on PostgreSQL and S3 with users of its own, started as the chart starts it, moved there as the docs say."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest

from fairlead_operator.mlflow import MLflow, UnavailableError
from fairlead_operator.reference import VersionReference
from fairlead_service import wire
from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import loader
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.source import MlflowSource
from fairlead_service.models.backends import Want, build
from fairlead_service.tracking import TrackingClient, TrackingServer
from tests.chart.rendering import find_helm, pick, render
from tests.integration.storage.conftest import PROXIED, Moved, job
from tests.integration.storage.release import ADMIN, SECRET_KEY, USER, basic, clean, program
from tests.integration.storage.servers import PASSWORD, S3, Postgresql
from tools.mlflow import copy_database

KINDS = (
    "experiments", "runs", "inputs", "outputs", "metrics", "logged models", "registered", "versions", "aliases",
    "traces", "webhooks",
)  # fmt: skip
X = np.random.default_rng(3).random((60, 3))
Y = np.array(["no", "yes"])[(X[:, 0] > 0.5).astype(int)]
TRAIN = {"target": Y.tolist(), "algorithm": "random_forest", "hyperparameters": {"n_estimators": 5}}
TRAIN |= {"model_name": "trees", "alias": "champion"}


@pytest.fixture(scope="module")
def trained(moved: Moved, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Fairlead's trainer registers as the user that the API is, whom the administrator makes first."""
    user = {"username": USER[0], "password": USER[1]}
    new = httpx.post(f"{moved.server.url}/api/2.0/mlflow/users/create", auth=ADMIN, json=user)
    assert new.status_code == 200, new.text
    directory = tmp_path_factory.mktemp("train")
    (directory / "request.json").write_text(json.dumps(TRAIN))
    np.save(directory / "data.npy", X)
    command = [sys.executable, "-m", "fairlead_service.training", "train"]
    done = subprocess.run(
        [*command, "--request", directory, "--bundle", directory / "bundle"],
        env=clean() | {"MLFLOW_TRACKING_URI": moved.server.url} | basic(*USER),
        capture_output=True,
        timeout=120,
    )
    last = wire.parse(done.stdout.splitlines()[-1])
    assert last.kind == "result", (last, done.stderr.decode()[-3000:])
    return dict(last.value)


def load(url: str, uri: str, directory: Path, *credentials: str) -> Any:
    known = basic(*credentials) if credentials else {}
    server = TrackingServer.from_environment({"MLFLOW_TRACKING_URI": url} | known)
    with TrackingClient(server) as client:
        return loader.load(uri, directory / "b", MlflowSource(client), LoadOptions(), lambda *_: None)


@pytest.mark.parametrize("what", KINDS)
def test_mlflow_tells_the_same_as_before(moved: Moved, what: str) -> None:
    assert moved.before.keys() == set(KINDS)
    assert moved.before[what]
    assert moved.after[what] == moved.before[what]


def test_models_load_from_their_old_addresses(moved: Moved, s3: S3, tmp_path: Path) -> None:
    """Runs and models name `mlflow-artifacts:/…`, which the server resolves: what they name is in the bucket now."""
    assert "file:" not in str(moved.before["runs"])
    made = load(moved.server.url, "models:/fraud@number-1", tmp_path, *ADMIN)
    assert made.manifest.n_features == 2
    assert any(key.startswith("mlflow/1/") and key.endswith("notes/readme.txt") for key in s3.keys("models"))


def test_it_prints_what_it_copied(moved: Moved) -> None:
    assert "2 registered_models" in moved.printed  # one is a prompt
    assert moved.printed.rstrip().endswith("rows in all, committed")


def test_new_things_are_in_postgresql_under_numbers_of_their_own(
    trained: dict[str, Any], postgresql: Postgresql
) -> None:
    """PostgreSQL's sequences stand after what was copied; else the next experiment or user would not get in."""
    found = postgresql.execute("moved", f"SELECT experiment_id FROM runs WHERE run_uuid = '{trained['run_id']}'")
    copied = postgresql.execute("moved", "SELECT max(experiment_id) FROM experiments WHERE name LIKE '%empty%'")
    assert found[0][0] > copied[0][0]
    assert postgresql.execute("moved", "SELECT count(*) FROM users") == [(2,)]


def test_what_was_trained_loads_from_the_bucket(moved: Moved, trained: dict[str, Any], s3: S3, tmp_path: Path) -> None:
    made = load(moved.server.url, "models:/trees@champion", tmp_path, *USER)
    assert made.manifest.identity.run_id == trained["run_id"]
    assert made.manifest.proof.verdict == "identical"
    assert (build(made).evaluate(X, Want()).predictions == Y).mean() > 0.9
    names = {key.partition(f"{trained['model_id']}/artifacts/")[2] for key in s3.keys("models")}
    assert {"MLmodel", "model.skops", "fairlead/manifest.json"} <= names
    assert not list(moved.server.home.parent.rglob("model.skops")), "nothing is in the pod"


def test_users_download_through_the_server_without_a_way_to_the_bucket(
    moved: Moved, trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (basic(*ADMIN) | PROXIED).items():
        monkeypatch.setenv(name, value)
    client = mlflow.MlflowClient(tracking_uri=moved.server.url)
    run = next(one for one in client.search_runs(["1"]) if one.info.run_name == "run 1")
    found = client.download_artifacts(run.info.run_id, "notes/readme.txt", str(tmp_path))
    assert Path(found).read_text() == "notes"


def test_nobody_reads_a_password_in_arguments_or_logs(moved: Moved, trained: dict[str, Any], s3: S3) -> None:
    commands, log = moved.server.command_lines(), (moved.server.home / "server.log").read_text()
    assert "uvicorn" in commands
    assert "users/create" in log
    for secret in (PASSWORD, ADMIN[1], USER[1], s3.secret_key, SECRET_KEY):
        assert secret not in commands + log


@pytest.mark.parametrize("credentials", [(), (USER[0], "wrong")], ids=["none", "wrong"])
def test_a_loader_without_the_right_credentials_says_what_to_set(
    moved: Moved, trained: dict[str, Any], tmp_path: Path, credentials: tuple[str, ...]
) -> None:
    with pytest.raises(LoadError) as caught:
        load(moved.server.url, "models:/trees@champion", tmp_path, *credentials)
    assert caught.value.reason is FailureReason.TRACKING_SERVER_UNAVAILABLE
    assert "refuses the credentials (401" in caught.value.message
    assert "MLFLOW_TRACKING_USERNAME" in caught.value.message


async def test_the_operator_resolves_and_tells_with_its_credentials(moved: Moved, trained: dict[str, Any]) -> None:
    operator = MLflow(moved.server.url, auth=USER)
    found = await operator.version(VersionReference("trees", "1"))
    assert found.run_id == trained["run_id"]
    await operator.tag_version("trees", "1", "fairlead.status", "serving")
    with pytest.raises(UnavailableError, match="403"):
        await operator.tag_version("fraud", "1", "fairlead.status", "serving")  # the administrator's; needs EDIT
    await operator.close()
    stranger = MLflow(moved.server.url)
    with pytest.raises(UnavailableError, match="401"):
        await stranger.registered_model("trees")
    await stranger.close()


def test_probes_need_no_password_and_metrics_do(moved: Moved, trained: dict[str, Any]) -> None:
    def status(path: str, **arguments: Any) -> int:
        return httpx.get(f"{moved.server.url}{path}", **arguments).status_code

    assert status("/health") == 200
    assert status("/metrics") == 401
    assert status("/metrics", auth=USER) == 403
    assert status("/metrics", auth=ADMIN) == 200, "so the ServiceMonitor is the administrator"


@pytest.mark.parametrize(("password", "code"), [(USER[1], 0), ("wrong", 1)])
def test_helm_test_asks_with_the_credentials(
    moved: Moved, trained: dict[str, Any], password: str, code: int, tmp_path: Path
) -> None:
    pod = pick(moved.manifests, "Pod")["spec"]
    given = {"fairlead-mlflow-user": basic(USER[0], password)}
    made = program(pod, pod["containers"][0] | {"volumeMounts": []}, given, tmp_path)
    urls = [word.replace("http://fairlead-mlflow:5000", moved.server.url) for word in made.command]
    script = [word.replace("range(10)", "range(1)").replace("time.sleep(2)", "pass") for word in urls]
    asked = [word for word in script if "fairlead-api" not in word]
    done = subprocess.run(asked, env=made.environment, capture_output=True, timeout=60, text=True)
    assert done.returncode == code, done.stdout + done.stderr


@pytest.fixture
def copy(postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`copy(volume, database)`: the program of the Job, in this process; (exit code, what it says)."""
    for name, value in {"PGHOST": "localhost", "PGPORT": str(postgresql.port), "PGUSER": "mlflow"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)

    def run(volume: Path, database: str) -> tuple[int, str]:
        monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"postgresql:///{database}")
        code = copy_database.main([f"sqlite:///{volume}/mlflow.db"])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def spoilt(moved: Moved, volume: Path, *statements: str) -> Path:
    """A copy of the old volume in whose database something is wrong."""
    volume.mkdir()
    shutil.copy(moved.volume / "mlflow/mlflow.db", volume)
    with contextlib.closing(sqlite3.connect(volume / "mlflow.db")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return volume


def test_a_database_in_use_is_left_alone(moved: Moved, postgresql: Postgresql, copy: Any) -> None:
    before = postgresql.execute("moved", "SELECT count(*) FROM runs")
    code, said = copy(moved.volume / "mlflow", "moved")
    assert code == 1
    assert "nothing was copied: the target is in use already" in said
    assert postgresql.execute("moved", "SELECT count(*) FROM runs") == before


def test_an_mlflow_that_nobody_has_used(postgresql: Postgresql, copy: Any, tmp_path: Path) -> None:
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    postgresql.create("unused")
    assert copy(tmp_path, "unused")[0] == 0
    client = mlflow.MlflowClient(tracking_uri="postgresql:///unused")
    assert client.create_experiment("the first", artifact_location="mlflow-artifacts:/1") == "1"


def test_what_cannot_be_copied_is_named_and_leaves_nothing(
    moved: Moved, postgresql: Postgresql, copy: Any, tmp_path: Path
) -> None:
    postgresql.create("spoilt")
    orphan = "INSERT INTO tags (key, value, run_uuid) VALUES ('k', 'secret value', 'nobody')"
    code, said = copy(spoilt(moved, tmp_path / "orphan", orphan), "spoilt")
    assert code == 1
    assert "nothing was copied: PostgreSQL does not take the rows of tags:" in said
    assert "secret value" not in said
    assert postgresql.execute("spoilt", "SELECT count(*) FROM runs") == [(0,)]

    code, said = copy(spoilt(moved, tmp_path / "older", "UPDATE alembic_version SET version_num = 'older'"), "spoilt")
    assert "nothing was copied: the source's schema is older" in said
    assert "mlflow.upgradeDatabase" in said

    strange = ("CREATE TABLE mine (x INTEGER)", "INSERT INTO mine VALUES (1)")
    code, said = copy(spoilt(moved, tmp_path / "strange", *strange), "spoilt")
    assert "does not have: mine" in said
    assert "there is no file" in copy(tmp_path / "nowhere", "spoilt")[1]

    outside = "UPDATE experiments SET artifact_location = 'file:///elsewhere' WHERE experiment_id = 1"
    code, said = copy(spoilt(moved, tmp_path / "outside", outside), "spoilt")
    assert code == 0, "the database was still new: each of the others left it as it was"
    assert "note: 1 experiments name artifacts outside of the server" in said


def test_the_job_has_the_settings_of_the_chart() -> None:
    server = pick(render(find_helm(4), "mlflow-storage"), "Deployment", "fairlead-mlflow")["spec"]["template"]["spec"]
    known = {entry["name"]: entry for entry in server["containers"][0]["env"]}
    for container in (*job()["initContainers"], *job()["containers"]):
        assert container["image"] == server["containers"][0]["image"]
        assert container["securityContext"] == server["containers"][0]["securityContext"]
        assert [entry for entry in container["env"] if entry != known[entry["name"]]] == []
    assert f"--artifacts-destination={job()['initContainers'][0]['args'][1]}" in server["containers"][0]["args"]
    assert job()["securityContext"] == server["securityContext"]
    assert job()["serviceAccountName"] == server["serviceAccountName"]
