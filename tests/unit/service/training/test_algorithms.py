from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
from sklearn.base import BaseEstimator

from fairlead_service.contract import TrainingReason
from fairlead_service.training import algorithms
from fairlead_service.training.algorithms import Algorithm
from fairlead_service.training.errors import TrainingError

BUILT_IN = ["gradient_boosting", "logistic_regression", "random_forest"]

plugin = Algorithm(name="plugin", task="regression", description="", build=lambda parameters, seed: ("built", seed))
not_an_algorithm = 3


def failure(name: str, **hyperparameters: Any) -> TrainingError:
    with pytest.raises(TrainingError) as caught:
        algorithms.find(name).build(hyperparameters, 42)
    return caught.value


def test_built_in_algorithms_are_entry_points() -> None:
    for name in BUILT_IN:
        found = algorithms.find(name)
        assert found.name == name
        assert found.task == "classification"
        assert isinstance(found.build({}, 1), BaseEstimator)


def test_unknown_algorithm_lists_the_known_ones() -> None:
    error = failure("random_forrest")
    assert error.reason is TrainingReason.UNKNOWN_ALGORITHM
    assert error.where == "/algorithm"
    assert "did you mean 'random_forest'" in error.message
    assert ", ".join(BUILT_IN) in error.message


def test_an_installed_package_adds_one() -> None:
    installed = EntryPoints([EntryPoint("plugin", f"{__name__}:plugin", algorithms.GROUP)])
    assert algorithms.find("plugin", installed).build({}, 7) == ("built", 7)


@pytest.mark.parametrize("target", ["no_such_module:x", f"{__name__}:no_such_name", f"{__name__}:not_an_algorithm"])
def test_a_broken_package_is_named(target: str) -> None:
    with pytest.raises(TrainingError, match=target.partition(":")[0]) as caught:
        algorithms.find("broken", EntryPoints([EntryPoint("broken", target, algorithms.GROUP)]))
    assert caught.value.reason is TrainingReason.TRAINING_FAILED


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters", "where", "words"),
    [
        ("random_forest", {"n_estimator": 5}, "/hyperparameters/n_estimator", "did you mean 'n_estimators'"),
        ("random_forest", {"zzz": 5}, "/hyperparameters/zzz", "valid: bootstrap, ccp_alpha"),
        ("random_forest", {"a/b~": 5}, "/hyperparameters/a~1b~0", "valid:"),
        ("random_forest", {"max_depth": "deep"}, "/hyperparameters/max_depth", "'max_depth' parameter"),
        ("random_forest", {"n_estimators": -1}, "/hyperparameters/n_estimators", "range [1, inf)"),
        ("random_forest", {"n_estimators": 10.5}, "/hyperparameters/n_estimators", "Got 10.5"),
        ("gradient_boosting", {"loss": "absolute"}, "/hyperparameters/loss", "log_loss"),
        ("gradient_boosting", {"learning_rate": None}, "/hyperparameters/learning_rate", "Got None"),
        ("logistic_regression", {"C": "strong"}, "/hyperparameters/C", "'C' parameter"),
        ("logistic_regression", {"classify__C": 1}, "/hyperparameters/classify__C", "valid: C, "),
        ("logistic_regression", {"random_state": "x"}, "/hyperparameters/random_state", "random_state"),
    ],
)
def test_bad_hyperparameters(algorithm: str, hyperparameters: dict[str, Any], where: str, words: str) -> None:
    error = failure(algorithm, **hyperparameters)
    assert error.reason is TrainingReason.INVALID_HYPERPARAMETER
    assert error.where == where
    assert words in error.message


def test_random_state_reaches_the_estimator_unless_overridden() -> None:
    assert algorithms.find("random_forest").build({}, 7).random_state == 7
    assert algorithms.find("random_forest").build({"random_state": 9}, 7).random_state == 9
    assert algorithms.find("logistic_regression").build({"C": 2.0}, 7).named_steps["classify"].C == 2.0
