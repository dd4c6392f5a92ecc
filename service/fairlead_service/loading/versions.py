"""Does this image have what the model was trained with? Pure, but for `installed`."""

import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from typing import Final


class VersionPolicy(StrEnum):
    STRICT = "strict"
    """Every declared version must be equal."""
    MINOR = "minor"
    """scikit-learn's major.minor and numpy's major must be equal; Python's major.minor too for pickled models."""
    WARN = "warn"
    """Differences are reported, nothing is refused."""


COMPARED: Final = ("scikit-learn", "numpy", "scipy", "python")


@dataclass(frozen=True)
class Difference:
    name: str
    trained: str
    present: str
    wanted: str
    """As much of the trained version as has to be equal."""

    @property
    def fact(self) -> str:
        return f"model was trained with {self.name} {self.trained}, this image has {self.present}"

    def __str__(self) -> str:
        return f"{self.fact}; retrain it or use an image with {self.name} {self.wanted}"


@dataclass(frozen=True)
class Verdict:
    refused: tuple[Difference, ...]
    tolerated: tuple[Difference, ...]


def compare(trained: Mapping[str, str], present: Mapping[str, str], policy: VersionPolicy, *, pickled: bool) -> Verdict:
    """Compares what the model declares with what is here; what it does not declare cannot differ.

    Pickles hold byte code (cloudpickle) and module paths, so they are bound to Python's minor version; skops files
    are not.
    """
    refused: list[Difference] = []
    tolerated: list[Difference] = []
    for name in COMPARED:
        if name not in trained or name not in present or trained[name] == present[name]:
            continue
        parts = _parts(name, policy, pickled=pickled)
        wanted = _prefix(trained[name], parts) if parts else trained[name]
        difference = Difference(name, trained[name], present[name], wanted)
        same = parts is not None and wanted == _prefix(present[name], parts)
        tolerate = policy is VersionPolicy.WARN or parts == 0 or same
        (tolerated if tolerate else refused).append(difference)
    return Verdict(tuple(refused), tuple(tolerated))


def installed(names: Iterable[str] = COMPARED) -> dict[str, str]:
    """Versions in this environment; a distribution that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found.setdefault(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return found


def _parts(name: str, policy: VersionPolicy, *, pickled: bool) -> int | None:
    """How many leading numbers must be equal; None means all of the version, 0 none of it."""
    if policy is VersionPolicy.STRICT:
        return None
    return {"scikit-learn": 2, "numpy": 1, "python": 2 if pickled else 0}.get(name, 0)


def _prefix(version: str, parts: int) -> str:
    return ".".join(re.findall(r"\d+", version)[:parts])
