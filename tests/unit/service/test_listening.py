"""The server's socket: its own, or one that it was handed."""

import os
import socket

import pytest

from fairlead_service import listening


def test_a_socket_that_listens_can_be_handed_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        descriptor = os.dup(first.fileno())
        with listening.inherited(descriptor) as second:
            assert second.getsockname() == first.getsockname()
        with listening.early({"FAIRLEAD_LISTEN_FD": str(os.dup(first.fileno()))}) as third:  # type: ignore[union-attr]
            assert third.getsockname() == first.getsockname()


def test_another_descriptor_is_refused() -> None:
    with socket.socket() as idle, open(os.devnull) as file:
        for descriptor in (idle.fileno(), file.fileno(), 9999):
            with pytest.raises(OSError, match=r"."):
                listening.inherited(descriptor)
            assert listening.early({"FAIRLEAD_LISTEN_FD": str(descriptor)}) is None
        assert idle.fileno() >= 0, "it is still whose it was"
    assert listening.early({"FAIRLEAD_LISTEN_FD": "x"}) is None
