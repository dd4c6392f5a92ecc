"""What is read together runs together, nobody suffers for a neighbour, and what takes long leaves the loop free."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import pytest_asyncio

from fairlead_service.errors import Overloaded
from fairlead_service.inference.batcher import Batcher, Pending
from fairlead_service.inference.body import DisconnectError
from fairlead_service.models.backends import Matrix, Outputs, Want
from fairlead_service.models.slot import Cost, Serving

FAST, SLOW = Cost(1e-6, 0.0), Cost(1.0, 0.0)
NOTHING = Want()


@dataclass
class Model:
    """Answers each row's sum; refuses rows that begin with a negative number; waits while it is held."""

    cost: Cost = FAST
    batches: bool = True
    calls: list[int] = field(default_factory=list)
    ends: list[list[int]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.go_on.set()

    def serving(self) -> Serving:
        return cast(Serving, SimpleNamespace(backend=self, cost=self.cost, batches=self.batches))

    def evaluate(self, matrix: Matrix, want: Want, ends: Sequence[int] = ()) -> Outputs:
        assert self.go_on.wait(30)
        self.calls.append(len(matrix))
        self.ends.append(list(ends))
        if (matrix[:, 0] < 0).any():
            raise ValueError(f"{matrix[matrix[:, 0] < 0][0, 0]} is negative")
        sums = matrix.sum(axis=1)
        return Outputs(sums, np.stack([sums, -sums], axis=1) if want.probabilities else None)


Submit = Callable[..., Pending]


@pytest_asyncio.fixture
async def make() -> AsyncIterator[Callable[..., tuple[Batcher, list[tuple[int, str | None]]]]]:
    executors = []
    refused: list[str] = []

    def made(threads: int = 1, batch_rows: int = 8, waiting_rows: int = 10) -> Any:
        executors.append(ThreadPoolExecutor(threads))
        seen: list[tuple[int, str | None]] = []
        batcher = Batcher(
            executors[-1],
            threads=threads,
            batch_rows=batch_rows,
            waiting_rows=waiting_rows,
            observe=lambda rows, seconds, trace_id: seen.append((rows, trace_id)),
            refused=refused.append,
        )
        return batcher, seen

    yield made
    for executor in executors:
        executor.shutdown()


def rows(*firsts: float) -> Matrix:
    return np.array([[first, 1.0] for first in firsts])


def here() -> bool:
    return False


async def ask(
    batcher: Batcher, serving: Serving, matrix: Matrix, want: Want = NOTHING, trace_id: str | None = None
) -> Outputs:
    return await batcher.submit(serving, matrix, want, here, trace_id)


async def test_what_is_read_together_is_one_call(make: Any) -> None:
    batcher, seen = make()
    model = Model()
    serving = model.serving()
    answers = await asyncio.gather(*(ask(batcher, serving, rows(*range(n)), trace_id=str(n)) for n in (1, 2, 3)))
    assert [answer.predictions.tolist() for answer in answers] == [[1], [1, 2], [1, 2, 3]]
    assert model.calls == [6]
    assert model.ends == [[1, 3, 6]]
    assert seen == [(6, "1")]


async def test_a_bad_request_does_not_fail_its_neighbours(make: Any) -> None:
    batcher, _ = make()
    serving = Model().serving()
    good, bad, other = await asyncio.gather(
        ask(batcher, serving, rows(1)),
        ask(batcher, serving, rows(2, -3)),
        ask(batcher, serving, rows(4)),
        return_exceptions=True,
    )
    assert isinstance(good, Outputs)
    assert isinstance(other, Outputs)
    assert (good.predictions.tolist(), other.predictions.tolist()) == ([2], [5])
    assert str(bad) == "-3.0 is negative"


async def test_a_batch_has_at_most_so_many_rows_unless_one_request_has_more(make: Any) -> None:
    batcher, _ = make(batch_rows=4)
    model = Model()
    serving = model.serving()
    await asyncio.gather(*(ask(batcher, serving, rows(*range(n))) for n in (2, 2, 1, 9, 3)))
    assert sum(model.calls) == 17
    assert sorted(model.calls)[-2:] == [4, 9]


async def test_other_wants_and_other_models_do_not_share_a_call(make: Any) -> None:
    batcher, _ = make()
    one, two = Model(), Model()
    serving = one.serving()
    plain, probabilities, other = await asyncio.gather(
        ask(batcher, serving, rows(1)),
        ask(batcher, serving, rows(2), Want(probabilities=True)),
        ask(batcher, two.serving(), rows(3)),
    )
    assert (one.calls, two.calls) == ([1, 1], [1])
    assert plain.probabilities is None
    assert probabilities.probabilities is not None
    assert probabilities.probabilities.tolist() == [[3, -3]]
    assert other.predictions.tolist() == [4]


async def test_models_whose_bits_depend_on_the_batch_are_called_for_each_request(make: Any) -> None:
    batcher, _ = make()
    model = Model(batches=False)
    serving = model.serving()
    await asyncio.gather(*(ask(batcher, serving, rows(n)) for n in range(3)))
    assert model.calls == [1, 1, 1]
    assert model.ends == [[], [], []]


async def test_a_long_call_leaves_the_loop_free_and_gathers_what_comes_meanwhile(make: Any) -> None:
    batcher, _ = make()
    model = Model(SLOW)
    serving = model.serving()
    model.go_on.clear()
    first = asyncio.ensure_future(ask(batcher, serving, rows(0)))
    await asyncio.sleep(0)  # the loop turns though the model is at work
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(ask(batcher, serving, rows(n))) for n in (1, 2, 3)]
    fast = await ask(batcher, Model().serving(), rows(7))
    assert fast.predictions.tolist() == [8]
    assert not first.done()
    model.go_on.set()
    assert [(await other).predictions.tolist() for other in (first, *others)] == [[1], [2], [3], [4]]
    assert model.calls == [1, 3]


