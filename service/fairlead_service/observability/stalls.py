"""How long the event loop is kept from its next turn: by a call that takes long, by a thread that does not give the
interpreter back, or by a processor that others have.

A timer that comes late has waited for the rest of whatever held the loop; at 20 timers a second, which cost nothing,
every stall that a probe or a person could notice is among them.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

INTERVAL_SECONDS: Final = 0.05


async def sample(observe: Callable[[float], None], interval: float = INTERVAL_SECONDS) -> None:
    """For ever; `observe` is told how many seconds late each timer was."""
    while True:
        due = time.perf_counter() + interval
        await asyncio.sleep(interval)
        observe(max(0.0, time.perf_counter() - due))
