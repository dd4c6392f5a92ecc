"""How long things may take on this machine: the figures of `tools/budget.toml`, scaled by a short calibration.

A slower machine gets more time, a faster one no less: most of the time is waiting, which a processor does not shorten.
Standard library only: `.ci/run` and `make up` need it before there is a virtual environment.
"""

import bz2
import os
import random
import time
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("budget.toml")
PIECES = 8
"""Of the calibration's work, shared by all processors."""


@dataclass(frozen=True)
class Allowance:
    """Seconds that something may take on the reference machine."""

    warm: float
    """When every program and image is built."""
    bare: float
    """When nothing is."""

    def allowed(self, missing: float, slowness: float) -> float:
        """`missing` is the share of the building that is still to be done, 0 to 1."""
        return (self.warm + (self.bare - self.warm) * missing) * slowness


@dataclass(frozen=True)
class Budget:
    """Content of the file."""

    machine: str
    calibration_seconds: float
    stages: Mapping[str, Allowance]
    phases: Mapping[str, Allowance]
    """Phases of the cluster tier, by their titles."""
    estimates: Mapping[str, float]
    """Seconds on the reference machine of what `make up` does, by name: a module, an image, a stage."""


@dataclass(frozen=True)
class Spent:
    """What took how long, and how long it may take here."""

    title: str
    seconds: float
    allowed: float

    @property
    def is_over(self) -> bool:
        return self.seconds > self.allowed

    def __str__(self) -> str:
        over = "  OVER BUDGET" if self.is_over else ""
        return f"{self.title:<20} {self.seconds:6.0f} s of {self.allowed:6.0f} s{over}"


def load(file: Path = FILE) -> Budget:
    content = tomllib.loads(file.read_text())
    return Budget(
        machine=content["reference"]["machine"],
        calibration_seconds=content["reference"]["calibration_seconds"],
        stages={name: Allowance(**figures) for name, figures in content["stages"].items()},
        phases={name: Allowance(**figures) for name, figures in content["phases"].items()},
        estimates=content["estimates"],
    )


def calibrate() -> float:
    """Seconds of a fixed piece of work on all processors, about one and a half on the reference machine.

    It is bzip2: its only implementation depends neither on vector instructions nor on the version of Python, and runs
    without the interpreter's lock.
    """
    generator = random.Random(0)
    words = [generator.randbytes(generator.randint(2, 12)).hex() for _ in range(2000)]
    data = " ".join(generator.choices(words, k=250_000)).encode()
    began = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda _: bz2.compress(data), range(PIECES)))
    return time.monotonic() - began


def slowness(seconds: float, budget: Budget) -> float:
    """Time that this machine takes for what the reference machine does in one unit of time; never less than 1."""
    return max(1.0, seconds / budget.calibration_seconds)


def about(seconds: float) -> str:
    """`about a minute`, `about 14 minutes`."""
    minutes = max(1, round(seconds / 60))
    return "about a minute" if minutes == 1 else f"about {minutes} minutes"


if __name__ == "__main__":
    seconds = calibrate()
    print(f"calibration: {seconds:.2f} s, {slowness(seconds, load()):.2f} times the reference machine's")
