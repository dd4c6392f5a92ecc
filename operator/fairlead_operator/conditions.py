"""Conditions: what is found now, merged with what was written before. Pure; the clock is passed in.

Ready, ModelResolved and UpToDate are there from the first visit on; Reconciling and Stalled only while they are True,
as kstatus wants it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from fairlead_operator.api import Condition

MAX_MESSAGE: Final = 4096
"""Characters of a message. The API server repeats whole objects in some refusals, and a status has to be stored."""


@dataclass(frozen=True)
class Finding:
    """A condition without its bookkeeping."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def merge(
    old: Iterable[Condition], findings: Iterable[Finding], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The findings as conditions, in the order given. `lastTransitionTime` moves only when `status` flips."""
    before = {condition.type: condition for condition in old}
    merged = []
    for finding in findings:
        known = before.get(finding.type)
        flipped = known is None or known.status != finding.status
        merged.append(
            Condition(
                type=finding.type,
                status=finding.status,
                reason=finding.reason,
                message=_bounded(finding.message),
                last_transition_time=now if flipped or known is None else known.last_transition_time,
                observed_generation=generation,
            )
        )
    return tuple(merged)


def _bounded(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 1]}…"
