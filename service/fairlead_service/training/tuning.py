"""The fits that are made to choose and to judge: a search, whose candidates become runs of their own, and folds."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from fairlead_service.contract import TrainingReason
from fairlead_service.observability.stages import stage
from fairlead_service.training import recording, search
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.plans import Plan, Trial
from fairlead_service.training.progress import Reporter
from fairlead_service.training.search import Scores


@dataclass(frozen=True)
class Chosen:
    hyperparameters: dict[str, Any]
    search: dict[str, Any] | None = None
    """What was tried, for the answer."""


def choose(plan: Plan, report: Reporter) -> Chosen:
    """The hyperparameters to train with: those asked for, and the best candidate of the search if there is one.

    Raises TrainingError(InvalidHyperparameter) if no candidate can be fitted.
    """
    if plan.search is None:
        return Chosen(dict(plan.request.hyperparameters))
    with stage("search", **{"fairlead.candidates": len(plan.search.candidates)}):
        return _search(plan, plan.search, report)


def cross_validate(plan: Plan, hyperparameters: Mapping[str, Any], run_id: str, report: Reporter) -> dict[str, Scores]:
    """Every metric over the folds; nothing without folds."""
    if not plan.folds:
        return {}
    count = len(plan.folds)
    with stage("cross-validate", **{"fairlead.folds": count}), _quiet():

        def tell(done: int) -> None:
            report("cross-validate", f"fold {done} of {count}", done / count)

        x, y = plan.training_part
        found = search.cross_validate(
            partial(plan.build, hyperparameters), x, y, plan.folds, plan.metrics, tell, report.warn
        )
    recording.log_folds(run_id, found)
    report.metrics({f"cv_{name}_mean": scores.mean for name, scores in found.items()})
    return found


def _search(plan: Plan, trial: Trial, report: Reporter) -> Chosen:
    (x, y), count = plan.training_part, len(trial.candidates)
    tried: list[tuple[search.Candidate, float | None]] = []
    leader: tuple[search.Candidate, float] | None = None
    last_error: str | None = None
    for number, candidate in enumerate(trial.candidates, 1):
        build = partial(plan.build, {**plan.request.hyperparameters, **candidate})
        tell = _teller(report, number, count, len(trial.folds))
        scores: dict[str, Scores] = {}
        error: str | None = None
        try:
            with _quiet():
                scores = search.cross_validate(build, x, y, trial.folds, plan.metrics, tell, report.warn)
        except (ValueError, TypeError, ArithmeticError) as raised:  # how these hyperparameters go together
            error = last_error = str(raised)
        recording.log_candidate(number, candidate, scores, error)
        own = scores.get(trial.metric.name)
        tried.append((candidate, own.mean if own is not None else None))
        leader = search.best(tried, trial.metric)
        if leader is not None:
            report.metrics({f"best_cv_{trial.metric.name}": leader[1]})
    if leader is None:
        message = f"none of the {count} candidates could be fitted and scored by {trial.metric.name}: {last_error}"
        raise TrainingError(TrainingReason.INVALID_HYPERPARAMETER, message, "/search/parameters")
    best, score = leader
    found = {
        "method": trial.method,
        "metric": trial.metric.name,
        "best": dict(best),
        "best_score": score,
        "candidates": count,
        "failed": sum(score is None for _, score in tried),
        "folds": len(trial.folds),
    }
    return Chosen({**plan.request.hyperparameters, **best}, found)


def _teller(report: Reporter, number: int, candidates: int, folds: int) -> Callable[[int], None]:
    def tell(done: int) -> None:
        report("search", f"candidate {number} of {candidates}", (number - 1 + done / folds) / candidates)

    return tell


@contextmanager
def _quiet() -> Any:
    """A fit among many may warn of what the last one will be told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
