"""The self-test against models that answer wrongly in each way."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import proof
from fairlead_service.loading.columns import Columns
from fairlead_service.loading.traits import Traits, traits
from fairlead_service.models.bundle import Label

ROWS = ((1.0, 2.0), (3.0, 4.0))


@dataclass
class Answers:
    predictions: Any
    probabilities: Any = None

    def predict(self, x: Any) -> Any:
        return self.predictions

    def predict_proba(self, x: Any) -> Any:
        return self.probabilities


def promised(classes: tuple[Label, ...] | None, has_probabilities: bool = False) -> Traits:
    task: Any = "regression" if classes is None else "classification"
    return Traits("tests.Answers", task, Columns(2, None, None, None), classes, has_probabilities)


@pytest.mark.parametrize(
    ("answers", "found", "words"),
    [
        (Answers([1, 2, 3]), promised((1, 2)), "shape"),
        (Answers([[1], [2]]), promised((1, 2)), "shape"),
        (Answers([1, 3]), promised((1, 2)), r"outside its classes: \[3\]"),
        (Answers(["a", "b"]), promised(None), "finite numbers"),
        (Answers([1.0, np.inf]), promised(None), "finite numbers"),
        (Answers([1, 2], [[1.0], [1.0]]), promised((1, 2), True), "shape"),
        (Answers([1, 2], [[1.0, np.nan], [0.5, 0.5]]), promised((1, 2), True), "not finite"),
    ],
)
def test_wrong_answers(answers: Answers, found: Traits, words: str) -> None:
    with pytest.raises(LoadError, match=words) as caught:
        proof.self_test(answers, found, ROWS)
    assert caught.value.reason is FailureReason.SELF_TEST_FAILED


def test_right_answers() -> None:
    answers = Answers([1, 2], [[1.0, 0.0], [0.0, 1.0]])
    assert proof.self_test(answers, promised((1, 2), True), ROWS).verdict == "loaded"
    assert proof.self_test(Answers([1.5, 2]), promised(None), ROWS).rows == 2


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SVC, "sklearn.svm.SVC"),
        (lambda: make_pipeline(SVC()), "sklearn.pipeline.Pipeline"),
        (HistGradientBoostingClassifier, "sklearn.ensemble.HistGradientBoostingClassifier"),
    ],
)
def test_public_name(kind: Any, name: str) -> None:
    assert traits(kind().fit([[1.0], [2.0]], [0, 1]), None, None).estimator == name
