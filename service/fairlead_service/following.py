"""Files and keys that change while the server runs: a Secret's new content appears in its volume without a notice, an
identity provider's new keys at its own address."""

import asyncio
import os
from pathlib import Path
from typing import Final, Protocol

from fairlead_service.observability import logs

POLL_SECONDS: Final = 2.0

Stamp = tuple[int, int, int]
"""Of a file's content: time of change, inode, size."""


class StaleError(Exception):
    """What was read before stays in use; the message says why, and has no secrets."""


class Source(Protocol):
    @property
    def name(self) -> str:
        """In the plural."""

    def refresh(self) -> bool:
        """Reads what changed, or is due; returns whether anything is new. Raises StaleError. May block."""


def stamp(path: Path) -> Stamp | None:
    """None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size)


async def follow(source: Source, seconds: float = POLL_SECONDS) -> None:
    """For ever, and at once for the first time. Each source has a task of its own: one that takes long keeps no other
    from being read."""
    while True:
        try:
            if await asyncio.to_thread(source.refresh):
                logs.event("log", f"{source.name} were read")
        except StaleError as error:
            logs.error(f"the {source.name} of before stay in use: {error}")
        except Exception as error:
            logs.error(f"a bug: {source.name} can't be read", error)
        await asyncio.sleep(seconds)
