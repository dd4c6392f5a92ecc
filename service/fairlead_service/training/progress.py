"""How far a training is, told as it goes: stages in their order, each with its share of the whole."""

from collections.abc import Callable, Mapping
from typing import Final

from fairlead_service import wire

_SHARES: Final[Mapping[str, int]] = {
    "read": 3, "validate": 2, "search": 60, "fit": 20, "cross-validate": 30, "evaluate": 3, "plot": 6, "log": 8,
    "bundle": 6, "register": 2,
}  # fmt: skip
"""Guesses, in the order of the work: what takes long depends on the data."""
_OPTIONAL: Final = frozenset({"search", "cross-validate", "plot", "register"})
_OF_BUNDLE: Final = frozenset({"fetch", "check", "compile", "prove", "write"})
"""The loader's own stages."""


class Reporter:
    """Called with a stage and a message. `percent` never falls; metrics are those known so far."""

    def __init__(self, send: Callable[[wire.Progress], None]) -> None:
        self._send = send
        self._shares = dict(_SHARES)
        self._stage = ""
        self._percent = 0.0
        self._metrics: dict[str, float] = {}
        self._run_id: str | None = None

    def __call__(self, stage: str, message: str = "", done: float = 0.0) -> None:
        """`done`: how much of the stage is done, 0 to 1."""
        self._stage = stage
        of = "bundle" if stage in _OF_BUNDLE else stage
        if of in self._shares:
            names = list(self._shares)
            before = sum(self._shares[name] for name in names[: names.index(of)])
            reached = 100 * (before + done * self._shares[of]) / sum(self._shares.values())
            self._percent = max(self._percent, reached)
        metrics = self._metrics or None
        percent = round(self._percent, 1)
        self._send(wire.Progress(stage=stage, message=message, percent=percent, metrics=metrics, run_id=self._run_id))

    def expect(self, optional: frozenset[str]) -> None:
        """Which of the optional stages there will be, once the request has been read."""
        self._shares = {name: share for name, share in _SHARES.items() if name not in _OPTIONAL or name in optional}

    def warn(self, message: str) -> None:
        """Something that does not end the training."""
        self(self._stage, f"warning: {message}")

    def metrics(self, found: Mapping[str, float]) -> None:
        """Metrics so far, told with what comes next."""
        self._metrics = {**self._metrics, **found}

    def run(self, run_id: str) -> None:
        """The MLflow run, told at once: whoever waits can look at it, and end it if this process can't."""
        self._run_id = run_id
        self("log", f"run {run_id}")
