"""Loading, swapping, training, restarting: with children that only pretend, and models that do not."""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fairlead_service.api.services import Commands
from fairlead_service.contract import FailureReason
from fairlead_service.models import bundle as bundles
from fairlead_service.models.backends import build
from fairlead_service.models.store import Store
from fairlead_service.settings import Settings
from tests.unit.service.support import (
    RESULT,
    RUN_A,
    RUN_B,
    X,
    Y,
    api_settings,
    fake,
    linear,
    logistic,
    running,
    tree,
    write_bundle,
)

FEATURES = {"features": X.tolist()}
TRAIN = {"data": X.tolist(), "target": [0, 0, 1, 1], "algorithm": "random_forest"}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Bundles of run A (a tree, integers) and run B (logistic regression, strings)."""
    write_bundle(tmp_path / "runs" / RUN_A, tree(), RUN_A)
    write_bundle(tmp_path / "runs" / RUN_B, logistic(["no", "no", "yes", "yes"]), RUN_B)
    return tmp_path / "runs"


def loading(runs: Path, train: tuple[str, ...] = ("false",)) -> Commands:
    return Commands(load=fake("succeed_by_run", runs), train=train)


async def predictions(client: httpx.AsyncClient) -> tuple[str, list[Any]]:
    answer = (await client.post("/predict", json=FEATURES)).json()
    return answer["run_id"], answer["predictions"]


@pytest.mark.parametrize(
    "model",
    [
        tree(),
        tree(["a", "b", "b", "é"]),
        tree(Y.astype(bool)),
        logistic(),
        linear(),
        RandomForestClassifier(n_estimators=30, n_jobs=-1, random_state=0).fit(X, Y),
        make_pipeline(StandardScaler(), logistic()).fit(X, Y),
    ],
    ids=lambda model: type(model).__name__,
)
async def test_answers_are_those_of_scikit_learn_itself(tmp_path: Path, model: Any) -> None:
    trusted = ("sklearn.tree._tree.Tree", "sklearn.pipeline.Pipeline")
    write_bundle(tmp_path / "b", model, trusted_types=trusted)
    rows = np.random.default_rng(0).normal(3, 3, size=(200, 4))
    wants_probabilities = hasattr(model, "predict_proba")
    body = {"features": rows.tolist(), "probabilities": wants_probabilities}
    async with running(Settings(role="predictor", bundle_dir=tmp_path / "b")) as (client, _):
        answer = (await client.post("/predict", json=body)).json()
        assert answer["predictions"] == model.predict(rows).tolist()
        if wants_probabilities:
            one_thread = model.set_params(n_jobs=1) if "n_jobs" in model.get_params() else model
            assert answer["probabilities"] == one_thread.predict_proba(rows).tolist()
            assert answer["classes"] == model.classes_.tolist()


def test_a_forest_predicts_in_one_thread(tmp_path: Path) -> None:
    forest = RandomForestClassifier(n_estimators=3, n_jobs=-1).fit(X, Y)
    assert build(write_bundle(tmp_path / "b", forest))._model.n_jobs == 1  # type: ignore[attr-defined]


async def test_a_predictor_is_ready_with_its_model_and_has_neither_train_nor_load(tmp_path: Path) -> None:
    identity = bundles.Identity(run_id=RUN_A, model_uri="models:/m-1", name="iris", version="3")
    write_bundle(tmp_path / "b", tree(), identity=identity)
    async with running(Settings(role="predictor", bundle_dir=tmp_path / "b")) as (client, _):
        assert (await client.get("/health/ready")).json() == {"status": "ready", "model_loaded": True, "run_id": RUN_A}
        health = (await client.get("/health")).json()
        assert (health["status"], health["role"], health["run_id"]) == ("ok", "predictor", RUN_A)
        answer = (await client.post("/predict", json=FEATURES)).json()
        assert answer == {"predictions": [0, 0, 1, 1], "run_id": RUN_A, "model_name": "iris", "model_version": "3"}
        info = (await client.get("/model/info")).json()
        assert (info["model_name"], info["n_features"], info["classes"]) == ("iris", 4, [0, 1])
        assert info["input_example"] == X.tolist()
        for path in ("/train", f"/model/load/{RUN_A}"):
            assert (await client.post(path)).status_code == 404


@pytest.mark.parametrize("damage", ["missing", "altered", "no setting", "foreign type", "own example"])
async def test_a_predictor_that_cannot_serve_says_why_and_does_not_start(tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "b"
    if damage != "missing":
        trusted = () if damage == "foreign type" else ("sklearn.tree._tree.Tree",)
        example = ((1.0, 2.0),) if damage == "own example" else None
        write_bundle(directory, tree(), trusted_types=trusted, input_example=example)
    if damage == "altered":
        with (directory / bundles.SKOPS_FILE).open("ab") as file:
            file.write(b"x")
    log = tmp_path / "termination-log"
    log.write_bytes(b"x" * 5000)
    settings = Settings(role="predictor", bundle_dir=None if damage == "no setting" else directory, termination_log=log)
    with pytest.raises(Exception, match=r"bundle|model"):
        async with running(settings):
            pass
    left = json.loads(log.read_bytes())
    final = damage in ("foreign type", "own example")
    assert left["reason"] == (FailureReason.SELF_TEST_FAILED if final else FailureReason.MODEL_CORRUPT)
    assert str(directory) in left["message"] or damage in ("no setting", "own example")


async def test_load_swaps_and_says_what_served_before(tmp_path: Path, runs: Path) -> None:
    async with running(api_settings(tmp_path), loading(runs)) as (client, _):
        first = (await client.post(f"/model/load/{RUN_A}")).json()
        assert (first["status"], first["run_id"], first["previous_run_id"]) == ("loaded", RUN_A, None)
        second = (await client.post(f"/model/load/{RUN_B}")).json()
        assert (second["status"], second["previous_run_id"]) == ("loaded", RUN_A)
        assert await predictions(client) == (RUN_B, ["no", "no", "yes", "yes"])
        again = (await client.post(f"/model/load/{RUN_B}")).json()
        assert again["status"] == "already-loaded"


async def test_loads_at_once_are_done_one_by_one_and_the_same_one_once(tmp_path: Path, runs: Path) -> None:
    async with running(api_settings(tmp_path), loading(runs)) as (client, _):
        answers = await asyncio.gather(*(client.post(f"/model/load/{RUN_A}") for _ in range(3)))
        assert sorted(answer.json()["status"] for answer in answers) == ["already-loaded"] * 2 + ["loaded"]


@pytest.mark.parametrize(
    ("command", "status", "slug"),
    [
        (fake("fail", "ModelRefused", "pickle"), 422, "model-refused"),
        (fake("fail", "VersionMismatch", "scikit-learn"), 422, "version-mismatch"),
        (fake("fail", "TrackingServerUnavailable", "no answer"), 503, "tracking-server-unavailable"),
        (fake("crash", 1), 500, "child-crashed"),
        (fake("babble"), 500, "load-failed"),  # says it has, but there is no bundle
    ],
)
async def test_a_failed_load_leaves_the_old_model(
    tmp_path: Path, runs: Path, command: tuple[str, ...], status: int, slug: str
) -> None:
    async with running(api_settings(tmp_path), loading(runs)) as (client, services):
        await client.post(f"/model/load/{RUN_A}")
        services.commands = Commands(load=command)
        answer = await client.post(f"/model/load/{RUN_B}")
        assert answer.status_code == status
        assert answer.json()["type"].endswith(f":{slug}")
        assert ("retry-after" in answer.headers) == (status == 503)
        assert await predictions(client) == (RUN_A, [0, 0, 1, 1])
        assert len(list((tmp_path / "data" / "bundles").iterdir())) == 1
        metrics = (await client.get("/metrics")).text
        assert f'model_info{{backend="sklearn",model="",run_id="{RUN_A}",version=""}} 1.0' in metrics


async def test_train_then_predict_with_no_step_between(tmp_path: Path, runs: Path) -> None:
    train = fake("succeed", runs / RUN_B, json.dumps(RESULT))
    async with running(api_settings(tmp_path), loading(runs, train)) as (client, _):
        answer = await client.post("/train", json=TRAIN)
        assert answer.status_code == 200, answer.text
        got = answer.json()
        assert got.pop("job_id")
        assert got == {key: value for key, value in RESULT.items() if key != "bundle"} | {"loaded": True}
        assert (await predictions(client))[0] == RUN_B
        assert not list((tmp_path / "data" / "jobs").iterdir())


async def test_load_false_trains_only(tmp_path: Path, runs: Path) -> None:
    train = fake("succeed", runs / RUN_B, json.dumps(RESULT))
    async with running(api_settings(tmp_path), loading(runs, train)) as (client, _):
        assert not (await client.post("/train", json=TRAIN | {"load": False})).json()["loaded"]
        assert (await client.get("/model/info")).status_code == 503
        assert not list((tmp_path / "data" / "bundles").iterdir())


async def test_a_trained_model_that_cannot_be_served_is_a_warning(tmp_path: Path, runs: Path) -> None:
    (runs / RUN_B / bundles.SKOPS_FILE).write_bytes(b"")
    train = fake("succeed", runs / RUN_B, json.dumps(RESULT))
    async with running(api_settings(tmp_path), loading(runs, train)) as (client, _):
        await client.post(f"/model/load/{RUN_A}")
        answer = (await client.post("/train", json=TRAIN)).json()
        assert not answer["loaded"]
        assert "not served" in answer["warning"]
        assert (await predictions(client))[0] == RUN_A


async def test_predict_and_health_answer_while_a_model_trains(tmp_path: Path, runs: Path) -> None:
    """The training ends only after they have answered: it waits for this test to open a fifo."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    train = fake("wait_then_succeed", fifo, runs / RUN_B, json.dumps(RESULT))
    async with running(api_settings(tmp_path, train_queue=1), loading(runs, train)) as (client, _):
        await client.post(f"/model/load/{RUN_A}")
        first = asyncio.create_task(client.post("/train", json=TRAIN))
        opened = asyncio.create_task(asyncio.to_thread(fifo.open, "w"))
        with await opened as fifo_end:  # the child runs now, and waits
            second = asyncio.create_task(client.post("/train", json=TRAIN))
            for _ in range(100):
                assert await predictions(client) == (RUN_A, [0, 0, 1, 1])
                assert (await client.get("/health")).status_code == 200
            third = await client.post("/train", json=TRAIN)
            assert third.status_code == 429
            assert third.headers["retry-after"]
            assert not first.done()
            services_metrics = (await client.get("/metrics")).text
            assert "http_requests_in_progress 2.0" in services_metrics
            fifo_end.close()
        assert (await first).status_code == 200
        (await asyncio.to_thread(fifo.open, "w")).close()
        assert (await second).status_code == 200
        assert (await predictions(client))[0] == RUN_B


