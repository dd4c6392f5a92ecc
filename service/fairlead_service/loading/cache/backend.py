"""What a place for entries has to do."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class CacheError(Exception):
    """The cache cannot be used now; the load goes on without it. The message names the place and what is wrong."""


class AwayError(CacheError):
    """It does not answer, to whatever question."""


class Held(NamedTuple):
    """An entry as the eviction sees it."""

    key: str
    size: int
    """Bytes."""
    used: float
    """When it was last read or written, in seconds since 1970."""


class Backend(Protocol):
    """Blobs by key. All methods raise CacheError."""

    place: str
    """For people; without a password."""

    def get(self, key: str) -> bytes | None:
        """The whole blob or None, never half of one; notes that it was used."""

    def put(self, key: str, entry: bytes) -> None:
        """Keeps the blob at once and whole, and removes those that were not used for longest."""

    def remove(self, key: str) -> None: ...

    def lock(self, key: str) -> AbstractContextManager[None] | None:
        """The right to fetch what `key` stands for; None at once if somebody has it. It ends with its holder."""


def victims(entries: Iterable[Held], room: int) -> list[str]:
    """Keys to remove, least recently used first, so that the sizes of those left are at most `room`. Pure."""
    oldest_first = sorted(entries, key=lambda entry: (entry.used, entry.key))
    excess = sum(entry.size for entry in oldest_first) - room
    chosen = []
    for entry in oldest_first:
        if excess <= 0:
            break
        chosen.append(entry.key)
        excess -= entry.size
    return chosen
