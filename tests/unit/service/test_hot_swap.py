"""Predictors that swap models: what they keep, what they say, and what serves after a restart. Children pretend."""

import asyncio
import contextlib
import gc
import json
import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.api.services import Commands, Services
from fairlead_service.models.bundle import Identity
from fairlead_service.models.wanted import Wanted
from fairlead_service.settings import Settings
from tests.unit.service.support import RUN_A, RUN_B, X, fake, logistic, running, tree, write_bundle

RUN_C = "c" * 32
FEATURES = {"features": X.tolist()}
LATER = {"wait": "false"}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for run, labels in ((RUN_A, [0, 0, 1, 1]), (RUN_B, [10, 10, 11, 11]), (RUN_C, [20, 20, 21, 21])):
        write_bundle(tmp_path / "runs" / run, tree(labels), run)
    return tmp_path / "runs"


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """A pod's bundle, as its loader left it."""
    return write_bundle(tmp_path / "bundle" / "current", tree(), RUN_A).directory


def settings(pod: Path, **changes: Any) -> Settings:
    values = {"role": "predictor", "bundle_dir": pod, "hot_swap": True, "child_grace_seconds": 1.0}
    return Settings(**(values | changes))


def loading(runs: Path) -> Commands:
    return Commands(load=fake("succeed_by_run", runs))


async def serves(client: httpx.AsyncClient) -> str:
    return str((await client.post("/predict", json=FEATURES)).json()["run_id"])


async def info_when(client: httpx.AsyncClient, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """`/model/info` once it says so."""
    async with asyncio.timeout(60):
        while True:
            info: dict[str, Any] = (await client.get("/model/info")).json()
            if true(info):
                return info
            await asyncio.sleep(0.01)


class SlowChild:
    """The next loads' child: it ends when it is told to."""

    def __init__(self, fifo: Path, services: Services, bundle: Path) -> None:
        self._fifo, self._end = fifo, -1
        os.mkfifo(fifo)
        services.commands = Commands(load=fake("wait_then_succeed", fifo, bundle))

    async def runs(self) -> None:
        async with asyncio.timeout(60):
            while self._end < 0:
                with contextlib.suppress(OSError):  # nobody reads it yet
                    self._end = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)
                await asyncio.sleep(0.01)

    def go_on(self) -> None:
        os.close(self._end)


async def test_the_model_before_is_kept_and_comes_back_without_a_child(pod: Path, runs: Path) -> None:
    async with running(settings(pod), loading(runs)) as (client, services):
        first = (await client.get("/model/info")).json()
        assert (first["run_id"], first["previous"], first["loading"], first["failed_load"]) == (RUN_A, *[None] * 3)
        loaded = (await client.post(f"/model/load/{RUN_B}")).json()
        assert (loaded["status"], loaded["previous_run_id"]) == ("loaded", RUN_A)
        services.commands = Commands(load=("false",))
        for run, other in ((RUN_A, RUN_B), (RUN_B, RUN_A)) * 2:
            back = (await client.post(f"/model/load/{run}")).json()
            assert (back["status"], back["run_id"], back["previous_run_id"]) == ("swapped-back", run, other)
            assert (await client.get("/model/info")).json()["previous"] == other
            assert await serves(client) == run
            assert f'run_id="{run}"' in (await client.get("/metrics")).text


async def test_two_models_at_most_are_in_memory(pod: Path, runs: Path) -> None:
    async with running(settings(pod), loading(runs)) as (client, services):
        gone = weakref.ref(services.slot.current or pytest.fail("no model"))
        for run in (RUN_B, RUN_C):
            await client.post(f"/model/load/{run}")
        await client.post("/predict", json=FEATURES)
        gc.collect()
        assert gone() is None
        assert len(list(Path(services.store.new_bundle()).parent.iterdir())) == 2


async def test_a_model_that_cannot_be_served_leaves_the_one_that_serves(pod: Path, runs: Path) -> None:
    async with running(settings(pod), loading(runs)) as (client, services):
        services.commands = Commands(load=fake("fail", "ModelRefused", "it is a pickle"))
        assert (await client.post(f"/model/load/{RUN_B}")).status_code == 422
        info = (await client.get("/model/info")).json()
        assert info["failed_load"].pop("at")
        assert info["failed_load"] == {"run_id": RUN_B, "reason": "ModelRefused", "message": "it is a pickle"}
        assert (info["run_id"], info["loading"]) == (RUN_A, None)
        services.commands = Commands(load=fake("crash", 3))
        await client.post(f"/model/load/{RUN_B}")
        assert (await client.get("/model/info")).json()["failed_load"]["reason"] == "LoadFailed"
        services.commands = loading(runs)
        await client.post(f"/model/load/{RUN_B}")
        assert (await client.get("/model/info")).json()["failed_load"] is None


