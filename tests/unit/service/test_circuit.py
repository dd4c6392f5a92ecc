"""When a dependency that does not answer is asked again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.api import cached
from fairlead_service.api.services import Commands
from fairlead_service.circuit import Circuit
from fairlead_service.settings import Settings
from tests.unit.service.support import RUN_A, RUN_B, fake, running, tree, write_bundle

LONG = 3600.0


def await_trial(circuit: Circuit) -> None:
    deadline = time.monotonic() + 30
    while not circuit.admits():
        assert time.monotonic() < deadline


@given(outcomes=st.lists(st.booleans(), max_size=20), failures=st.integers(1, 5))
def test_it_opens_after_so_many_failures_in_a_row_and_not_before(outcomes: list[bool], failures: int) -> None:
    circuit, row = Circuit("mlflow", failures, LONG), 0
    for answered in outcomes:
        assert circuit.admits() == (row < failures)
        if not circuit.admits():
            return
        circuit.note(answered=answered)
        row = 0 if answered else row + 1
        assert circuit.is_open() == (row >= failures)


def test_one_call_at_a_time_tries_it_until_it_answers() -> None:
    circuit = Circuit("mlflow", 2, 1.0)
    for _ in range(2):
        circuit.note(answered=False)
    assert not circuit.admits()
    await_trial(circuit)
    assert not circuit.admits(), "a second trial beside the first"
    circuit.note(answered=False)
    assert circuit.is_open(), "one failed trial is enough"
    await_trial(circuit)
    circuit.note(answered=True)
    assert not circuit.is_open()
    circuit.note(answered=False)
    assert circuit.admits(), "the failures of before still counted"


def test_a_trial_that_tells_nothing_is_not_the_last() -> None:
    circuit = Circuit("mlflow", 1, 0.1)
    circuit.note(answered=False)
    await_trial(circuit)
    await_trial(circuit)


def test_of_threads_one_makes_the_trial_and_none_waits() -> None:
    circuit, together = Circuit("mlflow", 1, 1.0), threading.Barrier(8)
    circuit.note(answered=False)
    time.sleep(1.0)  # the circuit's own time

    def ask(_: int) -> bool:
        together.wait(30)
        return circuit.admits()

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) == 1


async def test_a_cache_that_is_back_is_found_by_the_next_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "_OPEN_SECONDS", 0.0)
    for run in (RUN_A, RUN_B):
        write_bundle(tmp_path / "runs" / run, tree(), run)
    outcome = tmp_path / "outcome"
    commands = Commands(load=fake("succeed_by_run_from_a_cache", outcome, tmp_path / "runs"))
    async with running(Settings(data_dir=tmp_path / "data"), commands) as (client, _):

        async def is_open_after(run: str, said: str) -> bool:
            outcome.write_text(said)
            assert (await client.post(f"/model/load/{run}")).json()["status"] == "loaded"
            return 'circuit_open{dependency="bundle_cache"} 1.0' in (await client.get("/metrics")).text

        assert not await is_open_after(RUN_A, "unavailable")
        assert not await is_open_after(RUN_B, "error"), "it has answered"
        assert not await is_open_after(RUN_A, "unavailable")
        assert await is_open_after(RUN_B, "unavailable")
        assert await is_open_after(RUN_A, "unavailable")
        assert not await is_open_after(RUN_B, "hit")
