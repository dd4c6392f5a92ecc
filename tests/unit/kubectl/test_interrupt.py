"""Ctrl-C, whenever it comes."""

import os
import signal
import time

from fairlead_kubectl import interrupt


def interrupt_ourselves() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Finalized:
    def __del__(self) -> None:
        interrupt_ourselves()


def test_it_is_noticed_even_where_an_exception_would_be_dropped() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupt.noticed() as interrupted:
        assert not interrupted(0)
        Finalized()
        assert interrupted(0)
        assert interrupted(0), "it is not forgotten"
    assert signal.getsignal(signal.SIGINT) == before


def test_it_ends_a_wait() -> None:
    with interrupt.noticed() as interrupted:
        signal.signal(signal.SIGALRM, lambda *_: interrupt_ourselves())
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        began = time.monotonic()
        assert interrupted(60)
        assert time.monotonic() - began < 50
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
