"""The queue's promises, on an event loop whose clock the test moves."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.workqueue import RetryError, WorkQueue

KEYS = st.sampled_from("abc")


class ClockedLoop(asyncio.SelectorEventLoop):
    """Time passes only when there is nothing else to do, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> Any:
            found = select(0)
            if not found and timeout:
                self.now += timeout
            return found

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=ClockedLoop) as runner:
        runner.run(test())


@given(st.lists(KEYS, max_size=20))
def test_a_key_waits_at_most_once_and_in_order(keys: list[str]) -> None:
    async def test() -> None:
        queue: WorkQueue[str] = WorkQueue()
        for key in keys:
            queue.add(key)
        assert [await queue.get() for _ in range(len(queue))] == list(dict.fromkeys(keys))

    run(test)


@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=20))
def test_a_key_that_goes_ahead_does_so_wherever_it_waited(adds: list[tuple[str, bool]]) -> None:
    async def test() -> None:
        queue: WorkQueue[str] = WorkQueue()
        for key, ahead in adds:
            queue.add(key, ahead=ahead)
        first = dict.fromkeys(key for key, ahead in adds if ahead)
        wanted = [*first, *dict.fromkeys(key for key, _ in adds if key not in first)]
        assert len(queue) == len(wanted)
        assert [await queue.get() for _ in range(len(queue))] == wanted

    run(test)


def test_what_shall_go_ahead_while_it_is_worked_on_is_taken_next() -> None:
    async def test() -> None:
        queue: WorkQueue[str] = WorkQueue()
        for key in "abc":
            queue.add(key)
        assert await queue.get() == "a"
        queue.add("a", ahead=True)
        queue.add("a")
        queue.done("a")
        assert [await queue.get() for _ in range(len(queue))] == ["a", "b", "c"]

    run(test)


@given(st.lists(st.tuples(KEYS, st.floats(0, 5), st.floats(0, 3), st.booleans()), max_size=25), st.integers(1, 4))
def test_no_key_is_worked_on_twice_at_once_and_every_add_is_seen(
    adds: list[tuple[str, float, float, bool]], workers: int
) -> None:
    async def test() -> None:
        queue: WorkQueue[str] = WorkQueue()
        active: set[str] = set()
        started: dict[str, float] = {}
        loop = asyncio.get_running_loop()

        async def process(key: str) -> None:
            assert key not in active
            assert len(active) < workers
            active.add(key)
            started[key] = loop.time()
            await asyncio.sleep(durations[key])
            active.discard(key)

        durations = {key: duration for key, _, duration, _ in adds}
        added = {key: max(at for other, at, _, _ in adds if other == key) for key in durations}
        for key, at, _, ahead in adds:
            loop.call_later(at, queue.add, key, ahead)
        task = asyncio.create_task(queue.run(process, workers))
        await asyncio.sleep(1000)
        assert not queue.busy
        assert all(started[key] >= at - 1e-6 for key, at in added.items()), "an add during the work was lost"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(test)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_of_several_delays_the_shortest_counts(delays: list[float]) -> None:
    async def test() -> None:
        queue: WorkQueue[str] = WorkQueue()
        for delay in delays:
            queue.add_after("a", delay)
        await queue.get()
        assert asyncio.get_running_loop().time() == pytest.approx(min(delays))
        queue.done("a")
        await asyncio.sleep(200)
        assert not queue.busy, "taking a key ends its other delays"

    run(test)


@given(st.integers(1, 40), st.integers())
def test_failures_in_a_row_wait_longer_up_to_a_limit(failures: int, seed: int) -> None:
    async def test() -> None:
        queue: WorkQueue[str] = WorkQueue(first_delay=1, longest_delay=60, seed=seed)
        for count in range(failures):
            nominal = min(2.0**count, 60)
            assert nominal / 2 <= queue.failed("a") <= nominal
        queue.succeeded("a")
        assert queue.failed("a") <= 1

    run(test)


def test_a_failing_key_comes_back_and_others_are_not_held_up(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        queue: WorkQueue[str] = WorkQueue()
        attempts: list[str] = []

        async def process(key: str) -> float | None:
            attempts.append(key)
            if key == "bad" and attempts.count("bad") < 3:
                raise RetryError("not now") if attempts.count("bad") == 1 else ValueError("a bug")
            return 500 if key == "periodic" and attempts.count("periodic") == 1 else None

        for key in ("bad", "good", "periodic"):
            queue.add(key)
        task = asyncio.create_task(queue.run(process, 1))
        await asyncio.sleep(1000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert attempts.count("bad") == 3
        assert attempts[:3] == ["bad", "good", "periodic"]
        assert attempts.count("periodic") == 2

    run(test)
    assert [record.exc_info is not None for record in caplog.records] == [False, True]
