"""What an estimator's hyperparameters may be: scikit-learn's own rules, for people as JSON Schema and as a check.

Every estimator states its rules in `_parameter_constraints` (scikit-learn's developer guide, "Parameter validation");
the names are private, the pinned version makes that safe, and a test walks through all built-in algorithms.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from typing import Any, Final

from fairlead_service.contract import TrainingReason
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.plugins import suggestion
from fairlead_service.training.request import Limits

_ITERATIONS: Final = frozenset({"max_iter", "n_iter", "n_iter_no_change", "max_fun", "n_restarts_optimizer"})
_INT32_MAX: Final = 2**31 - 1
"""Of any other whole number: scikit-learn's compiled parts count in 32 bits."""
_NO_VALUE: Final = ("deprecated", "warn")
"""Defaults that say whether a hyperparameter was set, and are refused when set."""
_BY_TYPE: Final[Mapping[str, dict[str, Any]]] = {
    "boolean": {"type": "boolean"},
    "NoneType": {"type": "null"},
    "dict": {"type": "object"},
    "str": {"type": "string"},
    "list": {"type": "array"},
    "array-like": {"type": "array"},
    "random_state": {"type": ["integer", "null"], "minimum": 0},
    "verbose": {"type": ["integer", "boolean"], "minimum": 0},
}


def from_class(kind: Callable[..., Any], hyperparameters: Mapping[str, Any], random_state: int) -> Any:
    """An estimator of class `kind` with these hyperparameters, checked by scikit-learn's own rules.

    `random_state` goes to estimators that have one, unless the hyperparameters set it.
    Raises TrainingError(InvalidHyperparameter).
    """
    estimator = kind()
    parameters = estimator.get_params(deep=False)
    for name in hyperparameters:
        if name not in parameters:
            valid = sorted(parameters)
            raise invalid(
                f"{type(estimator).__name__} has no hyperparameter {name!r}{suggestion(name, valid)}; "
                f"valid: {', '.join(valid)}",
                name,
            )
    seed = {"random_state": random_state} if "random_state" in parameters else {}
    estimator.set_params(**(seed | dict(hyperparameters)))
    _validate(estimator, hyperparameters)
    return estimator


def check_limits(hyperparameters: Mapping[str, Any], limits: Limits) -> None:
    """Raises TrainingError(InvalidHyperparameter) for numbers that would hold the only place for trainings for ever."""
    for name, value in hyperparameters.items():
        own = name.rpartition("__")[2]
        most = limits.estimators if own == "n_estimators" else limits.iterations if own in _ITERATIONS else _INT32_MAX
        if isinstance(value, Integral) and abs(int(value)) > most:
            raise invalid(f"{name} is {str(value)[:30]}; at most {most} on this server", name)


def use_processors(estimator: Any, processors: int) -> None:
    """Lowers every `n_jobs` of an estimator and what is in it to the processors that there are: each is a thread."""
    parameters = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    for name, value in parameters.items():
        if (name == "n_jobs" or name.endswith("__n_jobs")) and isinstance(value, int) and value > processors:
            estimator.set_params(**{name: processors})


def schema(kind: Callable[..., Any]) -> dict[str, Any]:
    """JSON Schema of an estimator's hyperparameters: for each its default and what it may be.

    What JSON can't say (functions, other estimators) is left out.
    """
    estimator = kind()
    constraints = getattr(estimator, "_parameter_constraints", {})
    defaults = estimator.get_params(deep=False)
    properties: dict[str, Any] = {}
    for name, default in sorted(defaults.items()):
        found = _either(constraints.get(name, ()))
        if found is not None:
            properties[name] = found | ({"default": default} if _is_json(default) and default not in _NO_VALUE else {})
    return {"type": "object", "properties": properties, "additionalProperties": False}


def invalid(message: str, name: str | None = None) -> TrainingError:
    where = "/hyperparameters" if name is None else f"/hyperparameters/{name.replace('~', '~0').replace('/', '~1')}"
    return TrainingError(TrainingReason.INVALID_HYPERPARAMETER, message, where)


def _validate(estimator: Any, hyperparameters: Mapping[str, Any]) -> None:
    """Runs scikit-learn's parameter validation, which `fit` would run later, to fail before data are touched."""
    try:
        estimator._validate_params()
    except (ValueError, TypeError) as error:
        message = str(error)
        blamed = [name for name in hyperparameters if f"'{name}' parameter" in message]
        raise invalid(message, blamed[0] if blamed else None) from error


def _either(constraints: Iterable[Any]) -> dict[str, Any] | None:
    """The schema of a value that satisfies one of the constraints; None if no JSON value does."""
    if constraints == "no_validation":
        return {}
    found = [schema for constraint in constraints if (schema := _one(constraint)) is not None]
    if not found:
        return None
    return found[0] if len(found) == 1 else {"anyOf": found}


def _one(constraint: Any) -> dict[str, Any] | None:
    if constraint is None:
        return _BY_TYPE["NoneType"]
    if isinstance(constraint, str):
        return _BY_TYPE.get(constraint)
    if isinstance(constraint, type):
        return _BY_TYPE.get(constraint.__name__)
    options = getattr(constraint, "options", None)
    if options is not None:
        values = sorted((option for option in options if _is_json(option)), key=str)
        return {"enum": values} if values else None
    return _interval(constraint) if hasattr(constraint, "closed") else None


def _interval(interval: Any) -> dict[str, Any]:
    """scikit-learn's Interval(type, left, right, closed=left|right|both|neither)."""
    found: dict[str, Any] = {"type": "integer" if issubclass(interval.type, Integral) else "number"}
    if interval.left is not None and math.isfinite(interval.left):
        found["minimum" if interval.closed in ("left", "both") else "exclusiveMinimum"] = interval.left
    if interval.right is not None and math.isfinite(interval.right):
        found["maximum" if interval.closed in ("right", "both") else "exclusiveMaximum"] = interval.right
    return found


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
