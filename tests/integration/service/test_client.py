"""The Python client against a real server with a real MLflow; and against servers that fail first."""

import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from fairlead import ApiError, AsyncClient, Client, JobError, Retries, Tls, TrainingJob, UnreachableError
from tests.integration.service.conftest import ServerProcess, StartServer
from tools.localcluster.certificates import Authority, Certificate

IRIS = load_iris(as_frame=True)
FRAME: pd.DataFrame = IRIS.data
TARGET = [str(IRIS.target_names[index]) for index in IRIS.target]
QUICK = Retries(first=0.01, most=0.02)
PLAIN: dict[str, Any] = {"algorithm": "logistic_regression", "experiment": "client", "plots": False}


@pytest.fixture(scope="module")
def api(start_server: StartServer, mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    home = tmp_path_factory.mktemp("client")
    return start_server(mlflow_tracking_uri=mlflow_server, fairlead_data_dir=home, fairlead_drain_seconds=0)


@pytest.fixture(scope="module")
def client(api: ServerProcess) -> Iterator[Client]:
    with Client(api.url) as client:
        yield client


@pytest.fixture(scope="module")
def run_id(client: Client) -> str:
    """A model trained on a data frame, which serves."""
    trained = client.train(FRAME, TARGET, model_name="client-iris", alias="champion", **PLAIN)
    assert trained.loaded
    assert trained.evaluation.test_rows > 0
    return trained.run_id


def test_rows_in_every_form_get_the_same_answer(client: Client, run_id: str) -> None:
    rows = FRAME.iloc[:3]
    answers = [
        client.predict(form)
        for form in (rows, rows.to_numpy(), rows.to_numpy().tolist(), rows.to_dict(orient="records"))
    ]
    assert {tuple(answer.predictions) for answer in answers} == {("setosa",) * 3}
    assert {answer.run_id for answer in answers} == {run_id}
    assert client.predict(rows.iloc[0].to_dict()).predictions == ["setosa"]
    wanted = client.predict(rows, probabilities=True, scores=True)
    assert np.shape(wanted.probabilities) == np.shape(wanted.scores) == (3, 3)
    assert wanted.classes == ["setosa", "versicolor", "virginica"]


def test_a_refusal_says_where(client: Client, run_id: str) -> None:
    with pytest.raises(ApiError) as caught:
        client.predict([[1, 2, 3, 4], [1, 2, "x", 4]])
    assert caught.value.status == 422
    assert "/features/1/2" in {error.pointer for error in caught.value.errors}
    with pytest.raises(ApiError) as caught:
        client.load("0" * 32)
    assert caught.value.kind == "model-not-found"


def test_what_the_server_and_mlflow_have(client: Client, run_id: str) -> None:
    assert (client.health().status, client.model_info().run_id) == ("ok", run_id)
    assert client.model_info().feature_names == list(FRAME.columns)
    assert client.metrics_summary().answered > 0
    assert "random_forest" in {one.name for one in client.algorithms().algorithms}
    assert "client-iris" in {model.name for model in client.models(limit=200).models}
    (run,) = client.runs([run_id]).runs
    assert run.metrics["accuracy"] > 0.8
    assert client.runs(experiment="client", filter="metrics.accuracy > 0", order_by="metrics.f1 DESC").runs
    assert client.load(run_id).status == "already-loaded"


def test_an_alias_is_moved(client: Client, run_id: str) -> None:
    version = client.train(FRAME, TARGET, model_name="client-iris", load=False, **PLAIN).model_version
    moved = client.move_alias("client-iris", "champion", version=version)
    assert moved.aliases["champion"] == version
    assert client.model("client-iris").versions[0].aliases == ["champion"]


def test_a_file_is_uploaded_and_followed(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "iris.csv"
    FRAME.assign(kind=TARGET).to_csv(path, index=False)
    seen: list[TrainingJob] = []

    job = client.submit(file=path, target_column="kind", load=False, **PLAIN)
    trained = job.wait(progress=seen.append, poll=0.1)

    assert trained.metrics["accuracy"] > 0.8
    assert [one.state for one in seen][-1] == "Succeeded"
    assert len({(one.state, one.stage, one.percent) for one in seen}) > 1, "progress is told as it happens"
    assert job.latest.data == "upload of iris.csv"
    assert job.id in {known.id for known in client.jobs(state="Succeeded")}


def test_a_job_is_cancelled(client: Client) -> None:
    job = client.submit(FRAME, TARGET, algorithm="random_forest", hyperparameters={"n_estimators": 10_000}, load=False)
    job.cancel()
    with pytest.raises(JobError, match="cancelled") as caught:
        job.wait()
    assert (caught.value.state, caught.value.job_id) == ("Cancelled", job.id)
    with pytest.raises(ApiError) as ended:
        client.cancel(job.id)
    assert ended.value.status == 409
    assert client.job(job.id).latest.state == "Cancelled"


async def test_the_asynchronous_client_does_the_same(api: ServerProcess, run_id: str) -> None:
    async with AsyncClient(api.url) as client:
        seen: list[TrainingJob] = []
        job = await client.submit(FRAME, TARGET, load=False, **PLAIN)
        trained = await job.wait(progress=seen.append, poll=0.1)
        assert trained.metrics["accuracy"] > 0.8
        assert seen[-1].state == "Succeeded"
        assert (await client.predict(FRAME.iloc[:2])).predictions == ["setosa"] * 2
        assert (await client.jobs())[0].id == job.id
        with pytest.raises(ApiError):
            await client.predict([[1]])


def test_keys(start_server: StartServer, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"predict-key-of-somebody").hexdigest()
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([{"name": "app", "sha256": digest, "roles": ["predict"]}]))
    server = start_server(fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_api_keys_file=keys)
    with Client(server.url) as nobody, pytest.raises(ApiError) as caught:
        nobody.metrics_summary()
    assert caught.value.status == 401
    monkeypatch.setenv("FAIRLEAD_API_KEY", "predict-key-of-somebody")
    with Client(server.url) as somebody:
        assert somebody.model_info().run_id


class Answers(BaseHTTPRequestHandler):
    """Answers each request with the next of `script`: a status with headers, or None, which hangs up."""

    script: list[tuple[int, dict[str, str]] | None]
    paths: list[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        answer = self.script.pop(0)
        if answer is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        status, headers = answer
        body = json.dumps({"predictions": [1], "run_id": "a", "title": "t", "detail": "d"}).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 (the base class' name)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(
    *script: tuple[int, dict[str, str]] | None, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A server that answers so; yields its URL and the paths that it was asked for."""
    paths: list[str] = []
    handler = type("Scripted", (Answers,), {"script": list(script), "paths": paths})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


REFUSED = (429, {"retry-after": "0"})
AWAY: tuple[int, dict[str, str]] = (503, {})
FINE: tuple[int, dict[str, str]] = (200, {})


def test_what_passes_is_tried_again() -> None:
    with answering(AWAY, None, REFUSED, FINE) as (url, paths), Client(url, retries=QUICK) as client:
        assert client.predict([[1]]).run_id == "a"
    assert paths == ["/predict"] * 4


async def test_what_passes_is_tried_again_asynchronously(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    with answering(AWAY, None, REFUSED, FINE, REFUSED, (418, {})) as (url, paths):
        async with AsyncClient(url, retries=QUICK) as client:
            assert (await client.predict([[1]])).run_id == "a"
            with pytest.raises(ApiError, match="418"):
                await client.train(file=path, target_column="b", **PLAIN)
    assert paths == ["/predict"] * 4 + ["/train"] * 2


@pytest.mark.parametrize("first", [None, AWAY], ids=["hung up", "503"])
def test_a_training_that_may_have_begun_is_not_begun_again(first: Any) -> None:
    with (
        answering(first, FINE) as (url, paths),
        Client(url, retries=QUICK) as client,
        pytest.raises((ApiError, UnreachableError)),
    ):
        client.train([[1]], [1], **PLAIN)
    assert paths == ["/train"]


def test_a_training_that_was_refused_is_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    with (
        answering(REFUSED, (418, {})) as (url, paths),
        Client(url, retries=QUICK) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.train(file=path, target_column="b", **PLAIN)
    assert (caught.value.status, paths) == (418, ["/train"] * 2)


def test_the_server_says_how_long_to_wait() -> None:
    with answering((503, {"retry-after": "1"}), FINE) as (url, _), Client(url, retries=QUICK) as client:
        began = time.monotonic()
        client.predict([[1]])
        assert time.monotonic() - began >= 1


def test_longer_than_patience_is_not_waited_for() -> None:
    with (
        answering((503, {"retry-after": "3600"})) as (url, paths),
        Client(url, retries=QUICK) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.predict([[1]])
    assert (caught.value.retry_after, len(paths)) == (3600.0, 1)


def test_nobody_there_is_one_clear_error() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with Client(url, retries=QUICK) as client, pytest.raises(UnreachableError, match="after 4 attempts"):
        client.train([[1]], [1], **PLAIN)


def test_another_program_at_that_port_is_found_out() -> None:
    with (
        answering(FINE) as (url, _),
        Client(url) as client,
        pytest.raises(Exception, match="not as a Fairlead API does"),
    ):
        client.health()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `ca.crt`, a server's and a client's certificate."""
    made = Authority(tmp_path_factory.mktemp("certificates"))
    made.make(
        [Certificate("server", "server", alternative_names=("fraud.models.svc",)), Certificate("client", "client")]
    )
    return made.directory


async def test_servers_and_clients_know_each_other_by_certificates(authority: Path) -> None:
    """As through a port-forward: the host is this machine, the certificate is the Service's."""
    asking = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority / "ca.crt")
    asking.load_cert_chain(authority / "server.crt", authority / "server.key")
    asking.verify_mode = ssl.CERT_REQUIRED
    known = Tls(authority / "ca.crt", authority / "client.crt", authority / "client.key", "fraud.models.svc")
    with answering(FINE, FINE, tls=asking) as (url, _):
        with Client(url, tls=known, retries=QUICK) as client:
            assert client.predict([[1]]).run_id == "a"
        async with AsyncClient(url, tls=known, retries=QUICK) as later:
            assert (await later.predict([[1]])).run_id == "a"
        for wrong in (None, replace(known, ca_file=None), replace(known, server_name="other.models.svc")):
            with (
                Client(url, tls=wrong, retries=QUICK) as client,
                pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY"),
            ):
                client.predict([[1]])
    with pytest.raises(OSError, match="No such file"):
        Client(tls=Tls(ca_file="/none/ca.crt"))
