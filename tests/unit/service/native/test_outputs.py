"""From raw values to outputs: the same operations as scikit-learn's, on the same memory order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn._loss.loss import ExponentialLoss, HalfBinomialLoss
from sklearn.utils.extmath import softmax

from fairlead_service.models.backends import Want
from fairlead_service.models.backends.native.outputs import build_output
from fairlead_service.models.backends.native.program import Output, ProgramError
from tests.examples import examples

ALL = Want(probabilities=True, scores=True)
SCORES = st.floats(-800, 800) | st.sampled_from([0.0, -0.0, 1e308, -1e308])


@settings(max_examples=examples(50))
@given(raw=arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 12)), elements=SCORES))
@pytest.mark.parametrize("order", ["C", "F"])
def test_softmax_is_scikit_learns_in_both_memory_orders(raw: Any, order: Any) -> None:
    raw = np.asarray(raw, order=order)
    before = raw.copy(order="K")
    build = build_output(Output(kind="multiclass", probabilities="softmax"), raw.shape[1], range(raw.shape[1]))
    outputs = build(raw, ALL)
    with np.errstate(all="ignore"):
        expected = softmax(raw)
    assert outputs.probabilities is not None
    assert outputs.scores is not None
    assert outputs.probabilities.tobytes() == expected.tobytes()
    assert outputs.scores.tobytes() == before.tobytes()
    assert outputs.predictions.tolist() == np.argmax(before, axis=1).tolist()


@settings(max_examples=examples(50))
@given(scores=arrays(np.float64, st.integers(1, 20), elements=SCORES), positive=st.booleans())
@pytest.mark.parametrize(("kind", "loss"), [("expit", HalfBinomialLoss()), ("expit_twice", ExponentialLoss())])
def test_two_classes_have_scikit_learns_probabilities(kind: Any, loss: Any, scores: Any, positive: bool) -> None:
    record = Output(kind="binary", zero_is_positive=positive, probabilities=kind)
    with np.errstate(all="ignore"):
        outputs = build_output(record, 1, ["no", "yes"])(scores.reshape(-1, 1).copy(), ALL)
        expected = loss.predict_proba(scores)
    assert outputs.probabilities is not None
    assert outputs.scores is not None
    assert outputs.probabilities.tobytes() == expected.tobytes()
    assert outputs.scores.tobytes() == scores.tobytes()
    chosen = scores >= 0 if positive else scores > 0
    assert outputs.predictions.tolist() == np.where(chosen, "yes", "no").tolist()


def test_values_are_raw_and_exp_is_numpys() -> None:
    raw = np.random.default_rng(0).normal(size=(33, 1)) * 100
    assert build_output(Output(kind="value"), 1, None)(raw, Want()).predictions.tobytes() == raw.tobytes()
    answer = build_output(Output(kind="exp"), 1, None)(raw, Want())
    assert answer.predictions.tobytes() == np.exp(raw.ravel()).tobytes()


def test_votes_are_their_own_probabilities_and_ties_go_to_the_first() -> None:
    raw = np.array([[0.5, 0.5, 0.0], [0.2, 0.4, 0.4]])
    outputs = build_output(Output(kind="vote", probabilities="vote"), 3, ["a", "b", "c"])(raw, ALL)
    assert outputs.predictions.tolist() == ["a", "b"]
    assert outputs.probabilities is raw
    assert outputs.scores is None


def test_only_what_is_wanted_is_there() -> None:
    outputs = build_output(Output(kind="binary", probabilities="expit"), 1, [0, 1])(np.zeros((3, 1)), Want())
    assert outputs.probabilities is None
    assert outputs.scores is None


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([False, True], bool), ([1, 2], np.int64), ([0.5, 1.0], np.float64), (["a", "é"], "<U1"), ([True, 2], object)],
)
def test_labels_keep_their_type(labels: list[Any], dtype: Any) -> None:
    found = build_output(Output(kind="binary"), 1, labels)(np.array([[-1.0], [1.0]]), Want()).predictions
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == labels


@pytest.mark.parametrize(
    ("record", "width", "classes"),
    [
        (Output(kind="value", probabilities="vote"), 1, None),
        (Output(kind="value"), 2, None),
        (Output(kind="binary"), 2, (0, 1)),
        (Output(kind="binary"), 1, (0, 1, 2)),
        (Output(kind="binary"), 1, None),
        (Output(kind="vote"), 3, (0, 1)),
        (Output(kind="multiclass", probabilities="expit"), 3, (0, 1, 2)),
        (Output(kind="vote", probabilities="softmax"), 2, (0, 1)),
    ],
)
def test_what_does_not_fit_together_is_refused(record: Output, width: int, classes: Any) -> None:
    with pytest.raises(ProgramError):
        build_output(record, width, classes)
