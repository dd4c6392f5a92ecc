"""Is a candidate good enough? Pure comparisons of what was measured: each check is one small function.

A candidate fails a check only if it is worse than the threshold *and* worse than what serves at the same time, by more
than chance explains: a slow node, a broken client or one unlucky request must not condemn a good model. What could not
be measured is neither good nor bad. How often that errs is measured by `benchmarks.canary` (docs/canary.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import exp, isfinite, lgamma, log, log1p, sqrt
from typing import Final

from fairlead_operator.api import Check
from fairlead_operator.desired.access import Contact

SUCCESS_PERCENT: Final = 99.0
"""Asked of a candidate when the resource has no `slo.successPercent`."""
CHANCE: Final = 0.1
"""So many failures or more must be less likely than this for a model that is just good enough."""

Rows = tuple[tuple[float | None, ...], ...]
Answer = tuple[object, ...]
"""Predictions, one a row: labels or numbers."""


@dataclass(frozen=True)
class Pod:
    name: str
    ip: str


@dataclass(frozen=True)
class Question:
    """What to measure of a candidate, and by what terms."""

    id: str
    """Equal for as long as the same answer will do."""
    namespace: str
    candidate: tuple[Pod, ...]
    serving: tuple[Pod, ...]
    dark: bool
    """Users' requests do not reach the candidate: all there is to measure is replayed."""
    window_seconds: int
    """How far to look back."""
    min_requests: int
    replay_samples: int
    contact: Contact
    latency_milliseconds: int | None
    success_percent: float | None
    max_disagreement_percent: float | None


@dataclass(frozen=True)
class Sample:
    """Predictions of some pods in one window."""

    requests: float
    failed: float
    """Answered by 5xx, refused by a pod with too much to do (429) or by the model (422), or not answered at all."""
    p95_milliseconds: float | None

    @property
    def success_percent(self) -> float | None:
        return 100.0 * (1 - self.failed / self.requests) if self.requests > 0 else None


@dataclass(frozen=True)
class Evidence:
    """What was measured. The candidate and what serves were measured alike, at the same time."""

    candidate: Sample | None = None
    serving: Sample | None = None
    disagreement_percent: float | None = None
    """Between both models' answers to the same replayed rows; None if there were none."""
    problem: str = ""
    """Why there is nothing to judge by."""


@dataclass(frozen=True)
class Measurement:
    """The answer to a question."""

    question: str
    """Its id."""
    at: datetime
    checks: tuple[Check, ...]
    problem: str = ""
    """Why some could not be made."""

    @property
    def failed(self) -> bool:
        return any(check.ok is False for check in self.checks)

    @property
    def passed(self) -> bool:
        return not self.problem and all(check.ok for check in self.checks)


def judge(question: Question, evidence: Evidence, at: datetime) -> Measurement:
    """Every check that the question's terms ask for."""
    checks = tuple(check for function in _CHECKS if (check := function(question, evidence)) is not None)
    unknown = [check.name for check in checks if check.ok is None]
    problem = evidence.problem or (f"no data for {', '.join(unknown)}" if unknown else "")
    return Measurement(question.id, at, checks, problem)


def disagreement(candidate: Sequence[Answer], serving: Sequence[Answer], classes: bool) -> float | None:
    """How far the answers to the same rows are apart, in per cent: the share of rows with another class, or the mean
    of |candidate - serving| / |serving| (a difference from 0 counts in full). None without rows."""
    pairs = [
        (mine, theirs)
        for mine_rows, their_rows in zip(candidate, serving, strict=True)
        for mine, theirs in zip(mine_rows, their_rows, strict=True)
    ]
    if not pairs:
        return None
    apart = [float(mine != theirs) if classes else _relative(mine, theirs) for mine, theirs in pairs]
    return 100.0 * sum(apart) / len(apart)


def _relative(mine: object, theirs: object) -> float:
    if mine == theirs:
        return 0.0
    if not (isinstance(mine, int | float) and isinstance(theirs, int | float) and isfinite(mine) and isfinite(theirs)):
        return 1.0
    return abs(mine - theirs) / abs(theirs) if theirs else 1.0


def tolerance(requests: float) -> float:
    """A p95 that is at most so many times another may be no larger at all: of 50 requests it varies by a quarter, of
    1,000 by a twentieth (its standard error, twice, for latencies whose p95 is about twice the median)."""
    return 1 + 2 / sqrt(max(1.0, requests))


def chance(sample: Sample, share: float) -> float:
    """How likely at least so many failures are where `share` of all requests fail (binomial, upper tail)."""
    requests, failed = round(sample.requests), min(round(sample.failed), round(sample.requests))
    if failed == 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    fewer = (
        lgamma(requests + 1)
        - lgamma(count + 1)
        - lgamma(requests - count + 1)
        + count * log(share)
        + (requests - count) * log1p(-share)
        for count in range(failed)
    )
    return max(0.0, 1.0 - sum(map(exp, fewer)))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)
    return ordered[max(0, int(rank) - 1)]


def _success(question: Question, evidence: Evidence) -> Check | None:
    asked = SUCCESS_PERCENT if question.success_percent is None else question.success_percent
    threshold = f"at least {asked:g} %"
    mine = evidence.candidate.success_percent if evidence.candidate else None
    if mine is None:
        return Check(name="success", threshold=threshold)
    theirs = evidence.serving.success_percent if evidence.serving else None
    assert evidence.candidate is not None
    # Clients that send what no model takes fail with both: then the serving model's share is what may fail.
    may_fail = 1 - (asked if theirs is None else min(asked, theirs)) / 100
    ok = chance(evidence.candidate, may_fail) >= CHANCE
    return Check(name="success", value=_compared(f"{mine:.4g} %", theirs, "{:.4g} %"), threshold=threshold, ok=ok)


def _latency(question: Question, evidence: Evidence) -> Check | None:
    if question.latency_milliseconds is None:
        return None
    threshold = f"at most {question.latency_milliseconds} ms"
    mine = evidence.candidate.p95_milliseconds if evidence.candidate else None
    if mine is None:
        return Check(name="latencyP95", threshold=threshold)
    theirs = evidence.serving.p95_milliseconds if evidence.serving else None
    assert evidence.candidate is not None
    excused = theirs is not None and mine <= tolerance(evidence.candidate.requests) * theirs
    ok = mine <= question.latency_milliseconds or excused
    return Check(name="latencyP95", value=_compared(f"{mine:.4g} ms", theirs, "{:.4g} ms"), threshold=threshold, ok=ok)


def _disagreement(question: Question, evidence: Evidence) -> Check | None:
    if question.max_disagreement_percent is None:
        return None
    threshold = f"at most {question.max_disagreement_percent:g} %"
    found = evidence.disagreement_percent
    if found is None:
        return Check(name="disagreement", threshold=threshold)
    ok = found <= question.max_disagreement_percent
    return Check(name="disagreement", value=f"{found:.4g} %", threshold=threshold, ok=ok)


def _compared(mine: str, theirs: float | None, form: str) -> str:
    return mine if theirs is None else f"{mine} (serving: {form.format(theirs)})"


_CHECKS: Final[tuple[Callable[[Question, Evidence], Check | None], ...]] = (_success, _latency, _disagreement)
