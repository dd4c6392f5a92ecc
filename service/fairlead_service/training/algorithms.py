"""The algorithms a training may ask for: three of scikit-learn's, and whatever an entry point adds.

A plug-in is an installed package with one entry point in the group `fairlead.algorithms` that names an `Algorithm`:

    [project.entry-points."fairlead.algorithms"]
    extra_trees = "my_package:extra_trees"

    extra_trees = Algorithm(name="extra_trees", task="classification", description="Extremely randomised trees",
                            build=lambda hyperparameters, random_state: from_class(ExtraTreesClassifier, …))

Only the entry point that is asked for is imported. Its fitted estimator must pass the loader like any other model:
types outside the allow-list fail the training.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Final, Literal

from fairlead_service.contract import TrainingReason
from fairlead_service.training.errors import TrainingError

GROUP: Final = "fairlead.algorithms"


@dataclass(frozen=True)
class Algorithm:
    name: str
    build: Callable[[Mapping[str, Any], int], Any]
    """(hyperparameters, random_state) → unfitted estimator; raises TrainingError(InvalidHyperparameter)."""
    task: Literal["classification", "regression"]
    description: str


def find(name: str, installed: EntryPoints | None = None) -> Algorithm:
    """Raises TrainingError: UnknownAlgorithm (with the known ones), TrainingFailed if its package is broken."""
    known = entry_points(group=GROUP) if installed is None else installed
    if name not in known.names:
        names = sorted(known.names)
        message = f"unknown algorithm {name!r}{_suggestion(name, names)}; known: {', '.join(names)}"
        raise TrainingError(TrainingReason.UNKNOWN_ALGORITHM, message, "/algorithm")
    entry = known[name]
    try:
        algorithm = entry.load()
    except Exception as error:  # code of a plug-in
        message = f"algorithm {name!r} ({entry.value}) can't be imported: {type(error).__name__}: {error}"
        raise TrainingError(TrainingReason.TRAINING_FAILED, message) from error
    if not isinstance(algorithm, Algorithm):
        raise TrainingError(TrainingReason.TRAINING_FAILED, f"{entry.value} is no fairlead Algorithm but {algorithm!r}")
    return algorithm


def from_class(kind: Callable[..., Any], hyperparameters: Mapping[str, Any], random_state: int) -> Any:
    """An estimator of class `kind` with these hyperparameters, checked by scikit-learn's own rules.

    `random_state` goes to estimators that have one, unless the hyperparameters set it.
    """
    estimator = kind()
    parameters = estimator.get_params(deep=False)
    for name in hyperparameters:
        if name not in parameters:
            valid = sorted(parameters)
            raise invalid_hyperparameter(
                f"{type(estimator).__name__} has no hyperparameter {name!r}{_suggestion(name, valid)}; "
                f"valid: {', '.join(valid)}",
                name,
            )
    seed = {"random_state": random_state} if "random_state" in parameters else {}
    estimator.set_params(**(seed | dict(hyperparameters)))
    _validate(estimator, hyperparameters)
    return estimator


def invalid_hyperparameter(message: str, name: str | None = None) -> TrainingError:
    where = "/hyperparameters" if name is None else f"/hyperparameters/{name.replace('~', '~0').replace('/', '~1')}"
    return TrainingError(TrainingReason.INVALID_HYPERPARAMETER, message, where)


def _validate(estimator: Any, hyperparameters: Mapping[str, Any]) -> None:
    """Runs scikit-learn's parameter validation, which `fit` would run later, to fail before data are touched."""
    try:
        estimator._validate_params()
    except (ValueError, TypeError) as error:
        message = str(error)
        blamed = [name for name in hyperparameters if f"'{name}' parameter" in message]
        raise invalid_hyperparameter(message, blamed[0] if blamed else None) from error


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _random_forest(hyperparameters: Mapping[str, Any], random_state: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return from_class(RandomForestClassifier, hyperparameters, random_state)


def _gradient_boosting(hyperparameters: Mapping[str, Any], random_state: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return from_class(GradientBoostingClassifier, hyperparameters, random_state)


def _logistic_regression(hyperparameters: Mapping[str, Any], random_state: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = from_class(LogisticRegression, hyperparameters, random_state)
    return Pipeline([("scale", StandardScaler()), ("classify", classifier)])


random_forest = Algorithm(
    name="random_forest",
    build=_random_forest,
    task="classification",
    description="sklearn.ensemble.RandomForestClassifier",
)
gradient_boosting = Algorithm(
    name="gradient_boosting",
    build=_gradient_boosting,
    task="classification",
    description="sklearn.ensemble.GradientBoostingClassifier",
)
logistic_regression = Algorithm(
    name="logistic_regression",
    build=_logistic_regression,
    task="classification",
    description=(
        "sklearn.linear_model.LogisticRegression behind a StandardScaler, without which its solver does not converge "
        "on features of unequal scale; hyperparameters are those of LogisticRegression"
    ),
)
