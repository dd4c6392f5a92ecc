"""Ports of this machine."""

import socket
from typing import Final

BACKLOG: Final = 2048


def listen(port: int) -> socket.socket:
    """A socket that listens on the port of the loopback address, for a program to inherit: there is no moment between
    finding the port free and having it. Raises OSError if the port is taken."""
    found = socket.socket()
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", port))
        found.listen(BACKLOG)
    except OSError:
        found.close()
        raise
    return found


def taken(port: int) -> str | None:
    """Why nothing of ours can listen there, or None."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror
    return None
