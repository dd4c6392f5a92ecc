"""Drift: shifted data shows, unshifted data does not, and keeping rows never fails."""

import math
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError
from sklearn.linear_model import LinearRegression

from fairlead_service.contract import DRIFT_PSI_THRESHOLD
from fairlead_service.models.bundle import ClassReference, FeatureReference
from fairlead_service.observability.drift import (
    KEPT,
    MAX_FEATURES,
    MIN_REFERENCE_ROWS,
    MIN_ROWS,
    Drift,
    class_psi,
    class_shares,
    prediction_reference,
    psi,
    reference,
    references,
)
from fairlead_service.observability.drift_metrics import NO_MODEL, NO_REFERENCE, SHOWN, DriftCollector
from fairlead_service.observability.recent import EVERY, Recent
from fairlead_service.settings import Settings
from tests.unit.service.support import FEATURES, running, tree, write_bundle

floats = st.floats(-1e6, 1e6) | st.just(math.nan) | st.integers(0, 3).map(float)
numbers = arrays.arrays(np.float64, st.integers(1, 60), elements=floats)
labels = st.sampled_from(["a", "b", "c", "d"])


def fed(training: np.ndarray, rows: np.ndarray, batch: int) -> Drift:
    return Drift([reference(column) for column in training.T], None, (), kept(rows, batch))


def kept(rows: np.ndarray, batch: int, predictions: Any = None) -> Recent:
    recent = Recent(rows.shape[1], KEPT)
    answers = np.zeros(len(rows)) if predictions is None else np.asarray(predictions)
    for start in range(0, len(rows), batch):
        recent.offer(rows[start : start + batch], answers[start : start + batch])
    return recent


@pytest.mark.parametrize("batch", [1, 7, 5000])
def test_the_feature_that_shifted_is_the_one_that_shows(batch: int) -> None:
    rng = np.random.default_rng(0)
    training, rows = rng.normal(size=(5000, 3)), rng.normal(size=(5000, 3))
    rows[:, 1] += 1
    values = fed(training, rows, batch).indices().features
    assert values is not None
    assert values[1] > DRIFT_PSI_THRESHOLD
    assert max(values[0], values[2]) < 0.1


def test_missing_values_that_training_did_not_have_show() -> None:
    rng = np.random.default_rng(0)
    training, rows = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 1))
    rows[::2] = np.nan
    values = fed(training, rows, 100).indices().features
    assert values is not None
    assert values[0] > DRIFT_PSI_THRESHOLD


def test_few_rows_say_nothing() -> None:
    rows = np.zeros((EVERY * (MIN_ROWS - 1), 1))
    few = fed(rows, rows, 1).indices()
    assert (few.rows, few.features, few.predictions) == (MIN_ROWS - 1, None, None)
    enough = fed(rows, np.zeros((EVERY * MIN_ROWS, 1)), 1).indices()
    assert (enough.rows, enough.features) == (MIN_ROWS, (0.0,))


def test_a_small_training_set_is_no_reference() -> None:
    few, enough = np.zeros((MIN_REFERENCE_ROWS - 1, 2)), np.zeros((MIN_REFERENCE_ROWS, 2))
    assert references(few) is None
    assert len(references(enough) or ()) == 2
    assert references(np.zeros((MIN_REFERENCE_ROWS, MAX_FEATURES + 1))) is None
    assert prediction_reference(few[:, 0], None) is None
    assert isinstance(prediction_reference(enough[:, 0], None), FeatureReference)
    assert prediction_reference(np.array(["x"] * 100), ("x", "y")) == ClassReference(rows=100, shares=(1.0, 0.0))


@pytest.mark.parametrize(("rows", "bins"), [(100, 2), (199, 3), (400, 8), (500, 10), (50_000, 10)])
def test_there_are_as_many_bins_as_the_training_rows_bear(rows: int, bins: int) -> None:
    assert len(reference(np.arange(rows, dtype=np.float64)).edges) == bins - 1


