"""Child processes: everything that talks to MLflow or runs foreign code does it in one, under a time limit.

A child prints `wire` lines and ends with one `result` or `failure`. It has a process group of its own, so that when
its time is up whatever it started ends too. A client that goes away does not end its child: a training is worth
keeping, and its run is in MLflow either way. The server's own end does.
"""

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fairlead_service import wire
from fairlead_service.errors import ChildCrashed, ChildTimedOut, QueueFull, ShuttingDown, from_child
from fairlead_service.observability import logs

_LINE_LIMIT: Final = 8 * 2**20
_TAIL_BYTES: Final = 16 * 2**10
_SHOWN_CHARACTERS: Final = 500
_READ: Final = 2**14
_OOM_SCORE: Final = b"500"
"""Under memory pressure the kernel ends the child, not the server."""

OnProgress = Callable[[wire.Progress], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may take."""

    seconds: float
    grace_seconds: float
    niceness: int
    memory_bytes: int | None


class Lane:
    """Work that is done one at a time, in the order it came, with a bounded number waiting."""

    def __init__(self, name: str, waiting: int) -> None:
        self._name = name
        self._places = waiting + 1
        self._taken = 0
        self._turn = asyncio.Lock()
        self._closed = False

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for its turn and holds it. Raises QueueFull at once if there is no place, ShuttingDown at the end."""
        self.take()
        try:
            async with self.in_order():
                yield
        finally:
            self.give_back()

    def take(self) -> None:
        """Takes a place, for whoever has to know at once; raises QueueFull or ShuttingDown."""
        self.check_place()
        self._taken += 1

    def give_back(self) -> None:
        self._taken -= 1

    @contextlib.asynccontextmanager
    async def in_order(self) -> AsyncIterator[None]:
        """Waits for the turn of a place that was taken. Raises ShuttingDown."""
        async with self._turn:
            self._check_open()
            yield

    def check_place(self) -> None:
        """Raises what `turn` would raise now: for refusing early, before a large body is read."""
        self._check_open()
        if self._taken >= self._places:
            raise QueueFull(
                f"a {self._name} is running and {self._places - 1} are waiting; send it again later",
                headers={"Retry-After": "10"},
            )

    def close(self) -> None:
        """Refuses what waits and what comes."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDown(f"no {self._name} is started any more; send it to another server or again later")


class Children:
    """Starts child processes, and ends those that still run when the server leaves."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._running: dict[asyncio.subprocess.Process, float] = {}
        self._closed = False

    async def run(
        self,
        command: Sequence[str | Path],
        limits: Limits,
        *,
        environment: Mapping[str, str] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Mapping[str, Any]:
        """Runs a child to its end; returns the value of its `result`.

        Raises the Problem that its `failure` stands for, ChildTimedOut, ChildCrashed, or ShuttingDown.
        """
        if self._closed:
            raise ShuttingDown("no work is started any more; send it to another server or again later")
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._environment, **(environment or {})},
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        self._running[process] = limits.grace_seconds
        try:
            _restrain(process.pid, limits)
            return await self._follow(process, limits, on_progress)
        finally:
            await asyncio.shield(_end(process, limits.grace_seconds))
            del self._running[process]

    async def close(self) -> None:
        """Ends all children; their callers get ShuttingDown."""
        self._closed = True
        await asyncio.gather(*(_end(process, grace) for process, grace in self._running.items()))

    async def _follow(
        self, process: asyncio.subprocess.Process, limits: Limits, on_progress: OnProgress | None
    ) -> Mapping[str, Any]:
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.create_task(_tail(process.stderr))
        try:
            async with asyncio.timeout(limits.seconds):
                last = await _last_message(process.stdout, on_progress)
                await _ended(process, limits.grace_seconds)
        except TimeoutError:
            raise ChildTimedOut(
                f"it took longer than {limits.seconds:g} s and was ended; send less work or raise the server's limit"
            ) from None
        finally:
            if process.returncode is None:
                await asyncio.shield(_end(process, limits.grace_seconds))
            stderr = await _settled(errors)
        match last:
            case wire.Result(value=value):
                return value
            case wire.Failure(reason=reason, message=message, where=where) if not self._closed:
                raise from_child(reason, message, where)
            case _:
                raise self._crash(process, stderr)

    def _crash(self, process: asyncio.subprocess.Process, stderr: str) -> ChildCrashed | ShuttingDown:
        if self._closed:
            return ShuttingDown("the server is leaving and ended the work; send it again to another one")
        how = _how_it_ended(process.returncode)
        logs.error(f"a child process {how} without an answer", stderr=stderr)
        last_words = _last_words(stderr)
        shown = f": {last_words[:_SHOWN_CHARACTERS]}" if last_words else ""
        return ChildCrashed(f"the child process {how} without an answer{shown}. The server's log has more")


async def _last_message(
    stdout: asyncio.StreamReader, on_progress: OnProgress | None
) -> wire.Result | wire.Failure | None:
    """Reads until the final message; None if the child closed its output, or wrote an endless line, before that."""
    while True:
        try:
            line = await stdout.readline()
        except ValueError:  # longer than the limit
            return None
        if not line:
            return None
        try:
            message = wire.parse(line)
        except ValueError:
            logs.event("log", "a child process wrote a line that is no message", logging.WARNING)
            continue
        if not isinstance(message, wire.Progress):
            return message
        logs.event("log", f"child: {message.stage} {message.message}".rstrip(), logging.DEBUG)
        if on_progress is not None:
            on_progress(message)


async def _tail(stream: asyncio.StreamReader) -> str:
    """The end of what a child writes to stderr; reading it all keeps the child from blocking."""
    tail = b""
    while chunk := await stream.read(_READ):
        tail = (tail + chunk)[-_TAIL_BYTES:]
    return tail.decode("utf-8", "backslashreplace")


def _last_words(stderr: str) -> str:
    """The end of the last exception, or the last line; lines may be those of a log."""
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")
    try:
        said = json.loads(last)
        return str(said.get("exception", said["message"])).strip().rpartition("\n")[2]
    except (ValueError, TypeError, KeyError, AttributeError):
        return last


async def _settled(task: "asyncio.Task[str]") -> str:
    """The stderr of a child that has ended; a grandchild that still holds the pipe is not waited for."""
    done, _ = await asyncio.wait({task}, timeout=1)
    if done:
        return task.result()
    task.cancel()
    return ""


async def _end(process: asyncio.subprocess.Process, grace_seconds: float) -> None:
    """Ends a process that still runs, and its group: asks, then does not ask. Returns when the process is gone."""
    if process.returncode is not None:
        return
    _signal_group(process, signal.SIGTERM)
    await _ended(process, grace_seconds)
    _signal_group(process, signal.SIGKILL)
    await process.wait()


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Returns when the process has ended, or after `seconds`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await process.wait()


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _restrain(pid: int, limits: Limits) -> None:
    """Lowers what the child may take; set from outside, because a server with threads must not fork code of its own."""
    with contextlib.suppress(OSError):  # it may have ended already
        os.setpriority(os.PRIO_PROCESS, pid, limits.niceness)
        if limits.memory_bytes is not None:
            resource.prlimit(pid, resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
        Path(f"/proc/{pid}/oom_score_adj").write_bytes(_OOM_SCORE)


def _how_it_ended(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return f"ended with exit code {returncode}"
    name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else str(-returncode)
    memory = ", probably out of memory" if returncode == -signal.SIGKILL else ""
    return f"was ended by {name}{memory}"
