"""A predictor that swaps models, with everything real: its process, the loader, MLflow, and the operator's adapter."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from fairlead_operator.api import ModelRef, Reason
from fairlead_operator.desired.access import Contact
from fairlead_operator.pods import AnswerError, Pods
from fairlead_operator.reports import Info
from tests.integration.service.conftest import PATIENCE, ServerProcess, StartServer

X = np.random.default_rng(0).normal(size=(300, 4))
HOST = "127.0.0.1"
NOBODY = "http://127.0.0.1:9"
TOKEN = "a token of 128 bits or more"
CONTACT = Contact(TOKEN)


@dataclass(frozen=True)
class Model:
    """A registered version, as the operator resolves it."""

    ref: ModelRef
    estimator: RandomForestClassifier

    @property
    def run_id(self) -> str:
        return self.ref.run_id


@pytest.fixture(scope="module")
def models(mlflow_server: str, log_sample: Callable[..., Any]) -> list[Model]:
    """Two versions of one registered model, whose answers differ, and a pickle."""
    found = []
    mlflow.set_tracking_uri(mlflow_server)
    trusted = {"skops_trusted_types": ["sklearn.tree._tree.Tree"]}
    for labels, arguments in ((0, trusted), (10, trusted), (20, {"serialization_format": "cloudpickle"})):
        estimator = RandomForestClassifier(40, random_state=0).fit(X, np.where(X[:, 0] > 0, labels, labels + 1))
        sample = log_sample(estimator, X, **arguments)
        number = str(mlflow.register_model(f"models:/{sample.model_id}", "swapped").version)
        reference = ModelRef(
            run_id=sample.run_id, model_uri=f"models:/swapped/{number}", model_name="swapped", model_version=number
        )
        found.append(Model(reference, estimator))
    return found


@dataclass
class Pod:
    """What a pod's containers share, and the server that runs now."""

    directory: Path
    tracking_uri: str
    start_server: StartServer
    server: ServerProcess

    def restart(self, tracking_uri: str | None = None) -> None:
        """The container dies at once, as it does for want of memory, and is started again; the loader is not."""
        self.server.process.kill()
        self.server.ended()
        self.server = start(self.start_server, self.directory, tracking_uri or self.tracking_uri)


def start(start_server: StartServer, directory: Path, tracking_uri: str) -> ServerProcess:
    return start_server(
        mlflow_tracking_uri=tracking_uri,
        fairlead_role="predictor",
        fairlead_bundle_dir=directory / "current",
        fairlead_hot_swap="true",
        fairlead_replay_samples=50,
        fairlead_load_token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(),
    )


