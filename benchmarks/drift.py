"""How often the drift indices err: `.venv/bin/python -m benchmarks.drift` writes the tables in docs/drift.md.

Training rows and requests are drawn from the same distribution, or from one that is shifted; the service's functions
decide. Features are normal and independent: quantile bins are blind to a distribution's shape. No server, no clock.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from benchmarks.serving.machine import describe

from fairlead_service.contract import DRIFT_PSI_THRESHOLD
from fairlead_service.models.bundle import ClassReference
from fairlead_service.observability.drift import KEPT, MIN_REFERENCE_ROWS, MIN_ROWS, class_psi, psi, reference

REPORT: Final = Path(__file__).resolve().parent.parent / "docs" / "drift.md"
BEGIN: Final = "<!-- measured: written by python -m benchmarks.drift -->"
END: Final = "<!-- end of measured -->"

INDICES: Final = 50_000
"""Drawn for each cell of the unshifted table; 200 features are 250 models of them."""
TRIALS: Final = 1000
"""Of each other cell."""
ROWS: Final = (MIN_ROWS, KEPT)
TRAINED_ON: Final = (MIN_REFERENCE_ROWS, 400, 5000)
FEATURES: Final = (1, 10, 50, 200)
SHIFTS: Final = (0.25, 0.5, 1.0)
"""In standard deviations."""
CLASSES: Final = (2, 10, 100)
MOVED: Final = (0.1, 0.2, 0.3)
"""Of all answers, from the first of two equally frequent classes to the second."""

Draw = Callable[[], float]


def features(random: np.random.Generator, trained_on: int, rows: int, shift: float = 0.0) -> Draw:
    """The index of one feature."""
    return lambda: psi(random.normal(shift, size=rows), reference(random.normal(size=trained_on)))


def classes(random: np.random.Generator, trained_on: int, rows: int, count: int) -> Draw:
    """The index of a classifier's answers; class k is 1/k as frequent as the first."""
    weights = 1 / np.arange(1, count + 1)
    return moved(random, trained_on, rows, weights / weights.sum(), weights / weights.sum())


def moved(
    random: np.random.Generator, trained_on: int, rows: int, before: Sequence[float], now: Sequence[float]
) -> Draw:
    def draw() -> float:
        expected = random.multinomial(trained_on, before) / trained_on
        return class_psi(random.multinomial(rows, now) / rows, ClassReference(rows=trained_on, shares=tuple(expected)))

    return draw


def alarms(draw: Draw, together: int, indices: int) -> float:
    """Per cent of groups of so many indices with one above the threshold."""
    above = np.array([draw() > DRIFT_PSI_THRESHOLD for _ in range(indices)])
    return 100 * float(above.reshape(-1, together).any(axis=1).mean())


def unshifted(random: np.random.Generator) -> list[list[str]]:
    found = []
    for trained_on in TRAINED_ON:
        for rows in ROWS:
            draw = features(random, trained_on, rows)
            above = np.array([draw() > DRIFT_PSI_THRESHOLD for _ in range(INDICES)])
            shares = [100 * above.reshape(-1, count).any(axis=1).mean() for count in FEATURES]
            found.append([f"{trained_on}", f"{rows}", *map(_percent, shares)])
    return found


def shifted(random: np.random.Generator) -> list[list[str]]:
    return [
        [
            f"{trained_on}",
            f"{rows}",
            *(_percent(alarms(features(random, trained_on, rows, s), 1, TRIALS)) for s in SHIFTS),
        ]
        for trained_on in TRAINED_ON
        for rows in ROWS
    ]


def answers(random: np.random.Generator) -> list[list[str]]:
    found = []
    for trained_on in TRAINED_ON:
        for rows in ROWS:
            same = [alarms(classes(random, trained_on, rows, count), 1, 4 * TRIALS) for count in CLASSES]
            halves = [moved(random, trained_on, rows, (0.5, 0.5), (0.5 - share, 0.5 + share)) for share in MOVED]
            found.append([f"{trained_on}", f"{rows}", *map(_percent, [*same, *(alarms(d, 1, TRIALS) for d in halves)])])
    return found


def report() -> str:
    random = np.random.default_rng(1)
    machine, given = describe(), ("rows trained on", "newest rows")
    return "\n\n".join(
        [
            f"{datetime.now(UTC):%Y-%m-%d}, {machine['cpu']}, Python {machine['python']}; "
            f"threshold {DRIFT_PSI_THRESHOLD}, at least {MIN_ROWS} rows and {MIN_REFERENCE_ROWS} training rows.",
            "**No shift: models with an alarm on any feature, by number of features**",
            _table([*given, *map(str, FEATURES)], unshifted(random)),
            "**One feature shifted by so many standard deviations: alarms on it**",
            _table([*given, *map(str, SHIFTS)], shifted(random)),
            "**A classifier's answers: alarms without a shift by number of classes (the k-th 1/k as frequent as the "
            "first), and with a share of all answers moved from one of two equal classes to the other**",
            _table(
                [*given, *(f"{n} classes" for n in CLASSES), *(f"{100 * share:.0f} % moved" for share in MOVED)],
                answers(random),
            ),
        ]
    )


def _percent(value: float) -> str:
    return f"{value:.2f} %"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    text = REPORT.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    REPORT.write_text(f"{before}{BEGIN}\n\n{report()}\n\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
