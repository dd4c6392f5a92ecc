"""Which hyperparameters are tried and how they are compared: grid or random candidates, each cross-validated."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairlead_service.contract import TrainingReason
from fairlead_service.schemas_train import Range, Search
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.metrics import Metric, Scored, evaluate
from fairlead_service.training.splits import Fold

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MAX_CANDIDATES: Final = 500

Candidate = Mapping[str, Any]


@dataclass(frozen=True)
class Scores:
    """One metric over the folds."""

    folds: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.folds)

    @property
    def std(self) -> float:
        """Of the population of these folds."""
        return statistics.pstdev(self.folds)

    def report(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "folds": list(self.folds)}


def candidates(search: Search, random_state: int) -> list[dict[str, Any]]:
    """What to try, in order, none twice; the same arguments give the same list.

    Raises TrainingError(InvalidRequest) for more than MAX_CANDIDATES, and for a range in a grid.
    """
    found = _grid(search) if search.method == "grid" else _random(search, random_state)
    unique: dict[str, dict[str, Any]] = {repr(sorted(candidate.items())): candidate for candidate in found}
    return list(unique.values())


def cross_validate(
    build: Callable[[], Any],
    x: "Array",
    y: "Array",
    folds: Sequence[Fold],
    metrics: Sequence[Metric],
    tell: Callable[[int], None],
    warn: Callable[[str], None],
) -> dict[str, Scores]:
    """Fits an estimator to each fold of x (n, p) and y (n,); the metrics that are defined on all of them.

    `tell` hears how many folds are done. Raises what scikit-learn raises when it can't fit.
    """
    found: list[dict[str, float]] = []
    for number, fold in enumerate(folds, 1):
        estimator = build().fit(x[fold.train], y[fold.train])
        found.append(evaluate(metrics, Scored(estimator, x[fold.test], y[fold.test]), warn))
        tell(number)
    names = [metric.name for metric in metrics if all(metric.name in values for values in found)]
    return {name: Scores(tuple(values[name] for values in found)) for name in names}


def best(tried: Iterable[tuple[Candidate, float | None]], metric: Metric) -> tuple[Candidate, float] | None:
    """The candidate of the best mean, of equals the first; None if none has one."""
    scored = [(candidate, score) for candidate, score in tried if score is not None]
    if not scored:
        return None
    sign = 1 if metric.greater_is_better else -1
    return max(scored, key=lambda pair: sign * pair[1])


def _grid(search: Search) -> list[dict[str, Any]]:
    from sklearn.model_selection import ParameterGrid

    for name, values in search.parameters.items():
        if isinstance(values, Range):
            raise _invalid(
                f"a grid needs a list of values for {name!r}; ranges are for method random", f"/parameters/{name}"
            )
    size = math.prod(len(values) for values in search.parameters.values() if isinstance(values, list))
    if size > MAX_CANDIDATES:
        raise _invalid(f"the grid has {size} candidates, and {MAX_CANDIDATES} may be tried; use method random")
    return [dict(candidate) for candidate in ParameterGrid(search.parameters)]


def _random(search: Search, random_state: int) -> list[dict[str, Any]]:
    from sklearn.model_selection import ParameterSampler

    if search.iterations > MAX_CANDIDATES:
        raise _invalid(
            f"{search.iterations} iterations are asked for, and {MAX_CANDIDATES} may be tried", "/iterations"
        )
    space = {
        name: values if isinstance(values, list) else _Distribution(values)
        for name, values in search.parameters.items()
    }
    lists = [values for values in space.values() if isinstance(values, list)]
    count = search.iterations
    if len(lists) == len(space):
        count = min(count, math.prod(map(len, lists)))  # more there are not
    return [dict(candidate) for candidate in ParameterSampler(space, count, random_state=random_state)]


@dataclass(frozen=True)
class _Distribution:
    """A range as scikit-learn's sampler wants one: uniform, or uniform in the logarithm; integers between integers."""

    range: Range

    def rvs(self, random_state: Any) -> int | float:
        low, high = self.range.low, self.range.high
        if self.range.whole:
            low, high = low - 0.5, high + 0.5
            low = max(low, 0.5) if self.range.log else low
        if self.range.log:
            value = math.exp(random_state.uniform(math.log(low), math.log(high)))
        else:
            value = random_state.uniform(low, high)
        if not self.range.whole:
            return min(max(value, low), high)
        return min(max(round(value), int(self.range.low)), int(self.range.high))


def _invalid(message: str, where: str = "") -> TrainingError:
    """`where` in the search."""
    return TrainingError(TrainingReason.INVALID_REQUEST, message, f"/search{where}")