@pytest.fixture(scope="module")
def loaded(models: list[Model], mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the loader of a new pod has written: the first version."""
    reference, directory = models[0].ref, tmp_path_factory.mktemp("loaded")
    variables = {
        "FAIRLEAD_MODEL_URI": reference.model_uri,
        "FAIRLEAD_RUN_ID": reference.run_id,
        "FAIRLEAD_MODEL_NAME": reference.model_name or "",
        "FAIRLEAD_MODEL_VERSION": reference.model_version or "",
        "FAIRLEAD_BUNDLE_DIR": str(directory / "current"),
        "MLFLOW_TRACKING_URI": mlflow_server,
    }
    loader = [sys.executable, "-m", "fairlead_service.loading"]
    subprocess.run(loader, env=os.environ | variables, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
    return directory / "current"


@pytest.fixture
def pod(loaded: Path, mlflow_server: str, start_server: StartServer, tmp_path: Path) -> Iterator[Pod]:
    shutil.copytree(loaded, tmp_path / "current")
    pod = Pod(tmp_path, mlflow_server, start_server, start(start_server, tmp_path, mlflow_server))
    yield pod
    pod.server.process.kill()


@pytest.fixture
async def pods(pod: Pod) -> AsyncIterator[Pods]:
    adapter = Pods(pod.server.port)
    yield adapter
    await adapter.close()


async def until(pods: Pods, true: Callable[[Info], bool]) -> Info:
    async with asyncio.timeout(PATIENCE):
        while True:
            info = await pods.info(HOST, CONTACT)
            if true(info):
                return info
            await asyncio.sleep(0.05)  # as the operator does


async def swap(pods: Pods, model: Model) -> Info:
    await pods.load(HOST, model.ref, CONTACT)
    return await until(pods, lambda info: info.run_id == model.run_id)


async def test_a_swap_says_what_serves_and_what_could(pods: Pods, pod: Pod, models: list[Model]) -> None:
    one, two, _ = models
    info = await swap(pods, two)
    assert (info.model_name, info.model_version) == ("swapped", two.ref.model_version)
    assert (info.previous, info.loading, info.failed_load) == (one.run_id, None, None)
    with pod.server.client() as client:
        answer = client.post("/predict", json={"features": X.tolist(), "probabilities": True}).json()
        assert answer["predictions"] == two.estimator.predict(X).tolist()
        assert answer["probabilities"] == two.estimator.predict_proba(X).tolist()
        assert (answer["model_name"], answer["model_version"]) == ("swapped", two.ref.model_version)
        assert client.get("/model/info").json()["backend"] == "native"
        labels = f'backend="native",model="swapped",run_id="{two.run_id}",version="{two.ref.model_version}"'
        assert f"model_info{{{labels}}} 1.0" in client.get("/metrics").text


async def test_no_request_fails_while_models_are_swapped(pods: Pods, pod: Pod, models: list[Model]) -> None:
    """Clients that keep connections and clients that do not, two slow swaps, and many quick ones."""
    one, two, _ = models
    rows = X[:7].tolist()
    right = {model.run_id: model.estimator.predict(X[:7]).tolist() for model in (one, two)}
    seen: list[str] = []
    done = asyncio.Event()

    async def ask(headers: dict[str, str]) -> None:
        async with httpx.AsyncClient(base_url=pod.server.url, timeout=PATIENCE, headers=headers) as client:
            while not done.is_set():
                answer = await client.post("/predict", json={"features": rows})
                assert answer.status_code == 200, answer.text
                body = answer.json()
                assert body["predictions"] == right[body["run_id"]]
                seen.append(body["run_id"])

    async with asyncio.TaskGroup() as group:
        for headers in ({}, {}, {}, {"Connection": "close"}):
            group.create_task(ask(headers))
        await swap(pods, two)
        answered = len(seen)
        for _ in range(20):
            for model in (one, two):
                await swap(pods, model)
        await until(pods, lambda _: len(seen) > answered + 100)
        done.set()
    assert set(seen) == right.keys()
    assert answered > 10, "the old model was to serve while the new one was loaded"


async def test_going_back_takes_milliseconds(pods: Pods, models: list[Model]) -> None:
    one, two, _ = models
    await swap(pods, two)
    taken = []
    for model in (one, two) * 5:
        started = time.perf_counter()
        await pods.load(HOST, model.ref, CONTACT)
        taken.append(time.perf_counter() - started)
        assert (await pods.info(HOST, CONTACT)).run_id == model.run_id
    assert min(taken) < 0.05, taken


async def test_a_model_that_is_refused_leaves_the_one_that_serves(pods: Pods, models: list[Model]) -> None:
    one, two, pickled = models
    await swap(pods, two)
    await pods.load(HOST, pickled.ref, CONTACT)
    info = await until(pods, lambda info: info.failed_load is not None)
    assert info.failed_load is not None
    assert (info.failed_load.run_id, info.failed_load.reason) == (pickled.run_id, Reason.MODEL_REFUSED)
    assert "pickle" in info.failed_load.message
    assert (info.run_id, info.previous, info.loading) == (two.run_id, one.run_id, None)
    assert (await pods.predict(HOST, [tuple(X[0].tolist())], CONTACT)).run_id == two.run_id


def test_a_container_that_is_started_again_serves_the_last_model(pod: Pod, models: list[Model]) -> None:
    """With MLflow away; and it can go on swapping when that is back."""
    one, two, _ = models
    load(pod, two)
    pod.restart(NOBODY)
    check_serves(pod, two)
    pod.restart()
    load(pod, one)
    pod.restart(NOBODY)
    check_serves(pod, one)


def load(pod: Pod, model: Model) -> None:
    """As a person does, who waits."""
    with pod.server.client() as client:
        names = {"model_name": model.ref.model_name or "", "model_version": model.ref.model_version or ""}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = client.post(f"/model/load/{model.run_id}", params=names, headers=headers)
        assert (answer.json()["run_id"], answer.json()["model_version"]) == (model.run_id, model.ref.model_version)


def check_serves(pod: Pod, model: Model) -> None:
    with pod.server.client() as client:
        info = client.get("/model/info").json()
        assert (info["run_id"], info["model_version"]) == (model.run_id, model.ref.model_version)
        answer = client.post("/predict", json={"features": X.tolist()}).json()
        assert answer["predictions"] == model.estimator.predict(X).tolist()


async def test_only_who_has_the_token_swaps_and_reads_rows(pods: Pods, pod: Pod, models: list[Model]) -> None:
    one, two, _ = models
    rows = [tuple(row) for row in X[:9].tolist()]
    with pod.server.client() as client:
        assert client.post("/predict", json={"features": rows}).status_code == 200
    await pods.predict(HOST, [(9.0, 9.0, 9.0, 9.0)] * 4, CONTACT)
    for token in (None, "wrong"):
        with pytest.raises(AnswerError, match="401 unauthorized"):
            await pods.load(HOST, two.ref, Contact(token))
        with pytest.raises(AnswerError, match="401 unauthorized"):
            await pods.samples(HOST, 10, Contact(token))
    assert (await pods.info(HOST, CONTACT)).run_id == one.run_id
    assert (await pods.samples(HOST, 10, CONTACT)).features == (rows[0], rows[4], rows[8])
    assert (await pods.samples(HOST, 2, CONTACT)).features == (rows[4], rows[8])
