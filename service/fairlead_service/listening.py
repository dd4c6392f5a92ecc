"""The listening socket, made before anything slow is imported.

Whoever asks while the server starts, a probe of Kubernetes above all, waits in the socket's queue and is answered the
moment the server can; refused, it would ask again after a second. Nothing but the standard library here.
"""

import socket
from collections.abc import Mapping
from typing import Final

from fairlead_service import contract

_BACKLOG: Final = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on. Raises OSError, if the port is taken."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def inherited(descriptor: int) -> socket.socket:
    """The socket of a file descriptor that whoever started this process has opened. Raises OSError, if it is none that
    listens."""
    found = socket.socket(fileno=descriptor)
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.detach()
        raise OSError(f"file descriptor {descriptor} is no socket that listens")
    return found


def early(environment: Mapping[str, str]) -> socket.socket | None:
    """The socket that the settings will ask for; None if it can't be had, which is said when there is a log."""
    try:
        if descriptor := environment.get("FAIRLEAD_LISTEN_FD"):
            return inherited(int(descriptor))
        return listen(
            environment.get("FAIRLEAD_HOST") or contract.ALL_ADDRESSES,
            int(environment.get("FAIRLEAD_PORT") or contract.HTTP_PORT),
        )
    except (ValueError, OverflowError, OSError):
        return None