async def test_a_training_goes_on_when_its_client_leaves(tmp_path: Path, runs: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    train = fake("wait_then_succeed", fifo, runs / RUN_B, json.dumps(RESULT))
    async with running(api_settings(tmp_path), loading(runs, train)) as (client, services):
        leaving = asyncio.create_task(client.post("/train", json=TRAIN))
        with await asyncio.to_thread(fifo.open, "w"):
            leaving.cancel()
            await asyncio.wait([leaving])
        async with services.trainings.turn():  # after it
            assert (await predictions(client))[0] == RUN_B


async def test_a_training_ends_with_the_server(tmp_path: Path, runs: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with running(api_settings(tmp_path), loading(runs, fake("hang", fifo))) as (client, services):
        training = asyncio.create_task(client.post("/train", json=TRAIN))
        await asyncio.to_thread(fifo.read_text)  # it runs now
        waiting = asyncio.create_task(client.post("/train", json=TRAIN))
        services.drain.begin()
        assert (await client.get("/health")).headers["connection"] == "close"
        await services.close()
        for answer in (await training, await waiting, await client.post(f"/model/load/{RUN_A}")):
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:fairlead:problem:shutting-down")


async def test_an_answer_is_of_one_model_while_models_are_swapped(tmp_path: Path) -> None:
    """Run A answers 0 and 1, run B answers 10 and 11: an answer that mixed them would show."""
    models = {RUN_A: [0, 0, 1, 1], RUN_B: [10, 10, 11, 11]}
    for run, labels in models.items():
        write_bundle(tmp_path / run, tree(labels), run)
    async with running(api_settings(tmp_path)) as (client, services):
        await services.activate(tmp_path / RUN_A)
        seen, done = set(), asyncio.Event()

        async def ask() -> None:
            while not done.is_set():
                answer = (await client.post("/predict", json=FEATURES | {"probabilities": True})).json()
                assert answer["predictions"] == models[answer["run_id"]]
                assert answer["classes"] == sorted(set(answer["predictions"]))
                seen.add(answer["run_id"])

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(ask())
            for _ in range(10):
                await services.activate(tmp_path / RUN_B)
                await services.activate(tmp_path / RUN_A)
            done.set()
        assert seen == {RUN_A, RUN_B}


async def test_the_last_model_serves_again_after_a_restart(tmp_path: Path, runs: Path) -> None:
    settings = api_settings(tmp_path)
    async with running(settings, loading(runs)) as (client, _):
        for run in (RUN_B, RUN_A, RUN_B, RUN_A):
            await client.post(f"/model/load/{run}")
        assert len(list((settings.data_dir / "bundles").iterdir())) == 2
    async with running(settings, loading(runs)) as (client, services):
        assert await predictions(client) == (RUN_A, [0, 0, 1, 1])
        (services.slot.current.bundle.directory / bundles.SKOPS_FILE).unlink()
    async with running(settings, loading(runs)) as (client, _):
        assert (await client.get("/health")).json()["status"] == "no-model"
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.post(f"/model/load/{RUN_A}")).json()["status"] == "loaded"


def test_a_store_removes_leftovers_only_if_it_is_alone(tmp_path: Path) -> None:
    first = Store(tmp_path)
    for name in ("old", "mine"):
        write_bundle(tmp_path / "bundles" / name, tree())
    first.commit(tmp_path / "bundles" / "mine")
    job = first.new_job()
    second = Store(tmp_path)
    assert job.is_dir()
    assert (tmp_path / "bundles" / "old").is_dir()
    first.close()
    second.close()
    third = Store(tmp_path)
    assert not job.exists()
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["mine"]
    third.close()


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", '["gone"]'])
async def test_a_damaged_memory_of_the_last_model_is_no_obstacle(tmp_path: Path, text: str) -> None:
    settings = api_settings(tmp_path)
    async with AsyncExitStack() as stack:
        settings.data_dir.mkdir(parents=True)
        (settings.data_dir / "current.json").write_text(text)
        client, _ = await stack.enter_async_context(running(settings))
        assert (await client.get("/health")).json()["model_loaded"] is False


async def test_probabilities_of_a_model_that_has_none(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", linear(), input_example=None)
    async with running(Settings(role="predictor", bundle_dir=tmp_path / "b")) as (client, _):
        answer = await client.post("/predict", json=FEATURES | {"probabilities": True})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/probabilities")
        assert "LinearRegression" in answer.json()["detail"]


async def test_what_only_the_model_can_refuse_is_told_in_its_words(tmp_path: Path) -> None:
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X, Y)
    write_bundle(tmp_path / "b", model, trusted_types=("sklearn.pipeline.Pipeline",))
    async with running(Settings(role="predictor", bundle_dir=tmp_path / "b")) as (client, _):
        answer = await client.post("/predict", json={"features": [7.0, 3.5, 1.4, 0.2]})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlead:problem:model-refused-input")
        assert "Found unknown categories" in answer.json()["detail"]


async def test_pickle_is_allowed_to_the_loader_only_where_it_is_set(tmp_path: Path, runs: Path) -> None:
    """The fake child fails unless it finds the option it is told to look for."""
    copy = "import sys, shutil; assert '--allow-pickle' in sys.argv; "
    copy += f"shutil.copytree({str(runs / RUN_A)!r}, sys.argv[sys.argv.index('--bundle') + 1]); "
    copy += 'print(\'{"kind": "result", "value": {}}\')'
    commands = Commands(load=(sys.executable, "-c", copy))
    for allowed, status in ((False, 500), (True, 200)):
        async with running(api_settings(tmp_path, allow_pickle=allowed), commands) as (client, _):
            assert (await client.post(f"/model/load/{RUN_A}")).status_code == status


async def test_a_full_disk_costs_the_restart_its_model_and_not_the_answer(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: Store, bundle: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "commit", full)
    async with running(api_settings(tmp_path), loading(runs)) as (client, _):
        assert (await client.post(f"/model/load/{RUN_A}")).status_code == 200
        assert await predictions(client) == (RUN_A, [0, 0, 1, 1])