async def test_more_rows_than_may_wait_are_refused(make: Any) -> None:
    batcher, _ = make(waiting_rows=3)
    model = Model(SLOW)
    serving = model.serving()
    model.go_on.clear()
    first = asyncio.ensure_future(ask(batcher, serving, rows(0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(ask(batcher, serving, rows(1, 2)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="2 rows are waiting") as refused:
        batcher.submit(serving, rows(1, 2), Want(), here)
    assert refused.value.headers["Retry-After"] == "1"
    model.go_on.set()
    await asyncio.gather(first, waiting)
    assert (await ask(batcher, serving, rows(*range(9)))).predictions.size == 9  # alone, it may be longer than the rest


async def test_rows_of_a_client_that_left_are_not_evaluated(make: Any) -> None:
    batcher, _ = make()
    model = Model(SLOW)
    serving = model.serving()
    model.go_on.clear()
    first = asyncio.ensure_future(ask(batcher, serving, rows(0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    async def left() -> Outputs:
        return await batcher.submit(serving, rows(1), Want(), lambda: True)

    gone, stays = asyncio.ensure_future(left()), asyncio.ensure_future(ask(batcher, serving, rows(2)))
    await asyncio.sleep(0)
    model.go_on.set()
    assert (await stays).predictions.tolist() == [3]
    with pytest.raises(DisconnectError):
        await gone
    await first
    assert model.calls == [1, 1]


async def test_a_cancelled_request_ends_and_harms_nobody(make: Any) -> None:
    batcher, _ = make()
    model = Model(SLOW)
    serving = model.serving()
    model.go_on.clear()
    cancelled, stays = (asyncio.ensure_future(ask(batcher, serving, rows(n))) for n in (1, 2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    model.go_on.set()
    assert (await stays).predictions.tolist() == [3]


async def test_a_bug_of_a_backend_reaches_who_asked(make: Any) -> None:
    batcher, seen = make()
    serving = cast(Serving, SimpleNamespace(backend=None, cost=FAST, batches=True))
    with pytest.raises(AttributeError):
        await ask(batcher, serving, rows(1))
    assert seen == []
