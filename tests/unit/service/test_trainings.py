"""Training jobs: queued, followed, cancelled, cut off, remembered; with children that only pretend."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead_service.api.services import Commands, Services
from fairlead_service.ledger import KEPT, Ledger
from fairlead_service.schemas_train import JobState, TrainingJob
from tests.unit.service.support import RESULT, RUN_B, X, Y, api_settings, fake, running, tree, write_bundle

TRAIN = {"data": X.tolist(), "target": Y.tolist(), "algorithm": "random_forest"}
JOBS = "/train/jobs"


@pytest.fixture
def trained(tmp_path: Path) -> tuple[str, ...]:
    """A child that trains at once."""
    bundle = write_bundle(tmp_path / "trained", tree(), RUN_B)
    return fake("succeed", bundle.directory, json.dumps(RESULT))


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@asynccontextmanager
async def serving(
    tmp_path: Path, train: tuple[str, ...], **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Services]]:
    told = fake("note", tmp_path / "told")
    commands = Commands(train=train, interrupted=told)
    async with running(api_settings(tmp_path, **settings), commands) as (client, services):
        yield client, services


async def queued(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/train?wait=false", json=TRAIN | fields)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    followed = answer.url.join(answer.headers["Location"])
    assert followed.path == f"{JOBS}/{job['id']}"
    return job


async def until(client: httpx.AsyncClient, job_id: str, state: str) -> dict[str, Any]:
    """The job, once it is in this state."""
    async with asyncio.timeout(30):
        while True:
            job: dict[str, Any] = (await client.get(f"{JOBS}/{job_id}")).json()
            if job["state"] == state:
                return job
            await asyncio.sleep(0.01)


async def heard(client: httpx.AsyncClient, fifo: Path, job_id: str) -> dict[str, Any]:
    """The job, once its child has said which run it has, and the server has heard it."""
    await asyncio.to_thread(fifo.read_text)
    found: dict[str, Any] = {}

    async def has_a_run() -> bool:
        found.update((await client.get(f"{JOBS}/{job_id}")).json())
        return "run_id" in found

    await eventually(has_a_run)
    return found


async def eventually(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await happened():  # noqa: ASYNC110 (asked over HTTP, or of the disk)
            await asyncio.sleep(0.01)


async def test_a_job_from_its_queue_to_its_model(tmp_path: Path, trained: tuple[str, ...]) -> None:
    async with serving(tmp_path, trained) as (client, _):
        job = await queued(client)
        assert (job["state"], job["percent"], job["data"]) == ("Queued", 0, "request")
        done = await until(client, job["id"], "Succeeded")
        assert done["result"]["run_id"] == done["run_id"] == RUN_B
        assert done["result"]["job_id"] == job["id"]
        assert (done["metrics"], done["percent"]) == ({"accuracy": 1.0}, 100)
        assert done["created_at"] <= done["started_at"] <= done["ended_at"]
        assert (await client.post("/predict", json={"features": X.tolist()})).json()["run_id"] == RUN_B
        assert [listed["id"] for listed in (await client.get(JOBS)).json()["jobs"]] == [job["id"]]


async def test_a_client_that_waits_has_a_job_too(tmp_path: Path, trained: tuple[str, ...]) -> None:
    async with serving(tmp_path, trained) as (client, _):
        answer = (await client.post("/train", json=TRAIN)).json()
        job = (await client.get(f"{JOBS}/{answer['job_id']}")).json()
        assert job["state"] == "Succeeded"
        assert job["result"] == answer


async def test_a_job_that_fails_keeps_its_problem(tmp_path: Path) -> None:
    train = fake("fail", "InvalidHyperparameter", "no such depth", "/hyperparameters/max_depth")
    async with serving(tmp_path, train) as (client, _):
        job = await until(client, (await queued(client))["id"], "Failed")
        waited = await client.post("/train", json=TRAIN)
        told = {name: value for name, value in waited.json().items() if name != "instance"}
        assert job["problem"] == told
        assert job["problem"]["errors"][0]["pointer"] == "/hyperparameters/max_depth"


async def test_progress_is_what_the_child_says(tmp_path: Path, fifo: Path) -> None:
    said = {
        "stage": "search",
        "message": "candidate 3 of 9",
        "percent": 41.5,
        "metrics": {"best": 0.9},
        "run_id": RUN_B,
    }
    async with serving(tmp_path, fake("say_then_hang", fifo, json.dumps(said))) as (client, _):
        job = await queued(client)
        found = await heard(client, fifo, job["id"])
        assert found["state"] == "Running"
        assert {name: found[name] for name in said} == said


async def test_cancelling(tmp_path: Path, fifo: Path) -> None:
    said = json.dumps({"stage": "fit", "run_id": RUN_B})
    async with serving(tmp_path, fake("say_then_hang", fifo, said)) as (client, _):
        running_job, waiting_job = await queued(client), await queued(client)
        waiter = asyncio.create_task(client.post("/train", json=TRAIN))
        await heard(client, fifo, running_job["id"])

        async def queue_is_long() -> bool:
            return len((await client.get(f"{JOBS}?state=Queued")).json()["jobs"]) == 2

        await eventually(queue_is_long)
        waited_for = (await client.get(JOBS)).json()["jobs"][0]["id"]
        for job_id in (waiting_job["id"], waited_for, running_job["id"]):
            cancelled = await client.delete(f"{JOBS}/{job_id}")
            assert cancelled.status_code == 200, cancelled.text
            assert (cancelled.json()["state"], cancelled.json()["problem"]["status"]) == ("Cancelled", 409)
            assert (await client.delete(f"{JOBS}/{job_id}")).json()["type"].endswith("job-ended")
        assert (await waiter).json()["type"].endswith("training-cancelled")

        async def mlflow_was_told() -> bool:
            return (tmp_path / "told").exists()

        await eventually(mlflow_was_told)
        assert (tmp_path / "told").read_text() == RUN_B
        assert list((tmp_path / "data" / "jobs").iterdir()) == []


async def test_there_is_room_after_jobs_were_cancelled(tmp_path: Path, fifo: Path, trained: tuple[str, ...]) -> None:
    async with serving(tmp_path, fake("say_then_hang", fifo, "{}"), train_queue=1) as (client, services):
        first, second = await queued(client), await queued(client)
        full = await client.post("/train?wait=false", json=TRAIN)
        assert (full.status_code, full.headers["Retry-After"]) == (429, "10")
        for job in (second, first):
            await client.delete(f"{JOBS}/{job['id']}")
        services.commands = Commands(train=trained)
        assert (await client.post("/train", json=TRAIN)).status_code == 200


async def test_unfinished_jobs_are_interrupted_by_a_restart(tmp_path: Path, fifo: Path) -> None:
    said = json.dumps({"stage": "fit", "run_id": RUN_B})
    async with serving(tmp_path, fake("say_then_hang", fifo, said)) as (client, _):
        job, waiting = await queued(client), await queued(client)
        await heard(client, fifo, job["id"])
    async with serving(tmp_path, ("false",)) as (client, _):
        found = (await client.get(f"{JOBS}/{job['id']}")).json()
        assert (found["state"], found["run_id"]) == ("Interrupted", RUN_B)
        assert "send it again" in found["problem"]["detail"]
        assert (await client.get(f"{JOBS}/{waiting['id']}")).json()["state"] == "Interrupted"
        assert (await client.delete(f"{JOBS}/{job['id']}")).status_code == 409

        async def mlflow_was_told() -> bool:
            return (tmp_path / "told").exists()

        await eventually(mlflow_was_told)


async def test_a_server_that_was_killed_leaves_interrupted_jobs(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "data" / "trainings")
    ledger.save(record("a" * 32, JobState.RUNNING, run_id=RUN_B))
    ledger.open_run("a" * 32, RUN_B)
    ledger.save(record("b" * 32, JobState.SUCCEEDED))
    (tmp_path / "data" / "trainings" / "broken.json").write_text("{")
    (tmp_path / "data" / "trainings" / "c.123").write_text("cut off")
    async with serving(tmp_path, ("false",)) as (client, services):
        states = {job["id"]: job["state"] for job in (await client.get(JOBS)).json()["jobs"]}
        assert states == {"a" * 32: "Interrupted", "b" * 32: "Succeeded"}

        async def all_are_closed() -> bool:
            return not services.ledger.open_runs()

        await eventually(all_are_closed)
        assert (tmp_path / "told").read_text() == RUN_B


async def test_no_such_job(tmp_path: Path) -> None:
    async with serving(tmp_path, ("false",)) as (client, _):
        for method in ("GET", "DELETE"):
            assert (await client.request(method, f"{JOBS}/{'0' * 32}")).status_code == 404
            assert (await client.request(method, f"{JOBS}/..%2f..%2fetc")).status_code in (404, 422)


def record(job_id: str, state: JobState, **fields: Any) -> TrainingJob:
    made = {"id": job_id, "state": state, "algorithm": "a", "data": "request", "created_at": "2026-01-01T00:00:00Z"}
    return TrainingJob.model_validate(made | fields)


def test_only_so_many_are_remembered(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    running_job = record("f" * 32, JobState.RUNNING)
    for job in [running_job, *(record(f"{number:032x}", JobState.FAILED) for number in range(KEPT + 5))]:
        ledger.put(job)
        ledger.save(job)
        ledger.put(job)  # as it changes, and then some are forgotten
    assert len(list(ledger.all())) == KEPT + 1
    assert ledger.get(running_job.id) == running_job
    assert {job.id for job in Ledger(tmp_path).all()} == {job.id for job in ledger.all()}


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ({"file": ("a.csv", b"a,b\n1,x\n")}, 422, "part request is missing"),
        ({"request": ("r", b"{}"), "file": ("a.csv", b"")}, 422, "part request is a file"),
        ({"request": (None, b"{}")}, 422, "part file is missing"),
        ({"request": (None, b"{}"), "file": (None, b"a,b")}, 422, "part file is no file"),
        ({"request": (None, b"{}"), "fiel": ("a.csv", b"")}, 422, "unknown part 'fiel'"),
        ({"request": (None, b"["), "file": ("a.csv", b"")}, 400, ""),
        (
            {"request": (None, b'{"algorithm": "random_forest"}'), "file": ("a.csv", b"")},
            422,
            "target_column is missing",
        ),
        ({"request": (None, b'{"algorithm": "magic"}'), "file": ("a.csv", b"")}, 422, "known are"),
        (
            {"request": (None, b'{"algorithm": "random_forest", "data": [[1]]}'), "file": ("a.csv", b"")},
            422,
            "leave out data",
        ),
        ({"request": (None, b" " * 2_000_000), "file": ("a.csv", b"")}, 400, "maximum size"),
        ({"request": (None, b"{}"), "file": ("a.csv", b"x" * 5_000_000)}, 413, "longer than 5000000 bytes"),
    ],
)
async def test_bad_uploads(tmp_path: Path, parts: Any, status: int, words: str) -> None:
    async with serving(tmp_path, ("false",), max_upload_bytes=5_000_000) as (client, _):
        answer = await client.post("/train", files=parts)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
        assert list((tmp_path / "data" / "jobs").iterdir()) == []
        broken = await client.post("/train", content=b"x", headers={"Content-Type": "multipart/form-data"})
        assert broken.status_code == 400


async def test_an_upload_is_the_child_s(tmp_path: Path, fifo: Path) -> None:
    async with serving(tmp_path, fake("say_then_hang", fifo, "{}")) as (client, _):
        sent = {"algorithm": "random_forest", "target_column": "b", "hyperparameters": {"max_depth": 3}}
        for content, name in ((b"a,b\n1,x\n2,y\n", "data.csv"), (b"PAR1 and so on", "data.parquet")):
            parts = {"request": (None, json.dumps(sent)), "file": ("../../mine.txt", content)}
            answer = await client.post("/train?wait=false", files=parts)
            assert answer.json()["data"] == "upload of ../../mine.txt"
            await asyncio.to_thread(fifo.read_text)
            (directory,) = (tmp_path / "data" / "jobs").iterdir()
            assert (directory / name).read_bytes() == content
            left = json.loads((directory / "request.json").read_text())
            assert left["data_file"] == name
            assert {key: left[key] for key in sent} == sent
            assert left["limits"]["rows"] == 1_000_000
            await client.delete(answer.headers["Location"])
