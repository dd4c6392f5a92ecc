"""The lines of `make up` and `make stack`: what they will do, about how long it takes, and which stage is at work."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tools import prepare
from tools.budget import Budget, about
from tools.prepare import Item, Numbering

PREFIX = "up"


def say(line: str) -> None:
    print(f"{PREFIX}: {line}", flush=True)


class Stages:
    """Prints a line when a stage begins and one when it is done, each as `stage k of n`."""

    def __init__(self, total: int) -> None:
        self.numbering = Numbering(total)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        number = self.numbering.next()
        say(f"{number}: {name} …")
        began = time.monotonic()
        yield
        say(f"{number}: {name}: done in {time.monotonic() - began:.1f} s")

    def skip(self, name: str, why: str) -> None:
        say(f"{self.numbering.next()}: {name}: {why}")


def announcement(what: str, found: Sequence[Item], steps: Sequence[str], table: Budget, slowness: float) -> str:
    """The first line: what is made, about how long that takes here, and what has to be built for it, once.

    `found` are the items that are missing, `steps` the names of the estimates of what is done each time.
    """
    always = sum(table.estimates[step] for step in steps)
    duration = about((prepare.seconds(found, table) + always) * slowness)
    if not found:
        return f"{what}. Everything is built: {duration}"
    names = ", ".join(item.name for item in found)
    return f"{what}. {duration[0].upper()}{duration[1:]} on this machine, most of it for what is made once: {names}"
