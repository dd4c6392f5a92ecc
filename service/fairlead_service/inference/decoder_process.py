"""Decodes long bodies in a process of its own, for the event loop's sake.

A thread is not enough: parsing JSON and making lists of millions of numbers are single calls, which keep the
interpreter from the event loop for as long as they take, a second for 16 MiB. The process is started by the first long
body and ends when there was none for a minute. It runs nothing but the decoders of this package, on one body at a
time; if it is killed, because that body took all the memory, its request fails and no other.
"""

import asyncio
import contextlib
import gc
import importlib
import os
import pickle
import select
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import numpy as np

from fairlead_service.errors import ChildCrashed
from fairlead_service.models.bundle import Manifest

IDLE_SECONDS: Final = 60.0
_COMMAND: Final = (sys.executable, "-m", "fairlead_service.inference.decoder_process")
_DECODERS: Final = tuple(f"fairlead_service.inference.{name}" for name in ("codec", "invocations", "v2"))
_FIRST_TO_GO: Final = b"1000"
"""For the kernel, when the container's memory is full."""
_READ_BY_NO_DECODER: Final[Mapping[str, Any]] = {
    "drift_reference": None,
    "prediction_reference": None,
    "input_example": None,
    "files": {},
}
"""Fields of a manifest that may be large."""

P = ParamSpec("P")
T = TypeVar("T")


class DecoderProcess:
    """One an application. `environment` is the process's."""

    def __init__(self, environment: Mapping[str, str], command: Sequence[str] = _COMMAND) -> None:
        self._environment = environment
        self._command = command
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        """Waits for the process; all that touches the process is done there, one body after the other."""
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    async def run(
        self, decode: Callable[Concatenate[bytes, P], T], body: bytes, *arguments: P.args, **named: P.kwargs
    ) -> T:
        """`decode(body, …)`; raises what it raises, or ChildCrashed. Functions and arguments have to be picklable."""
        slim = [_without_training(value) if isinstance(value, Manifest) else value for value in arguments]
        loop = asyncio.get_running_loop()
        return cast(T, await loop.run_in_executor(self._thread, self._call, (decode, body, slim, named)))

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._closed, process = True, self._process
        if process is not None:
            process.kill()
        self._thread.submit(self._end)
        self._thread.shutdown(wait=False)

    def _call(self, request: object) -> object:
        while True:
            started = self._process is None
            process = self._process = self._process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                _send(process.stdin, request)
                good, answer = _receive(process.stdout)
            except (OSError, EOFError):
                self._end()
                if started or self._closed:
                    detail = "the process that decodes long bodies ended, perhaps for lack of memory; send fewer rows"
                    raise ChildCrashed(detail) from None
                continue  # it had nothing to do for long, or was killed after the body before
            if good:
                return answer
            raise answer

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(self._environment),
            start_new_session=True,  # Ctrl-C is the server's; the process ends with its standard input
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError):  # what was not written yet
                process.communicate()


def _without_training(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update=_READ_BY_NO_DECODER)


def _send(stream: IO[bytes], value: object) -> None:
    """Writes a value; matrices in it are not copied. Raises OSError."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, 5, buffer_callback=buffers.append)
    parts: list[bytes | memoryview] = [head, *(buffer.raw() for buffer in buffers)]
    stream.write(struct.pack(f"<{len(parts) + 1}Q", len(parts), *map(len, parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    """Reads what `_send` wrote. Raises OSError, EOFError."""
    (count,) = struct.unpack("<Q", _read(stream, 8))
    head, *buffers = [_read(stream, size) for size in struct.unpack(f"<{count}Q", _read(stream, 8 * count))]
    return pickle.loads(head, buffers=buffers)


def _read(stream: IO[bytes], size: int) -> memoryview:
    found = np.empty(size, np.uint8)  # unlike a bytearray, not filled with zeros first
    if stream.readinto(found.data) != size:  # type: ignore[attr-defined]
        raise EOFError
    return found.data


def main() -> None:
    """Answers requests on standard input with `(True, result)` or `(False, exception)` on standard output."""
    for name in _DECODERS:
        importlib.import_module(name)
    gc.disable()  # what decoders make has no cycles, but it is enough to keep a collector busy
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb") as file:
        file.write(_FIRST_TO_GO)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed is not to be among the answers
    while select.select([requests], [], [], IDLE_SECONDS)[0]:
        try:
            decode, body, arguments, named = _receive(requests)
        except EOFError:
            return
        _send(answers, _answer(decode, body, arguments, named))


def _answer(decode: Callable[..., object], body: bytes, arguments: Sequence[Any], named: Mapping[str, Any]) -> object:
    try:
        return True, decode(body, *arguments, **named)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return False, error
    finally:
        gc.collect(0)  # an exception and its frames refer to each other


if __name__ == "__main__":
    main()
