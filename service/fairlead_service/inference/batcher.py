"""Zero-wait micro-batching: requests that the event loop has already read share one model call.

The first request of a turn schedules the flush with `call_soon`; whatever else the loop reads in the same turn joins
it. Nobody waits for a timer. Calls that take long run in threads, and what comes while all threads are busy is gathered
for the next call: the slower the model, the larger its batches.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from contextvars import Context
from itertools import accumulate
from typing import Any, Final

import numpy as np

from fairlead_service.errors import Overloaded
from fairlead_service.inference.admission import Limit
from fairlead_service.inference.body import DisconnectError
from fairlead_service.models.backends import Matrix, Outputs, Want
from fairlead_service.models.slot import Serving

LOOP_SECONDS: Final = 0.0005
"""A call expected to take longer leaves the event loop: a thread costs a fifth of that, a late health check more."""


class Pending:
    """One request's rows, and what a task awaits of them.

    An asyncio.Future would wake the task in the loop's next turn; this one runs it at once, which at few connections is
    a tenth of a small request's time. It is right where it is used: out of a callback of the loop, never out of a task.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_loop",
        "_outcome",
        "_wake",
        "batch_rows",
        "gone",
        "matrix",
        "serving",
        "trace_id",
        "want",
    )

    def __init__(
        self,
        serving: Serving,
        want: Want,
        matrix: Matrix,
        gone: Callable[[], bool],
        trace_id: str | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.serving = serving
        self.want = want
        self.matrix = matrix
        self.gone = gone
        self.trace_id = trace_id
        self.batch_rows = 0
        """Of the model call that answered; known only of requests that are traced."""
        self._loop = loop
        self._asyncio_future_blocking = False
        self._outcome: Outputs | BaseException | None = None
        self._wake: tuple[Callable[[Any], object], Context | None] | None = None

    def settle(self, outcome: Outputs | BaseException) -> None:
        """Wakes the task; what comes after the first outcome, a cancellation perhaps, is dropped."""
        if self._outcome is None:
            self._outcome = outcome
            if self._wake is not None:
                wake, context = self._wake
                if context is None:
                    wake(self)
                else:
                    context.run(wake, self)

    def __await__(self) -> Generator[Any, None, Outputs]:
        if self._outcome is None:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    # What asyncio.Task asks of the thing it awaits:
    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def result(self) -> Outputs:
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None, "awaited before it was settled"
        return self._outcome

    def add_done_callback(self, wake: Callable[[Any], object], *, context: Context | None = None) -> None:
        self._wake = (wake, context)

    def cancel(self, msg: object = None) -> bool:
        self._loop.call_soon(self.settle, asyncio.CancelledError())
        return True


_Batch = list[Pending]


class Batcher:
    """One an application; used from the event loop's thread only.

    `threads`: how many calls the executor runs at a time. `batch_rows`: most rows of several requests in one call (one
    request alone may have more). `waiting_rows`: most rows that wait for a thread; beyond them requests are refused.
    `observe` is told rows and seconds of each call, and the trace id of one of its requests, if any is traced;
    `refused` hears of each refusal.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        threads: int,
        batch_rows: int,
        waiting_rows: int,
        observe: Callable[[int, float, str | None], None],
        refused: Callable[[Limit], None],
    ) -> None:
        self._executor = executor
        self._idle = threads
        self._batch_rows = batch_rows
        self._waiting_rows = waiting_rows
        self._observe = observe
        self._refused = refused
        self._read: _Batch = []
        self._waiting: _Batch = []
        self._rows_waiting = 0

    def submit(
        self, serving: Serving, matrix: Matrix, want: Want, gone: Callable[[], bool], trace_id: str | None = None
    ) -> Pending:
        """Evaluates the rows, perhaps together with those of others; a failure of others' rows never shows here.

        `gone` tells whether the client has left: its rows are dropped if they still wait for a thread by then. Awaiting
        raises what the backend raises for these rows, or DisconnectError. Raises Overloaded.
        """
        if self._rows_waiting and self._rows_waiting + len(matrix) > self._waiting_rows:
            self._refused("waiting_rows")
            raise Overloaded(f"{self._rows_waiting} rows are waiting for the model")
        loop = asyncio.get_running_loop()
        if not self._read:
            loop.call_soon(self._flush)
        pending = Pending(serving, want, matrix, gone, trace_id, loop)
        self._read.append(pending)
        return pending

    def _flush(self) -> None:
        """Runs what has been read; leaves to threads what takes long."""
        read, self._read = self._read, []
        for batch in _batches(read, self._batch_rows):
            rows = _rows(batch)
            if batch[0].serving.cost.seconds(rows) <= LOOP_SECONDS:
                self._settle(batch, _Called(batch))
            else:
                self._waiting += batch
                self._rows_waiting += rows
        if self._waiting:
            self._start_threads()

    def _start_threads(self) -> None:
        while self._idle and self._waiting:
            batch, *rest = _batches(self._waiting, self._batch_rows)
            self._waiting = [item for others in rest for item in others]
            self._rows_waiting -= _rows(batch)
            wanted = [item for item in batch if not item.gone()]
            for item in batch:
                if item not in wanted:
                    item.settle(DisconnectError())
            if wanted:
                self._start_thread(wanted)

    def _start_thread(self, batch: _Batch) -> None:
        def done(call: "asyncio.Future[_Called]") -> None:
            self._idle += 1
            self._settle(batch, call.result())
            self._start_threads()

        call = asyncio.get_running_loop().run_in_executor(self._executor, _Called, batch)
        self._idle -= 1
        call.add_done_callback(done)

    def _settle(self, batch: _Batch, called: "_Called") -> None:
        """Counts the calls and wakes those who wait."""
        traced = [item for item in batch if item.trace_id is not None]
        for rows, seconds in called.calls:
            self._observe(rows, seconds, traced[0].trace_id if traced else None)
        for item in traced:
            item.batch_rows = called.calls[0][0] if len(called.calls) == 1 else len(item.matrix)
        for item, answer in zip(batch, called.answers, strict=True):
            item.settle(answer)


class _Called:
    """The model calls for one batch: one for all of it, or one for each request if that fails. Made in the loop or in a
    thread; it touches nothing else."""

    __slots__ = ("answers", "calls")

    def __init__(self, batch: _Batch) -> None:
        self.calls: list[tuple[int, float]] = []
        """Rows and seconds of each call that did not fail."""
        self.answers: list[Outputs | Exception] = []
        if len(batch) > 1:
            matrices = [item.matrix for item in batch]
            ends = list(accumulate(map(len, matrices)))
            whole = self._evaluate(batch[0], np.concatenate(matrices), ends)
            if not isinstance(whole, Exception):
                self.answers = list(map(whole.rows, (0, *ends), ends))
                return
        for item in batch:  # if one of them fails, the others must not suffer for it
            self.answers.append(self._evaluate(item, item.matrix))

    def _evaluate(self, item: Pending, matrix: Matrix, ends: Sequence[int] = ()) -> Outputs | Exception:
        """One model call, for the item's model and wants."""
        started = time.perf_counter()
        try:
            outputs = item.serving.backend.evaluate(matrix, item.want, ends)
        except Exception as error:
            return error
        self.calls.append((len(matrix), time.perf_counter() - started))
        return outputs


def _batches(items: Sequence[Pending], limit: int) -> Iterator[_Batch]:
    """Items of one model that want the same share a batch, in their order, up to `limit` rows."""
    if len(items) == 1:
        yield [items[0]]
        return
    open_batches: dict[tuple[int, Want], tuple[_Batch, int]] = {}
    for item in items:
        if not item.serving.batches:
            yield [item]
            continue
        key = (id(item.serving), item.want)
        batch, rows = open_batches.get(key, ([], 0))
        if batch and rows + len(item.matrix) > limit:
            yield batch
            batch, rows = [], 0
        batch.append(item)
        open_batches[key] = (batch, rows + len(item.matrix))
    for batch, _ in open_batches.values():
        yield batch


def _rows(batch: _Batch) -> int:
    return sum(len(item.matrix) for item in batch)
