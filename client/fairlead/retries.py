"""When a request is sent again, and after how long. Pure; chance is passed in.

What was surely not done (no connection, 429) is asked again whatever it was. What may have been done is asked again
only if doing it twice is the same as once: reads, predictions, loads and moves of aliases, but no trainings.
"""

from dataclasses import dataclass
from typing import Final

from fairlead.errors import ApiError

_REFUSED: Final = 429
_PASSING: Final = frozenset({502, 503, 504})
_POINTLESS: Final = frozenset({"no-model"})
"""503s that do not pass by themselves."""


@dataclass(frozen=True)
class Retries:
    """Back-off doubles from `first` to `most` seconds, each time shortened by chance to between half and all of it."""

    attempts: int = 4
    """In all; 1 never tries again."""
    first: float = 0.2
    most: float = 10.0
    patience: float = 60.0
    """A `Retry-After` that asks for longer is not waited for."""

    def delay(self, attempt: int, told: float | None, chance: float) -> float:
        """Seconds to wait after the attempt (from 1); `chance` is from 0 to 1. At least what the server told."""
        backed_off = min(self.most, self.first * 2.0 ** (attempt - 1)) * (0.5 + chance / 2)
        return max(backed_off, told or 0.0)


@dataclass(frozen=True)
class Lost:
    """There was no answer."""

    sent: bool
    """Whether the request may have arrived."""


def wait_for(policy: Retries, attempt: int, outcome: ApiError | Lost, repeatable: bool, chance: float) -> float | None:
    """Seconds until the request is to be sent again; None: never."""
    if attempt >= policy.attempts or not _worth_it(outcome, repeatable):
        return None
    told = outcome.retry_after if isinstance(outcome, ApiError) else None
    return None if (told or 0.0) > policy.patience else policy.delay(attempt, told, chance)


def _worth_it(outcome: ApiError | Lost, repeatable: bool) -> bool:
    if isinstance(outcome, Lost):
        return repeatable or not outcome.sent
    if outcome.status == _REFUSED:
        return True
    return repeatable and outcome.status in _PASSING and outcome.kind not in _POINTLESS
