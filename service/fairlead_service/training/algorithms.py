"""The algorithms a training may ask for: three of scikit-learn's, and whatever an entry point adds.

A plug-in is an installed package with one entry point in the group `fairlead.algorithms` that names an `Algorithm`:

    [project.entry-points."fairlead.algorithms"]
    extra_trees = "my_package:extra_trees"

    extra_trees = Algorithm.of_class(ExtraTreesClassifier, name="extra_trees", task="classification", description="…")

Only the entry point that is asked for is imported. Its fitted estimator must pass the loader like any other model:
types outside the allow-list fail the training. `examples/plugin` is a whole package.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Final, Literal

from fairlead_service.contract import TrainingReason
from fairlead_service.training import hyperparameters as checked
from fairlead_service.training import plugins
from fairlead_service.training.errors import TrainingError

GROUP: Final = "fairlead.algorithms"

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Algorithm:
    name: str
    build: Callable[[Mapping[str, Any], int], Any]
    """(hyperparameters, random_state) → unfitted estimator; raises TrainingError(InvalidHyperparameter)."""
    task: Task
    description: str
    schema: Callable[[], Mapping[str, Any]] | None = None
    """JSON Schema of the hyperparameters, for people and their editors; `build` is what checks."""

    @classmethod
    def of_class(cls, kind: Callable[..., Any], *, name: str, task: Task, description: str) -> "Algorithm":
        """The algorithm that is one scikit-learn estimator with its own hyperparameters."""
        return cls(
            name=name,
            build=lambda parameters, random_state: checked.from_class(kind, parameters, random_state),
            task=task,
            description=description,
            schema=lambda: checked.schema(kind),
        )


def find(name: str, installed: EntryPoints | None = None) -> Algorithm:
    """Raises TrainingError: UnknownAlgorithm (with the known ones), TrainingFailed if its package is broken."""
    known = entry_points(group=GROUP) if installed is None else installed
    if name not in known.names:
        names = sorted(known.names)
        message = f"unknown algorithm {name!r}{plugins.suggestion(name, names)}; known: {', '.join(names)}"
        raise TrainingError(TrainingReason.UNKNOWN_ALGORITHM, message, "/algorithm")
    return plugins.load(known[name], Algorithm)


def describe(installed: EntryPoints | None = None) -> list[dict[str, Any]]:
    """All algorithms for `GET /algorithms`, by name; one whose package is broken says so in its place."""
    known = entry_points(group=GROUP) if installed is None else installed
    return [_description(name, known) for name in sorted(known.names)]


def _description(name: str, known: EntryPoints) -> dict[str, Any]:
    own = plugins.origin(known[name])
    try:
        algorithm = find(name, known)
        schema = dict(algorithm.schema()) if algorithm.schema is not None else None
    except Exception as error:  # code of a plug-in
        return own | {"error": str(error)}
    found = {"task": algorithm.task, "description": algorithm.description}
    return own | found | ({} if schema is None else {"hyperparameters": schema})


def _random_forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier()


def _gradient_boosting() -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier()


def _logistic_regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def _scaled(hyperparameters: Mapping[str, Any], random_state: int) -> Any:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = checked.from_class(_logistic_regression, hyperparameters, random_state)
    return Pipeline([("scale", StandardScaler()), ("classify", classifier)])


random_forest = Algorithm.of_class(
    _random_forest,
    name="random_forest",
    task="classification",
    description="sklearn.ensemble.RandomForestClassifier",
)
gradient_boosting = Algorithm.of_class(
    _gradient_boosting,
    name="gradient_boosting",
    task="classification",
    description="sklearn.ensemble.GradientBoostingClassifier",
)
logistic_regression = Algorithm(
    name="logistic_regression",
    build=_scaled,
    task="classification",
    description=(
        "sklearn.linear_model.LogisticRegression behind a StandardScaler, without which its solver does not converge "
        "on features of unequal scale; hyperparameters are those of LogisticRegression"
    ),
    schema=lambda: checked.schema(_logistic_regression),
)
