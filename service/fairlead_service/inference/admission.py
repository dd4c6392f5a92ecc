"""How many predictions are worked on at a time: those beyond are refused at once, so that the others are answered.

A place is taken once the body is there and given back when the answer is made. Who sends or reads slowly holds none:
else as many connections as there are places, each with half a body, would keep everybody out.
"""

from collections.abc import Callable
from typing import Final, Literal, get_args

from fairlead_service.errors import Overloaded

Limit = Literal["in_flight", "waiting_rows"]
"""Which limit a prediction was refused by: this one, or the batcher's."""
LIMITS: Final[tuple[Limit, ...]] = get_args(Limit)


class Admission:
    """One an application, for all its inference protocols; used from the event loop's thread only.

    `refused` hears of each refusal.
    """

    __slots__ = ("_places", "_refused", "_taken")

    def __init__(self, places: int, refused: Callable[[Limit], None]) -> None:
        self._places = places
        self._refused = refused
        self._taken = 0

    def check(self) -> None:
        """Raises Overloaded if there is no place: for refusing before a body is read."""
        if self._taken >= self._places:
            self._refused("in_flight")
            raise Overloaded(f"{self._places} predictions are in flight, as many as this server takes on at a time")

    def take(self) -> None:
        """Takes a place, to be given back. Raises Overloaded."""
        self.check()
        self._taken += 1

    def give_back(self) -> None:
        self._taken -= 1
