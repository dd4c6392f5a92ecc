"""Zero-wait micro-batching: requests that the event loop has already read share one model call.

The first request of a turn schedules the flush with `call_soon`; whatever else the loop reads in the same turn joins
it. Nobody waits for a timer. Calls that take long run in threads, and what comes while all threads are busy is gathered
for the next call: the slower the model, the larger its batches.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead_service.errors import Overloaded
from fairlead_service.inference.body import DisconnectError
from fairlead_service.models.backends import Matrix, Outputs, Want
from fairlead_service.models.slot import Serving

LOOP_SECONDS: Final = 0.0005
"""A call expected to take longer leaves the event loop: a thread costs a fifth of that, a late health check more."""


@dataclass(slots=True, eq=False)
class _Item:
    serving: Serving
    want: Want
    matrix: Matrix
    gone: Callable[[], bool]
    trace_id: str | None
    answer: "asyncio.Future[Outputs]"


_Batch = list[_Item]


class Batcher:
    """One an application; used from the event loop's thread only.

    `threads`: how many calls the executor runs at a time. `batch_rows`: most rows of several requests in one call (one
    request alone may have more). `waiting_rows`: most rows that wait for a thread; beyond them requests are refused.
    `observe` is told rows and seconds of each call, and the trace id of one of its requests, if any is traced.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        threads: int,
        batch_rows: int,
        waiting_rows: int,
        observe: Callable[[int, float, str | None], None],
    ) -> None:
        self._executor = executor
        self._idle = threads
        self._batch_rows = batch_rows
        self._waiting_rows = waiting_rows
        self._observe = observe
        self._read: _Batch = []
        self._waiting: _Batch = []
        self._rows_waiting = 0

    def submit(
        self, serving: Serving, matrix: Matrix, want: Want, gone: Callable[[], bool], trace_id: str | None = None
    ) -> "asyncio.Future[Outputs]":
        """Evaluates the rows, perhaps together with those of others; a failure of others' rows never shows here.

        `gone` tells whether the client has left: its rows are dropped if they still wait for a thread by then. The
        future raises what the backend raises for these rows, or DisconnectError. Raises Overloaded.
        """
        if self._rows_waiting and self._rows_waiting + len(matrix) > self._waiting_rows:
            raise Overloaded(
                f"{self._rows_waiting} rows are waiting for the model; send the request again later",
                headers={"Retry-After": "1"},
            )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outputs] = loop.create_future()
        if not self._read:
            loop.call_soon(self._flush)
        self._read.append(_Item(serving, want, matrix, gone, trace_id, answer))
        return answer

    def _flush(self) -> None:
        """Runs what has been read; leaves to threads what takes long."""
        read, self._read = self._read, []
        for batch in _batches(read, self._batch_rows):
            rows = _rows(batch)
            if batch[0].serving.cost.seconds(rows) <= LOOP_SECONDS:
                _settle(batch, self._call(batch))
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
                if item not in wanted and not item.answer.done():
                    item.answer.set_exception(DisconnectError())
            if wanted:
                self._start_thread(wanted)

    def _start_thread(self, batch: _Batch) -> None:
        def done(call: "asyncio.Future[list[Outputs | Exception]]") -> None:
            self._idle += 1
            _settle(batch, call.result())
            self._start_threads()

        call = asyncio.get_running_loop().run_in_executor(self._executor, self._call, batch)
        self._idle -= 1
        call.add_done_callback(done)

    def _call(self, batch: _Batch) -> list[Outputs | Exception]:
        """One model call for the batch, or one for each request if that fails. Called in the loop and in threads."""
        first = batch[0]
        if len(batch) == 1:
            return [self._evaluate(first, first.matrix)]
        traced = next((item for item in batch if item.trace_id is not None), first)
        whole = self._evaluate(traced, np.concatenate([item.matrix for item in batch]))
        if isinstance(whole, Exception):  # of one of them; the others must not suffer for it
            return [self._evaluate(item, item.matrix) for item in batch]
        answers: list[Outputs | Exception] = []
        start = 0
        for item in batch:
            answers.append(whole.rows(start, start + len(item.matrix)))
            start += len(item.matrix)
        return answers

    def _evaluate(self, item: _Item, matrix: Matrix) -> Outputs | Exception:
        """One model call, for the item's model and wants."""
        started = time.perf_counter()
        try:
            outputs = item.serving.backend.evaluate(matrix, item.want)
        except Exception as error:
            return error
        self._observe(len(matrix), time.perf_counter() - started, item.trace_id)
        return outputs


def _batches(items: Sequence[_Item], limit: int) -> Iterator[_Batch]:
    """Items of one model that want the same share a batch, in their order, up to `limit` rows."""
    if len(items) == 1:
        yield [items[0]]
        return
    open_batches: dict[tuple[int, Want], tuple[_Batch, int]] = {}
    for item in items:
        if not item.serving.manifest.proof.batches:
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


def _settle(batch: _Batch, answers: Sequence[Outputs | Exception]) -> None:
    for item, answer in zip(batch, answers, strict=True):
        if item.answer.done():  # its request was cancelled
            continue
        if isinstance(answer, Exception):
            item.answer.set_exception(answer)
        else:
            item.answer.set_result(answer)
