"""Will the model fit into this container? Pure, but for `limit`.

A loader that the kernel kills says nothing, and is started again to be killed again. What a load takes was measured
(docs/measurements.md) as a fixed part, the libraries, and a multiple of the file: its bytes, the estimator, the arrays
that it is compiled to and the rows of the proof. The least that any model took decides what is refused, so nothing is
refused that could have been served; the most, what is warned of.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 2**20
LIMITS: Final = ("memory.max", "memory/memory.limit_in_bytes")
"""Of control groups of version 2 and 1, below /sys/fs/cgroup."""
UNLIMITED: Final = 2**60
"""Version 1 has a number for no limit, 2^63 less a page."""


@dataclass(frozen=True)
class Need:
    """The least and the most that a load was seen to take: (fixed part in bytes, multiple of the file's size) each."""

    least: tuple[int, float]
    most: tuple[int, float]


COMPILE: Final = Need(least=(200 * MIB, 1.9), most=(240 * MIB, 4.6))
"""Of a model's file, with scikit-learn: nearest neighbours take the least, forests the most."""
TAKE: Final = Need(least=(60 * MIB, 2.0), most=(75 * MIB, 2.5))
"""Of a compiled bundle's files, without."""


@dataclass(frozen=True)
class Estimate:
    least: int
    most: int
    """Bytes."""


def estimate(size: int, need: Need) -> Estimate:
    """What a load of `size` bytes takes."""
    least, most = (fixed + int(times * size) for fixed, times in (need.least, need.most))
    return Estimate(least, most)


def complaint(size: int, need: Need, limit: int | None) -> tuple[bool, str] | None:
    """(whether it cannot fit, both sides in words), or None if it will fit or nobody limits it."""
    taken = estimate(size, need)
    if limit is None or taken.most <= limit:
        return None
    hopeless = taken.least > limit
    takes = f"at least {_words(taken.least)}" if hopeless else f"up to {_words(taken.most)}"
    return hopeless, (
        f"model has {_words(size)} and takes {takes} to load, this container may use {_words(limit)}; "
        f"give it a memory limit of {_words(taken.most)} (spec.resources) or train a smaller model"
    )


def limit(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this container may use, None if there is no limit or nobody says."""
    for name in LIMITS:
        try:
            said = int((root / name).read_text())
        except (OSError, ValueError):  # "max", in version 2
            continue
        return said if said < UNLIMITED else None
    return None


def _words(size: int) -> str:
    """As Kubernetes writes it, rounded up."""
    return f"{-(-size // MIB)}Mi"
