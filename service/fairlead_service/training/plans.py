"""What a training is going to do, made and checked before anything is fitted or recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fairlead_service.training import algorithms, data, labels, metrics, search, splits
from fairlead_service.training import hyperparameters as checked
from fairlead_service.training.algorithms import Algorithm
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.metrics import Metric
from fairlead_service.training.request import TrainingRequest
from fairlead_service.training.splits import Fold, Split
from fairlead_service.training.table import Table

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Trial:
    """The candidates of a search, the folds they are compared on, and by what."""

    method: str
    """grid or random."""
    candidates: list[dict[str, Any]]
    folds: list[Fold]
    metric: Metric


@dataclass(frozen=True)
class Plan:
    request: TrainingRequest
    algorithm: Algorithm
    data: data.TrainingData
    feature_names: list[str] | None
    split: Split
    metrics: list[Metric]
    search: Trial | None
    folds: list[Fold]
    """Of the cross-validation; none without."""

    @property
    def training_part(self) -> "tuple[Array, Array]":
        """The rows that may be learned from, x (m, p) and y (m,). Folds count in these."""
        return self.data.x[self.split.train], self.data.y[self.split.train]

    @property
    def test_part(self) -> "tuple[Array, Array]":
        return self.data.x[self.split.test], self.data.y[self.split.test]

    @property
    def optional_stages(self) -> frozenset[str]:
        """For progress: which of the stages that not every training has, this one has."""
        asked = {
            "search": self.search is not None,
            "cross-validate": bool(self.folds),
            "plot": self.request.plots,
            "register": self.request.model_name is not None,
        }
        return frozenset(name for name, there in asked.items() if there)

    def build(self, hyperparameters: Mapping[str, Any]) -> Any:
        """An unfitted estimator. Raises TrainingError(InvalidHyperparameter)."""
        return _build(self.algorithm, self.request, self.data, hyperparameters)


def make(request: TrainingRequest, table: Table) -> Plan:
    """Raises TrainingError for all that is wrong with the request and its data and can be known without a fit."""
    algorithm = algorithms.find(request.algorithm)
    target = table.target
    if table.target_name is not None:
        read = labels.of_text if algorithm.task == "classification" else labels.numbers_of_text
        target = read([str(cell) for cell in target], table.target_name)
    prepared = data.prepare(table.x, target, algorithm.task, table.feature_names)
    _build(algorithm, request, prepared, request.hyperparameters)
    known = metrics.installed(algorithm.task)
    split = splits.split(prepared.y, algorithm.task, request.test_size, request.random_state)
    learned = prepared.y[split.train]
    trial = None
    if request.search is not None:
        candidates = search.candidates(request.search, request.random_state)
        for candidate in candidates:
            _check(algorithm, request, prepared, candidate)
        folds = splits.folds(learned, algorithm.task, request.search.folds, request.random_state)
        metric = metrics.choose(known, request.search.metric, algorithm.task)
        trial = Trial(request.search.method, candidates, folds, metric)
    count = request.cross_validation
    validation = splits.folds(learned, algorithm.task, count, request.random_state) if count is not None else []
    return Plan(request, algorithm, prepared, table.feature_names, split, known, trial, validation)


def _check(
    algorithm: Algorithm, request: TrainingRequest, prepared: data.TrainingData, candidate: Mapping[str, Any]
) -> None:
    try:
        _build(algorithm, request, prepared, {**request.hyperparameters, **candidate})
    except TrainingError as error:
        name = (error.where or "").removeprefix("/hyperparameters/")
        where = f"/search/parameters/{name}" if name in candidate else error.where
        raise TrainingError(error.reason, error.message, where) from error


def _build(
    algorithm: Algorithm, request: TrainingRequest, prepared: data.TrainingData, hyperparameters: Mapping[str, Any]
) -> Any:
    checked.check_limits(hyperparameters, request.limits)
    estimator = algorithm.build(data.keyed_by_label(hyperparameters, prepared.y), request.random_state)
    checked.use_processors(estimator, _processors())
    return estimator


def _processors() -> int:
    """That this process may use, by its affinity and its container's quota."""
    from joblib import cpu_count

    return int(cpu_count())
