"""A server that leaves under load, as a pod of the API does: predictions of all kinds go on, a training runs, and only
some time after SIGTERM does nobody connect any more. Not one request may fail, and none is asked twice."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest

from tests.integration.service.conftest import PATIENCE, ServerProcess, StartServer
from tests.integration.service.load import Behind, Load, Question
from tests.integration.service.sockets import Peer, complaints, request

DRAIN = 4.0
NOTICE = 1.5
"""From a pod's end of readiness until the last node has taken it out of its Services."""
X = np.random.default_rng(11).random((40, 4)).round(6)
TRAIN = {"data": X.tolist(), "target": (X[:, 0] > 0.5).astype(int).tolist(), "algorithm": "random_forest"}
WIDE = np.random.default_rng(12).random((3000, 30)).round(4)
LONG = {
    "data": WIDE.tolist(),
    "target": (WIDE[:, 0] + WIDE[:, 1] > 1).astype(int).tolist(),
    "algorithm": "gradient_boosting",
    "hyperparameters": {"n_estimators": 2000},
    "load": False,
}
"""Takes minutes."""
ROWS = 10_000
OVER = "Waiting for connections to close. (CTRL+C to force quit)"
"""uvicorn's word for the end of the drain."""


@pytest.fixture
def pair(start_server: StartServer, mlflow_server: str, tmp_path: Path) -> tuple[ServerProcess, ServerProcess, str]:
    """Two servers with the same model."""
    leaving, staying = (
        start_server(
            mlflow_tracking_uri=mlflow_server,
            fairlead_data_dir=tmp_path / name,
            fairlead_drain_seconds=DRAIN,
            fairlead_max_connection_age_seconds=0,  # else clients would leave in time by chance
        )
        for name in ("leaving", "staying")
    )
    with httpx.Client(timeout=2 * PATIENCE) as client:
        trained = client.post(f"{leaving.url}/train", json=TRAIN)
        assert trained.status_code == 200, trained.text
        run_id: str = trained.json()["run_id"]
        assert client.post(f"{staying.url}/model/load/{run_id}").status_code == 200
    return leaving, staying, run_id


def question(server: ServerProcess, rows: list[list[float]], pause: float = 0.0) -> Question:
    """With the answer that the server gives to it when it is at rest."""
    body = json.dumps({"features": rows}).encode()
    right = httpx.post(f"{server.url}/predict", content=body, headers={"Content-Type": "application/json"})
    assert right.status_code == 200, right.text
    return Question(request(body), right.json(), pause)


async def begin_training(url: str) -> tuple["asyncio.Task[httpx.Response]", str]:
    """Somebody who waits for a training, and its run."""

    async def wait() -> httpx.Response:
        async with httpx.AsyncClient(timeout=2 * PATIENCE) as client:
            return await client.post(f"{url}/train", json=LONG)

    waiting = asyncio.create_task(wait())
    async with httpx.AsyncClient() as client, asyncio.timeout(PATIENCE):
        while True:
            jobs: list[dict[str, Any]] = (await client.get(f"{url}/train/jobs")).json()["jobs"]
            found = [job for job in jobs if job["state"] == "Running" and job.get("run_id")]
            if found:
                return waiting, str(found[0]["run_id"])
            assert not waiting.done(), waiting.result().text
            await asyncio.sleep(0.05)


async def test_a_server_that_leaves_under_load_fails_nobody(
    pair: tuple[ServerProcess, ServerProcess, str], mlflow_server: str
) -> None:
    leaving, staying, run_id = pair
    small = question(leaving, X[:1].tolist())
    large = question(leaving, X.tolist() * (ROWS // len(X)))
    slowly = Question(large.request, large.right, pause=0.05)
    assert len(large.request) > 300_000
    assert large.right["run_id"] == run_id
    waiting, training = await begin_training(leaving.url)
    before = sum(line.get("path") == "/predict" for line in leaving.lines)

    behind = Behind([leaving.port, staying.port])
    load = Load(behind)
    clients = [load.pooled(small) for _ in range(6)] + [load.fresh(small) for _ in range(4)]
    clients += [load.pooled(large), load.fresh(large), load.pooled(slowly), load.fresh(slowly)]
    async with load.on(*clients):
        await load.reach(lambda: min(load.answers[server.port] for server in (leaving, staying)) > 200)
        with Peer(leaving) as last:  # has sent half when the drain is over
            last.send(large.request[: len(large.request) // 2])
            at_signal = load.answers[leaving.port]
            leaving.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(leaving.wait_for, message="leaving: still serving for 4 s, but closing connections")
            await asyncio.sleep(NOTICE)  # what a pod's Services take
            assert load.answers[leaving.port] > at_signal + 50, "it refused work while it was still asked"
            behind.ports.remove(leaving.port)
            await asyncio.to_thread(leaving.wait_for, message=OVER)
            last.send(large.request[len(large.request) // 2 :])
            answer = await asyncio.to_thread(last.answer)
            assert (answer.status, answer.json()) == (200, large.right)
        assert await asyncio.to_thread(leaving.ended) == 0
        after = load.answers[staying.port]
        await load.reach(lambda: load.answers[staying.port] > after + 200)
        await asyncio.to_thread(leaving.wait_for_end)
        rate = load.per_second

    assert load.failures == []
    assert rate >= 100, f"{rate:.0f} requests a second are no load"
    answered = [line["status"] for line in leaving.lines if line.get("path") == "/predict"][before:]
    assert answered == [200] * (load.answers[leaving.port] + 1), "somebody was answered who did not get it all"
    told = await waiting
    assert (told.status_code, told.json()["type"]) == (503, "urn:fairlead:problem:shutting-down")
    assert await killed(mlflow_server, training)
    assert complaints(leaving) == []


async def killed(mlflow_server: str, run_id: str) -> bool:
    """Whether the run is; the trainer, which was told to stop, has said so before the server ended."""
    client, deadline = mlflow.MlflowClient(mlflow_server), time.monotonic() + PATIENCE
    while (status := (await asyncio.to_thread(client.get_run, run_id)).info.status) == "RUNNING":
        assert time.monotonic() < deadline
    return status == "KILLED"
