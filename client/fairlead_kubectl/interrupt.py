"""Ctrl-C that is not lost. Python makes an exception of it wherever the program is just then, and drops the exception
if that is in a finalizer: a `--watch` went on for ever."""

import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def noticed() -> Iterator[Callable[[float], bool]]:
    """Gives a way to wait for some seconds, or until Ctrl-C; it says whether that came, now or earlier. Of the main
    thread."""
    told, heard = socket.socketpair()
    told.setblocking(False)

    def tell(*_: object) -> None:
        with suppress(BlockingIOError):  # it was told often enough
            told.send(b".")

    before = signal.signal(signal.SIGINT, tell)
    try:
        yield lambda seconds: bool(select.select([heard], [], [], seconds)[0])
    finally:
        signal.signal(signal.SIGINT, before)
        told.close()
        heard.close()