async def test_a_load_that_nobody_waits_for_can_be_followed(tmp_path: Path, pod: Path, runs: Path) -> None:
    async with running(settings(pod)) as (client, services):
        child = SlowChild(tmp_path / "fifo", services, runs / RUN_B)
        for _ in range(3):
            answer = await client.post(f"/model/load/{RUN_B}", params=LATER)
            assert (answer.status_code, answer.json()) == (202, {"status": "loading", "run_id": RUN_B})
        await child.runs()
        assert (await client.get("/model/info")).json()["loading"] == {"run_id": RUN_B, "stage": "fetch"}
        assert await serves(client) == RUN_A
        assert services.loads._taken == 1, "asking again began another load"
        child.go_on()
        await info_when(client, lambda found: found["run_id"] == RUN_B)
        for status in ("swapped-back", "already-loaded"):
            answer = await client.post(f"/model/load/{RUN_A}", params=LATER)
            assert (answer.status_code, answer.json()["status"]) == (200, status)


async def test_a_load_that_nobody_waits_for_reports_why_it_failed(pod: Path, runs: Path) -> None:
    async with running(settings(pod), Commands(load=fake("fail", "ModelCorrupt", "truncated"))) as (client, _):
        assert (await client.post(f"/model/load/{RUN_B}", params=LATER)).status_code == 202
        info = await info_when(client, lambda found: found["failed_load"] is not None)
        assert (info["failed_load"]["reason"], info["run_id"]) == ("ModelCorrupt", RUN_A)


@pytest.mark.parametrize("second", [RUN_A, RUN_C])
async def test_the_last_one_asked_for_is_what_serves(tmp_path: Path, pod: Path, runs: Path, second: str) -> None:
    """Going back while a load runs gives the load up: it must not swap later."""
    async with running(settings(pod, load_queue=1)) as (client, services):
        child = SlowChild(tmp_path / "fifo", services, runs / RUN_B)
        await client.post(f"/model/load/{RUN_B}", params=LATER)
        await child.runs()
        given_up = services.load_state.task
        services.commands = loading(runs)
        answer = await client.post(f"/model/load/{second}", params=LATER)
        assert answer.status_code == (200 if second == RUN_A else 202)
        info = await info_when(client, lambda found: found["run_id"] == second and found["loading"] is None)
        assert info["failed_load"] is None
        assert given_up is not None
        assert given_up.cancelled()
        with pytest.raises(OSError, match="No such device"):
            os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)  # its child is gone
        assert await serves(client) == second


async def test_people_who_wait_are_not_pushed_aside(tmp_path: Path, pod: Path, runs: Path) -> None:
    async with running(settings(pod)) as (client, services):
        child = SlowChild(tmp_path / "fifo", services, runs / RUN_B)
        waits = asyncio.create_task(client.post(f"/model/load/{RUN_B}"))
        await child.runs()
        services.commands = loading(runs)
        assert (await client.post(f"/model/load/{RUN_C}", params=LATER)).status_code == 202
        child.go_on()
        assert (await waits).json()["status"] == "loaded"
        await info_when(client, lambda found: found["run_id"] == RUN_C)


