import math
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from fairlead_service.contract import TrainingReason
from fairlead_service.training import metrics
from fairlead_service.training.errors import TrainingError
from fairlead_service.training.metrics import Metric, Scored

X = np.random.default_rng(0).random((40, 2))
Y = (X[:, 0] > 0.5).astype(int)
THREE = np.digitize(X[:, 0], [0.3, 0.6])
LABELS = {"accuracy", "balanced_accuracy", "precision", "recall", "f1"}
UNIT = LABELS | {"roc_auc"}

hits = Metric("hits", "classification", lambda found: float((found.y == found.predicted).sum()), "Rows that are right")


def scores(estimator: Any, x: Any, y: Any, task: str = "classification") -> dict[str, float]:
    said: list[str] = []
    found = metrics.evaluate(metrics.installed(task), Scored(estimator, x, y), said.append)
    assert said == []
    return found


@pytest.mark.parametrize("y", [Y, THREE, Y.astype(bool), np.array(["no", "yes"])[Y], Y.astype(float)])
def test_classification(y: Any) -> None:
    found = scores(LogisticRegression().fit(X, y), X, y)
    assert set(found) == UNIT | {"log_loss"}
    assert all(0 <= found[name] <= 1 for name in UNIT)
    assert found["roc_auc"] > 0.9


def test_a_class_that_is_never_found_shows() -> None:
    rare = np.array([0] * 38 + [1] * 2)
    found = scores(LogisticRegression().fit(np.zeros((40, 1)), rare), np.zeros((40, 1)), rare)
    assert found["accuracy"] == 0.95
    assert found["balanced_accuracy"] == found["recall"] == 0.5


def test_without_probabilities() -> None:
    found = scores(LinearSVC().fit(X, Y), X, Y)
    assert set(found) == UNIT
    assert found["roc_auc"] > 0.9
    assert set(scores(LinearSVC().fit(X, THREE), X, THREE)) == LABELS


def test_an_undefined_area_is_left_out() -> None:
    found = scores(LogisticRegression().fit(X, Y), X[Y == 1], Y[Y == 1])
    assert "roc_auc" not in found
    assert math.isfinite(found["log_loss"])


def test_regression() -> None:
    y = 2 * X[:, 0] + 1
    found = scores(LinearRegression().fit(X, y), X, y, "regression")
    assert found["r2"] == pytest.approx(1)
    assert found["root_mean_squared_error"] == pytest.approx(0)


def entries(**named: str) -> EntryPoints:
    return EntryPoints([EntryPoint(name, value, metrics.GROUP) for name, value in named.items()])


def test_an_installed_package_adds_one() -> None:
    (found,) = metrics.installed("classification", entries(hits=f"{__name__}:hits"))
    assert found.of(Scored(LogisticRegression().fit(X, Y), X, Y)) > 30  # type: ignore[operator]
    assert metrics.installed("regression", entries(hits=f"{__name__}:hits")) == []


def test_one_that_fails_is_told_and_left_out() -> None:
    def fail(found: Scored) -> float:
        raise KeyError("amount")

    said: list[str] = []
    known = [Metric("profit", "classification", fail, ""), Metric("none", "classification", lambda _: None, ""), hits]
    found = metrics.evaluate(known, Scored(LogisticRegression().fit(X, Y), X, Y), said.append)
    assert set(found) == {"hits"}
    assert said == ["metric profit failed: KeyError: 'amount'"]


def test_a_broken_package_is_named() -> None:
    broken = entries(broken="no_such_module:x")
    with pytest.raises(TrainingError, match="no_such_module") as caught:
        metrics.installed("classification", broken)
    assert caught.value.reason is TrainingReason.TRAINING_FAILED
    (described,) = metrics.describe(broken)
    assert "no_such_module" in described["error"]


def test_choosing() -> None:
    known = metrics.installed("classification")
    assert metrics.choose(known, None, "classification").name == "accuracy"
    assert not metrics.choose(known, "log_loss", "classification").greater_is_better
    with pytest.raises(TrainingError, match="did you mean 'accuracy'") as caught:
        metrics.choose(known, "acuracy", "classification")
    assert caught.value.where == "/search/metric"


def test_all_are_described() -> None:
    described = {metric["name"]: metric for metric in metrics.describe()}
    assert described["accuracy"]["package"] == "fairlead"
    assert all(metric["description"] and metric["task"] for metric in described.values())