def test_only_the_newest_rows_count() -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=(5000, 1))
    recent = kept(rng.normal(size=(5000, 1)) + 5, 50)
    for _ in range(KEPT):
        recent.offer(rng.normal(size=(EVERY, 1)), np.zeros(EVERY))
    found = Drift([reference(training[:, 0])], None, (), recent).indices()
    assert found.rows == KEPT
    assert found.features is not None
    assert found.features[0] < 0.1


@pytest.mark.parametrize("classes", [(0, 1), (False, True), ("no", "yes"), (0.0, 1.0)])
def test_answers_that_moved_show(classes: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(0)
    trained = np.array(classes)[rng.integers(0, 2, 2000)]
    rows = np.zeros((EVERY * KEPT, 1))
    for share, drifted in ((0.5, False), (0.8, True)):
        answers = np.array(classes)[(rng.random(len(rows)) < share).astype(int)]
        drift = Drift(None, prediction_reference(trained, classes), classes, kept(rows, 100, answers))
        found = drift.indices().predictions
        assert found is not None
        assert (found > DRIFT_PSI_THRESHOLD) is drifted


def test_a_regressors_answers_are_compared_as_numbers_are() -> None:
    rng = np.random.default_rng(0)
    trained, rows = prediction_reference(rng.normal(size=2000), None), np.zeros((EVERY * KEPT, 1))
    for shift, drifted in ((0.0, False), (1.0, True)):
        found = Drift(None, trained, (), kept(rows, 100, rng.normal(shift, size=len(rows)))).indices()
        assert found.features is None
        assert found.predictions is not None
        assert (found.predictions > DRIFT_PSI_THRESHOLD) is drifted


def test_many_classes_are_not_an_alarm_by_themselves() -> None:
    rng = np.random.default_rng(0)
    classes = tuple(range(100))
    trained = prediction_reference(rng.integers(0, 100, 5000), classes)
    assert isinstance(trained, ClassReference)
    assert class_psi(class_shares(rng.integers(0, 100, MIN_ROWS), classes), trained) < DRIFT_PSI_THRESHOLD


@given(numbers)
def test_a_sample_does_not_drift_from_itself(values: np.ndarray) -> None:
    found = reference(values)
    assert len(found.shares) == len(found.edges) + 2
    assert math.isclose(sum(found.shares), 1)
    assert psi(values, found) == pytest.approx(0, abs=1e-12)


@given(numbers, arrays.arrays(np.float64, 20, elements=floats))
def test_an_index_is_a_number_and_not_negative(training: np.ndarray, values: np.ndarray) -> None:
    index = psi(values, reference(training))
    assert math.isfinite(index)
    assert index >= 0


@given(st.lists(labels, min_size=1, max_size=300), st.lists(labels, min_size=1), st.permutations("abcd"))
def test_an_index_of_classes_is_a_number_whatever_their_order(
    training: list[str], answers: list[str], order: list[str]
) -> None:
    def index(classes: list[str], answered: list[str]) -> float:
        shares = tuple(class_shares(np.array(training), classes).tolist())
        return class_psi(class_shares(np.array(answered), classes), ClassReference(rows=len(training), shares=shares))

    assert index(order, training) == 0
    assert 0 <= index(order, answers) < math.inf
    if len(training) >= 200:  # as many bins as classes; below, which of equally rare classes are one is their order's
        assert index(order, answers) == pytest.approx(index(list("abcd"), answers))


@pytest.mark.parametrize(
    ("edges", "shares"),
    [((1.0,), (0.5, 0.5)), ((2.0, 1.0), (0.2, 0.3, 0.5, 0.0)), ((1.0,), (1.5, -0.5, 0.0)), ((math.nan,), (1, 0, 0))],
)
def test_a_reference_that_could_not_be_one_is_refused(edges: tuple[float, ...], shares: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        FeatureReference(edges=edges, shares=shares)


@pytest.mark.parametrize("answers", [ClassReference(rows=9, shares=(1.0,)), FeatureReference(edges=(), shares=(1, 0))])
def test_a_reference_of_other_answers_than_the_models_is_refused(
    tmp_path: Path, answers: ClassReference | FeatureReference
) -> None:
    manifest = write_bundle(tmp_path / "b", tree()).manifest
    with pytest.raises(ValidationError, match="prediction_reference"):
        type(manifest)(**(dict(manifest) | {"prediction_reference": answers}))


def test_a_model_without_a_reference_exports_nothing_and_says_why() -> None:
    collector = DriftCollector()
    assert [family.samples for family in collector.collect()] == [[], [], []]
    assert collector.summary()["why_none"] == NO_MODEL
    collector.serve(None, ("age",))
    assert collector.summary()["why_none"] == NO_REFERENCE
    assert [family.samples for family in collector.collect()] == [[], [], []]


def test_the_features_that_drifted_most_are_shown_first() -> None:
    rng = np.random.default_rng(0)
    training, rows = rng.normal(size=(1000, 20)), rng.normal(size=(EVERY * KEPT, 20))
    rows[:, 7] += 1
    collector = DriftCollector()
    collector.serve(fed(training, rows, 100), tuple(f"f{column}" for column in range(20)))
    shown = collector.summary()["features"]
    assert shown[0]["feature"] == "f7"
    assert len(shown) == SHOWN
    assert [item["psi"] for item in shown] == sorted((item["psi"] for item in shown), reverse=True)


async def asked(client: httpx.AsyncClient, rows: np.ndarray) -> dict[str, float]:
    """The drift metrics after these rows were predicted, by name and feature."""
    for start in range(0, len(rows), 500):
        answer = await client.post("/predict", json={"features": rows[start : start + 500].tolist()})
        assert answer.status_code == 200, answer.text
    lines = (await client.get("/metrics")).text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if re.match("[a-z_]*drift", line)}


@pytest.mark.parametrize("regression", [False, True])
async def test_over_http_shifted_rows_are_detected_and_unshifted_are_not(tmp_path: Path, regression: bool) -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=(1000, 4))
    model = LinearRegression().fit(training, training[:, 0]) if regression else tree((training[:, 0] > 0) * 1, training)
    classes = None if regression else tuple(model.classes_.tolist())
    answers = prediction_reference(model.predict(training), classes)
    write_bundle(tmp_path / "b", model, drift_reference=references(training), prediction_reference=answers)
    shifted = rng.normal([1, 0, 0, 0], size=(EVERY * KEPT, 4))
    async with running(Settings(role="predictor", bundle_dir=tmp_path / "b")) as (client, _):
        assert (await client.get("/model/info")).json()["has_drift_reference"]
        few = await asked(client, rng.normal(size=(4, 4)))
        assert few == {"drift_sample_rows": 1.0}
        assert "are needed" in (await client.get("/metrics/summary")).json()["drift"]["why_none"]
        quiet = await asked(client, rng.normal(size=(EVERY * KEPT, 4)))
        assert quiet.keys() == {f'feature_drift_psi{{feature="{name}"}}' for name in FEATURES} | {
            "prediction_drift_psi",
            "drift_sample_rows",
        }
        assert max(value for name, value in quiet.items() if "psi" in name) < 0.1
        loud = await asked(client, shifted)
        assert loud["drift_sample_rows"] == KEPT
        above = {name for name, value in loud.items() if "psi" in name and value > DRIFT_PSI_THRESHOLD}
        assert above == {f'feature_drift_psi{{feature="{FEATURES[0]}"}}', "prediction_drift_psi"}
        summary = (await client.get("/metrics/summary")).json()["drift"]
        assert summary["features"][0]["feature"] == FEATURES[0]
        assert summary["predictions"] == pytest.approx(loud["prediction_drift_psi"])
        assert (summary["sample_rows"], summary["why_none"]) == (KEPT, None)
