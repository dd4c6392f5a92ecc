"""Child processes that do what children do: succeed, object, crash, hang, babble. None of it may reach the server."""

import asyncio
import os
import select
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead_service import errors, wire
from fairlead_service.contract import FailureReason, TrainingReason
from fairlead_service.errors import ChildCrashed, ChildTimedOut, Problem, QueueFull, ShuttingDown
from fairlead_service.jobs import Children, Lane, Limits
from tests.unit.service.support import fake

EASY = Limits(seconds=30, grace_seconds=5, niceness=0, memory_bytes=None)


@pytest.fixture
def children() -> Children:
    return Children(os.environ)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def assert_ended(pids: str) -> None:
    """Waits for processes to end; one that its parent has not waited for yet has ended as well."""
    for pid in map(int, pids.split()):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
        assert ended, f"process {pid} still runs"


async def test_a_result_and_the_progress_before_it(children: Children, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    seen: list[wire.Progress] = []
    command = [*fake("succeed", tmp_path / "source", '{"run_id": "r"}'), "--bundle", tmp_path / "copy"]
    assert await children.run(command, EASY, on_progress=seen.append) == {"run_id": "r"}
    assert [progress.stage for progress in seen] == ["fetch"]
    assert (tmp_path / "copy").is_dir()


async def test_what_is_no_message_is_passed_over(children: Children) -> None:
    assert await children.run(fake("babble"), EASY) == {"said": "enough"}


async def test_it_gets_the_environment_and_is_nicer_than_the_server() -> None:
    children = Children({**os.environ, "MLFLOW_TRACKING_URI": "http://mlflow.test"})
    limits = Limits(seconds=30, grace_seconds=1, niceness=7, memory_bytes=None)
    got = await children.run(fake("environment"), limits, environment={"TRACEPARENT": "00-1-2-01"})
    assert got["MLFLOW_TRACKING_URI"] == "http://mlflow.test"
    assert got["TRACEPARENT"] == "00-1-2-01"


@pytest.mark.parametrize("reason", [*FailureReason, *TrainingReason])
async def test_a_failure_is_the_problem_of_its_reason(children: Children, reason: str) -> None:
    with pytest.raises(Problem) as raised:
        await children.run(fake("fail", reason, "it can't", "/data"), EASY)
    assert raised.value.detail == "it can't"
    assert raised.value.errors[0].pointer == "/data"
    if reason != TrainingReason.CANCELLED:
        assert not isinstance(raised.value, ChildCrashed), f"{reason} has no problem of its own"


def test_mlflow_down_says_when_to_come_back() -> None:
    problem = errors.from_child(FailureReason.TRACKING_SERVER_UNAVAILABLE, "no answer", None)
    assert (problem.status, problem.headers) == (503, {"Retry-After": "5"})


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (fake("crash", 3), "exit code 3 without an answer: MemoryError: no room for the data"),
        (fake("crash", 0), "exit code 0 without an answer"),
        (fake("kill"), "was ended by SIGKILL, probably out of memory"),
        (fake("endless_line"), "without an answer"),
    ],
)
async def test_a_crash_is_an_error_with_the_end_of_its_stderr(children: Children, command: Any, says: str) -> None:
    with pytest.raises(ChildCrashed, match=says):
        await children.run(command, Limits(seconds=30, grace_seconds=0.2, niceness=0, memory_bytes=None))


async def test_memory_has_a_limit(children: Children, fifo: Path) -> None:
    limits = Limits(seconds=30, grace_seconds=5, niceness=0, memory_bytes=2**29)
    with pytest.raises(ChildCrashed, match="MemoryError"):
        await children.run(fake("large"), limits)


@pytest.mark.parametrize("stubborn", ["", "stubborn"])
async def test_its_time_is_up_for_whatever_it_started(children: Children, fifo: Path, stubborn: str) -> None:
    limits = Limits(seconds=1, grace_seconds=0.2, niceness=0, memory_bytes=None)
    run = asyncio.create_task(children.run(fake("hang", fifo, *[stubborn] * bool(stubborn)), limits))
    pids = await asyncio.to_thread(fifo.read_text)
    with pytest.raises(ChildTimedOut, match="longer than 1 s"):
        await run
    assert_ended(pids)


async def test_the_end_of_the_server_is_theirs(children: Children, fifo: Path) -> None:
    run = asyncio.create_task(children.run(fake("hang", fifo), EASY))
    pids = await asyncio.to_thread(fifo.read_text)
    await children.close()
    with pytest.raises(ShuttingDown):
        await run
    assert_ended(pids)
    with pytest.raises(ShuttingDown):
        await children.run(fake("babble"), EASY)


async def test_cancelling_the_caller_ends_the_child(children: Children, fifo: Path) -> None:
    run = asyncio.create_task(children.run(fake("hang", fifo), EASY))
    pids = await asyncio.to_thread(fifo.read_text)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert_ended(pids)


def holder(lane: Lane, order: list[int], release: asyncio.Event) -> Callable[[int], Awaitable[None]]:
    async def hold(number: int) -> None:
        async with lane.turn():
            order.append(number)
            await release.wait()

    return hold


async def test_a_lane_does_one_at_a_time_in_order_and_refuses_the_one_too_many() -> None:
    lane, order, release = Lane("training", waiting=2), list[int](), asyncio.Event()
    hold = holder(lane, order, release)
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(hold(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert order == [0]
        with pytest.raises(QueueFull, match="2 are waiting") as raised:
            await hold(3)
        assert raised.value.headers["Retry-After"]
        release.set()
    assert order == [0, 1, 2]
    await hold(4)


async def test_a_closed_lane_refuses_what_waits_and_what_comes() -> None:
    lane, order, release = Lane("load", waiting=2), list[int](), asyncio.Event()
    hold = holder(lane, order, release)
    first, second = asyncio.create_task(hold(0)), asyncio.create_task(hold(1))
    await asyncio.sleep(0)
    lane.close()
    release.set()
    await first
    for refused in (second, hold(2)):
        with pytest.raises(ShuttingDown):
            await refused
    assert order == [0]
