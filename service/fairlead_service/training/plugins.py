"""What installed packages add: one entry point names one object, which is imported when it is asked for."""

import difflib
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from itertools import islice
from typing import Any, Final, TypeVar

from fairlead_service.contract import TrainingReason
from fairlead_service.training.errors import TrainingError

T = TypeVar("T")

_COMPARED: Final = 1000
_COMPARED_CHARACTERS: Final = 100
"""Comparing takes time that grows with the square of the length."""


def load(entry: EntryPoint, kind: type[T]) -> T:
    """The object that an entry point names. Raises TrainingError(TrainingFailed) if its package is broken."""
    what = kind.__name__.lower()
    try:
        found = entry.load()
    except Exception as error:  # code of a plug-in
        message = f"{what} {entry.name!r} ({entry.value}) can't be imported: {type(error).__name__}: {error}"
        raise TrainingError(TrainingReason.TRAINING_FAILED, message) from error
    if not isinstance(found, kind):
        message = f"{entry.value} is no fairlead {kind.__name__} but {found!r}"
        raise TrainingError(TrainingReason.TRAINING_FAILED, message)
    return found


def origin(entry: EntryPoint) -> dict[str, Any]:
    """What can be said of an entry point without importing anything: its name and its package."""
    return {"name": entry.name, "package": entry.dist.name if entry.dist is not None else None}


def suggestion(name: str, known: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence; empty if nothing is close, or too much would be compared."""
    if len(name) > _COMPARED_CHARACTERS:
        return ""
    compared = [other for other in islice(known, _COMPARED) if len(other) <= _COMPARED_CHARACTERS]
    close = difflib.get_close_matches(name, compared, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