async def test_names_given_reach_the_loader_and_those_of_the_pod_do_not(
    pod: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLEAD_MODEL_NAME", "what the pod started with")
    monkeypatch.setenv("FAIRLEAD_LOAD_TOKEN", "secret")
    told = pod.parent / "told.json"
    program = "import json, os, sys; json.dump([sys.argv, dict(os.environ)], open(sys.argv[1], 'w')); sys.exit(1)"
    async with running(settings(pod), Commands(load=(sys.executable, "-c", program, str(told)))) as (client, _):
        secret = {"Authorization": "Bearer secret"}
        names = {"model_uri": "models:/fraud/7", "model_name": "fraud", "model_version": "7"}
        for query in (names, {}):
            await client.post(f"/model/load/{RUN_B}", params=query, headers=secret)
            arguments, environment = json.loads(told.read_text())
            given = dict(zip(arguments[2::2], arguments[3::2], strict=False))
            assert given["--model-uri"] == query.get("model_uri", f"runs:/{RUN_B}")
            assert (given["--name"], given["--version"]) == (
                query.get("model_name", ""),
                query.get("model_version", ""),
            )
            assert "FAIRLEAD_LOAD_TOKEN" not in environment
            assert environment["FAIRLEAD_TERMINATION_LOG"] == os.devnull


@pytest.mark.parametrize(
    "query", [{"model_uri": "file:/etc"}, {"model_uri": "--x"}, {"model_name": "a/b"}, {"model_version": "x"}]
)
async def test_what_names_no_model_is_refused(pod: Path, runs: Path, query: dict[str, str]) -> None:
    async with running(settings(pod), loading(runs)) as (client, _):
        answer = await client.post(f"/model/load/{RUN_B}", params=query)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlead:problem:invalid-input")


async def test_only_who_has_the_token_may_swap(pod: Path, runs: Path) -> None:
    async with running(settings(pod, load_token="right"), loading(runs)) as (client, _):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = await client.post(f"/model/load/{RUN_B}", headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (401, "urn:fairlead:problem:unauthorized")
        assert await serves(client) == RUN_A
        answer = await client.post(f"/model/load/{RUN_B}", headers={"Authorization": "Bearer right"})
        assert answer.status_code == 200


async def test_a_container_that_starts_again_serves_what_served_last(pod: Path, runs: Path) -> None:
    for swaps, last in (((RUN_B,), RUN_B), ((), RUN_B), ((RUN_C, RUN_B), RUN_B), ((RUN_C, RUN_A, RUN_C), RUN_C)):
        async with running(settings(pod), loading(runs)) as (client, _):
            for run in swaps:
                await client.post(f"/model/load/{run}")
            assert await serves(client) == last


async def test_going_back_to_what_the_loader_wrote_outlives_a_restart(pod: Path, runs: Path) -> None:
    async with running(settings(pod), loading(runs)) as (client, _):
        for run in (RUN_B, RUN_A):
            await client.post(f"/model/load/{run}")
    async with running(settings(pod), loading(runs)) as (client, _):
        assert await serves(client) == RUN_A


async def test_a_loader_that_has_written_another_model_knows_better(pod: Path, runs: Path) -> None:
    async with running(settings(pod), loading(runs)) as (client, _):
        await client.post(f"/model/load/{RUN_B}")
    write_bundle(pod, logistic(), RUN_C)
    async with running(settings(pod), loading(runs)) as (client, _):
        assert await serves(client) == RUN_C
        assert len(list(pod.parent.glob("swaps-*"))) == 1, "the swaps of another bundle are left on the disk"


async def test_a_damaged_last_model_gives_way_to_the_loaders(pod: Path, runs: Path) -> None:
    async with running(settings(pod), loading(runs)) as (client, services):
        await client.post(f"/model/load/{RUN_B}")
        assert services.slot.current is not None
        (services.slot.current.bundle.directory / "model.skops").write_bytes(b"")
    async with running(settings(pod), loading(runs)) as (client, _):
        assert await serves(client) == RUN_A


async def test_a_bundle_that_cannot_be_written_beside_is_said_at_the_start(pod: Path, tmp_path: Path) -> None:
    (pod / "manifest.json").unlink()
    log = tmp_path / "termination-log"
    log.touch()
    with pytest.raises(Exception, match="hot swap needs"):
        async with running(settings(pod, termination_log=log)):
            pass
    assert json.loads(log.read_text())["reason"] == "ModelCorrupt"


URIS = st.sampled_from([None, f"runs:/{RUN_A}/model", f"runs:/{RUN_A}/other", "models:/fraud/1", "models:/fraud@best"])


@given(st.sampled_from([RUN_A, RUN_B]), URIS, st.sampled_from([None, "fraud"]), st.sampled_from([None, "1", "2"]))
def test_a_model_is_taken_for_the_wanted_one_only_if_all_that_was_said_is_true(
    run: str, uri: str | None, name: str | None, version: str | None
) -> None:
    identity = Identity(run_id=RUN_A, model_uri=f"runs:/{RUN_A}/model", model_id="m-1", name="fraud", version="1")
    right = uri in (None, f"runs:/{RUN_A}/model", "models:/fraud/1") and version in (None, "1")
    assert Wanted(run, uri, name, version).is_of(identity) == (run == RUN_A and right)
