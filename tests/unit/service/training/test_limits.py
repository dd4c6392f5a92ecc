"""Hyperparameters that would hold the only place for trainings for ever, or more threads than there are processors."""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from fairlead_service.contract import TrainingReason
from fairlead_service.training import hyperparameters, plans
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.request import Limits, TrainingRequest
from fairlead_service.training.table import Table

X = np.random.default_rng(0).normal(size=(20, 2))


def plan(**fields: Any) -> plans.Plan:
    request = TrainingRequest.model_validate({"algorithm": "random_forest", "target": [0, 1] * 10} | fields)
    return plans.make(request, Table(X, request.target or [], None))


@pytest.mark.parametrize(
    ("fields", "where", "most"),
    [
        ({"hyperparameters": {"n_estimators": 10**19}}, "/hyperparameters/n_estimators", 10_000),
        ({"hyperparameters": {"n_estimators": 10_001}}, "/hyperparameters/n_estimators", 10_000),
        ({"hyperparameters": {"max_leaf_nodes": 2**31}}, "/hyperparameters/max_leaf_nodes", 2**31 - 1),
        (
            {"algorithm": "logistic_regression", "hyperparameters": {"max_iter": 10**9}},
            "/hyperparameters/max_iter",
            100_000,
        ),
        ({"hyperparameters": {"n_estimators": 6}, "limits": {"estimators": 5}}, "/hyperparameters/n_estimators", 5),
        (
            {"search": {"method": "grid", "parameters": {"n_estimators": [5, 10**6]}}},
            "/search/parameters/n_estimators",
            10_000,
        ),
        (
            {
                "search": {
                    "method": "random",
                    "iterations": 2,
                    "parameters": {"n_estimators": {"low": 10**8, "high": 10**9}},
                }
            },
            "/search/parameters/n_estimators",
            10_000,
        ),
    ],
)
def test_what_would_take_for_ever_is_refused(fields: dict[str, Any], where: str, most: int) -> None:
    with pytest.raises(TrainingError, match=f"at most {most} on this server") as caught:
        plan(**fields)
    assert caught.value.reason is TrainingReason.INVALID_HYPERPARAMETER
    assert caught.value.where == where


def test_what_people_use_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(hyperparameters={"n_estimators": 10_000, "max_depth": 50, "random_state": 2**31 - 1})
    assert found.build(found.request.hyperparameters).n_estimators == 10_000
    assert Limits().estimators == 10_000


@pytest.mark.parametrize(("asked", "used"), [(3000, 2), (10**9, 2), (2, 2), (1, 1), (-1, -1), (None, None)])
def test_no_more_threads_than_processors(monkeypatch: pytest.MonkeyPatch, asked: Any, used: Any) -> None:
    monkeypatch.setattr(plans, "_processors", lambda: 2)
    found = plan(hyperparameters={"n_jobs": asked})
    assert found.build(found.request.hyperparameters).n_jobs == used


def test_of_what_is_within_an_estimator() -> None:
    forest = RandomForestClassifier(n_jobs=50)
    estimator = make_pipeline(VotingClassifier([("a", forest), ("b", LogisticRegression())], n_jobs=40))
    hyperparameters.use_processors(estimator, 3)
    found = estimator.get_params(deep=True)
    assert {value for name, value in found.items() if name.endswith("n_jobs") and value is not None} == {3}
    hyperparameters.use_processors(("no", "estimator"), 3)
