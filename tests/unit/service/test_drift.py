"""Drift: shifted data shows, unshifted data does not, and keeping rows never fails."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from fairlead_service.models.bundle import FeatureReference
from fairlead_service.observability.drift import KEPT, MIN_ROWS, Drift, DriftCollector, psi, reference
from fairlead_service.observability.recent import EVERY, Recent

floats = st.floats(-1e6, 1e6) | st.just(math.nan) | st.integers(0, 3).map(float)


def fed(training: np.ndarray, rows: np.ndarray, batch: int) -> Drift:
    recent = kept(rows, batch)
    return Drift([reference(training[:, column]) for column in range(training.shape[1])], recent)


def kept(rows: np.ndarray, batch: int) -> Recent:
    recent = Recent(rows.shape[1], KEPT)
    for start in range(0, len(rows), batch):
        recent.offer(rows[start : start + batch])
    return recent


@pytest.mark.parametrize("batch", [1, 7, 5000])
def test_the_feature_that_shifted_is_the_one_that_shows(batch: int) -> None:
    rng = np.random.default_rng(0)
    training, rows = rng.normal(size=(5000, 3)), rng.normal(size=(5000, 3))
    rows[:, 1] += 1
    values = fed(training, rows, batch).psi()
    assert values is not None
    assert values[1] > 0.25
    assert max(values[0], values[2]) < 0.1


def test_missing_values_that_training_did_not_have_show() -> None:
    rng = np.random.default_rng(0)
    training, rows = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 1))
    rows[::2] = np.nan
    values = fed(training, rows, 100).psi()
    assert values is not None
    assert values[0] > 0.25


def test_few_rows_say_nothing() -> None:
    rows = np.zeros((EVERY * (MIN_ROWS - 1), 1))
    assert fed(rows, rows, 1).psi() is None
    assert fed(rows, np.zeros((EVERY * MIN_ROWS, 1)), 1).psi() == [0.0]


def test_only_the_newest_rows_count() -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=(5000, 1))
    recent = kept(rng.normal(size=(5000, 1)) + 5, 50)
    for _ in range(KEPT):
        recent.offer(rng.normal(size=(EVERY, 1)))
    values = Drift([reference(training[:, 0])], recent).psi()
    assert values is not None
    assert values[0] < 0.1


@given(arrays.arrays(np.float64, st.integers(1, 60), elements=floats))
def test_a_sample_does_not_drift_from_itself(values: np.ndarray) -> None:
    found = reference(values)
    assert len(found.shares) == len(found.edges) + 2
    assert math.isclose(sum(found.shares), 1)
    assert psi(values, found) == pytest.approx(0, abs=1e-12)


@given(arrays.arrays(np.float64, st.integers(1, 60), elements=floats), arrays.arrays(np.float64, 20, elements=floats))
def test_an_index_is_a_number_and_not_negative(training: np.ndarray, values: np.ndarray) -> None:
    index = psi(values, reference(training))
    assert math.isfinite(index)
    assert index >= 0


@pytest.mark.parametrize(
    ("edges", "shares"),
    [((1.0,), (0.5, 0.5)), ((2.0, 1.0), (0.2, 0.3, 0.5, 0.0)), ((1.0,), (1.5, -0.5, 0.0)), ((math.nan,), (1, 0, 0))],
)
def test_a_reference_that_could_not_be_one_is_refused(edges: tuple[float, ...], shares: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        FeatureReference(edges=edges, shares=shares)


def test_a_model_without_a_reference_exports_nothing() -> None:
    collector = DriftCollector()
    assert [family.samples for family in collector.collect()] == [[]]
    drift = fed(np.zeros((10, 1)), np.zeros((EVERY * MIN_ROWS, 1)), 1)
    collector.serve(drift, ("age",))
    (sample,) = next(collector.collect()).samples
    assert (sample.name, sample.labels, sample.value) == ("feature_drift_psi", {"feature": "age"}, 0.0)
