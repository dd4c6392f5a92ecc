"""Whether a model's requests and answers still look like those of its training: the condition DataDrift. Pure.

The service measures population stability indices (PSI), `drift_poll` reads them. There are two limits, so that a value
which moves around one of them does not flap; and what was told is told anew only when it has become another story.
"""

from dataclasses import dataclass
from typing import Final, Literal

from fairlead_operator import contract
from fairlead_operator.api import Condition, ModelRef, Reason
from fairlead_operator.conditions import Finding

CONDITION: Final = "DataDrift"
PREDICTIONS: Final = "predictions"
"""What the index of a model's answers is called among those of its features."""
OVER_PSI: Final = 0.2
"""What drifts goes on drifting until everything is at or below it."""
SAME_STORY: Final = 0.25
"""How far, as a share of itself, the worst index may move before the values are told anew."""
NAMED: Final = 3
"""Features, and then the predictions."""

Unknown = Literal["unmeasured", "unanswered"]
"""Nobody measures the model's drift (any more); or Prometheus has not answered yet, and what was said goes on."""


@dataclass(frozen=True)
class Reading:
    """What Prometheus says of one model: of several pods, the worst."""

    worst: float
    """The highest index there is."""
    over: tuple[tuple[str, float], ...] = ()
    """Names and indices above OVER_PSI, the highest first; not all of them."""
    rows: int | None = None
    """Newest rows that the indices stand on, of the pod that has the fewest."""


@dataclass(frozen=True)
class Judgement:
    drifts: bool
    reading: Reading
    run_id: str | None = None
    """The run that served when it was read; None: not known. Of another run it says nothing."""


def judge(before: Judgement | None, reading: Reading, drifted: bool) -> Judgement:
    """What to tell now. `before` was told last, by this process; `drifted` is what the resource says where that is
    nothing."""
    was = before.drifts if before is not None else drifted
    drifts = reading.worst > (OVER_PSI if was else contract.DRIFT_PSI_THRESHOLD)
    if before is None or before.drifts != drifts:
        return Judgement(drifts, reading)
    moved = abs(reading.worst - before.reading.worst) > SAME_STORY * before.reading.worst
    return Judgement(drifts, reading) if drifts and moved else before


def finding(found: Judgement | Unknown, old: Condition | None, serving: ModelRef | None = None) -> Finding | None:
    """The condition; None where nothing is known about the model that serves. `old` is what was last reported of it."""
    if isinstance(found, Judgement):
        if found.run_id is not None and (serving is None or serving.run_id != found.run_id):
            return None
        if found.drifts:
            return Finding(CONDITION, "True", Reason.DRIFTED, _told(found.reading))
        message = f"No stability index (PSI) of features or predictions is above {contract.DRIFT_PSI_THRESHOLD}."
        return Finding(CONDITION, "False", Reason.NOT_DRIFTED, message)
    if found == "unanswered" and old is not None:
        return Finding(old.type, old.status, old.reason, old.message)
    return None


def _told(reading: Reading) -> str:
    """`petal_width 0.41, predictions 0.30; limit 0.25, over 1,000 rows`"""
    named = ", ".join(f"{name} {value:.2f}" for name, value in reading.over)
    rows = "" if reading.rows is None else f", over {reading.rows:,} rows"
    return f"{named}; limit {contract.DRIFT_PSI_THRESHOLD}{rows}"
