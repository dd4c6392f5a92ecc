"""One load's use of the bundle cache, as the server sees it.

Each load is a process of its own, so none of them can know that the cache failed the ones before. The server hears it
from them, and while the circuit is open it starts them without a cache: they lose no time on it.
"""

from collections.abc import Callable, Mapping
from typing import Final

from fairlead_service import contract
from fairlead_service.circuit import Circuit

_FAILURES: Final = 2
"""Loads in a row, each of which has lost seconds."""
_OPEN_SECONDS: Final = 60
"""Loads are rare: a shorter time would often be over at the next one."""


def circuit() -> Circuit:
    """One an application."""
    return Circuit("bundle_cache", _FAILURES, _OPEN_SECONDS)


class CacheUse:
    """`count` hears each outcome of `wire.Progress.cache`, and `rejected`."""

    def __init__(self, circuit: Circuit, count: Callable[[str], None]) -> None:
        self._circuit = circuit
        self._count = count
        self._heard = False
        self._away = False

    def environment(self) -> Mapping[str, str]:
        """What the load's child is to be told, beside the server's own environment."""
        if self._circuit.admits():
            return {}
        self._count("rejected")
        return {contract.ENV_CACHE_URL: ""}

    def heard(self, outcome: str) -> None:
        self._count(outcome)
        self._heard = True
        self._away = self._away or outcome == "unavailable"

    def ended(self) -> None:
        """The child has said all that it will."""
        if self._heard:
            self._circuit.note(answered=not self._away)
