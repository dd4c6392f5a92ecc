"""Compiled models are proven, and a program that is wrong in one bit is not served."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from fairlead_service import native
from fairlead_service.failures import LoadError
from fairlead_service.loading import choice, comparison, compile
from fairlead_service.loading.choice import Choice
from fairlead_service.loading.compile import Compiled
from fairlead_service.loading.estimator import Opened
from fairlead_service.loading.example import Example
from fairlead_service.loading.traits import traits
from fairlead_service.models.backends.native import linear
from fairlead_service.models.backends.native.program import Trees
from fairlead_service.models.bundle import Identity, Manifest, Proof

pytestmark = pytest.mark.skipif(
    not native.available(), reason="the kernel was not built: no C compiler at installation"
)

RANDOM = np.random.default_rng(3)
X = RANDOM.integers(0, 20, (300, 4)).astype(float)
"""Whole numbers, so that thresholds are halves, which float32 has exactly."""
Y = X @ [1.0, -2.0, 0.5, 0.0] + RANDOM.normal(size=300) > -5
VALUES = X @ [0.3, -0.1, 0.2, 0.7] + RANDOM.normal(size=300)
THREE = np.digitize(VALUES, [5.0, 10.0])
EXAMPLE = tuple(map(tuple, X[:3].tolist()))

Sabotage = Callable[[Compiled], None]


@pytest.fixture
def choose(tmp_path: Path) -> Callable[..., Choice]:
    def run(estimator: Any, example: Any = EXAMPLE, said: list[str] | None = None) -> Choice:
        found = traits(estimator, None, None if example is None else Example(None, example))
        draft = Manifest(
            identity=Identity(run_id="a" * 32, model_uri="runs:/a/model"),
            backend="sklearn",
            proof=Proof(rows=0, verdict="untested"),
            created_at=datetime.now(UTC),
            **found.manifest_fields(),
        )
        heard: list[str] = [] if said is None else said
        return choice.choose(Opened(estimator, b"skops", ()), found, draft, tmp_path, heard.append)

    return run


@pytest.fixture
def sabotaged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sabotage], None]:
    """Makes the compiler's arrays wrong before anyone sees them."""
    honest = compile.compile_model

    def install(sabotage: Sabotage) -> None:
        def wrong(estimator: Any) -> Any:
            made = honest(estimator)
            assert isinstance(made, Compiled)
            made = replace(made, arrays={name: array.copy() for name, array in made.arrays.items()})
            sabotage(made)
            return made

        monkeypatch.setattr(compile, "compile_model", wrong)

    return install


MODELS: dict[str, tuple[Any, Any]] = {
    "tree": (DecisionTreeClassifier(random_state=0), Y),
    "forest": (RandomForestClassifier(5, random_state=0, n_jobs=-1), THREE),
    "regression tree": (DecisionTreeRegressor(random_state=0, max_depth=5), VALUES),
    "boosting": (GradientBoostingClassifier(n_estimators=5), THREE),
    "boosted regression": (GradientBoostingRegressor(n_estimators=5), VALUES),
    "histogram boosting": (HistGradientBoostingClassifier(max_iter=5), Y),
    "histogram regression": (HistGradientBoostingRegressor(max_iter=5), VALUES),
    "linear": (LinearRegression(), VALUES),
    "logistic": (LogisticRegression(max_iter=1000), THREE),
    "scaled": (make_pipeline(StandardScaler(), LogisticRegression()), Y),
    "scaled tree": (make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)), Y),
    "categories": (make_pipeline(OneHotEncoder(), LogisticRegression()), Y),
}
OF_TREES = [name for name in MODELS if "tree" in name or "forest" in name or "boost" in name or "histogram" in name]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("example", [EXAMPLE, None], ids=["example", "no example"])
def test_proven(choose: Any, name: str, example: Any) -> None:
    estimator, target = MODELS[name]
    said: list[str] = []
    manifest = choose(estimator.fit(X, target), example, said).manifest
    assert (manifest.backend, manifest.fallback_reason, manifest.proof.verdict) == ("native", None, "identical")
    assert manifest.proof.rows > 100
    assert manifest.proof.batches
    assert manifest.program_format == 1
    assert "bit for bit" in said[0]


def test_the_same_model_gets_the_same_proof(choose: Any) -> None:
    estimator, target = MODELS["forest"]
    estimator.fit(X, target)
    assert choose(estimator).manifest.proof == choose(estimator).manifest.proof


def nudge_threshold(number: int) -> Sabotage:
    def change(made: Compiled) -> None:
        nodes = nodes_of(made)
        split = np.flatnonzero(nodes["feature"] >= 0)[number]
        nodes["threshold"][split] = np.nextafter(nodes["threshold"][split], -np.inf)

    return change


def nudge_leaf(made: Compiled) -> None:
    """In its last bit; where leaves are added up, by as many bits as a sum cannot lose."""
    assert isinstance(made.program.estimator, Trees)
    leaves = made.arrays[made.program.estimator.leaves]
    largest = np.unravel_index(np.argmax(np.abs(leaves)), leaves.shape)
    summed = made.program.estimator.combine == "sum"
    leaves[largest] = leaves[largest] * (1 + 1e-12) if summed else np.nextafter(leaves[largest], np.inf)


def swap_children(made: Compiled) -> None:
    nodes = nodes_of(made)
    for split in np.flatnonzero(nodes["feature"] >= 0)[::-1]:
        left = nodes["left"][split]
        children = nodes[left : left + 2]
        if (children["feature"] < 0).all():  # two leaves; others may not lie before their parents
            children[:] = children[::-1].copy()
            return
    raise AssertionError("no node has two leaves")


def nodes_of(made: Compiled) -> Any:
    assert isinstance(made.program.estimator, Trees)
    return made.arrays[made.program.estimator.nodes]


def refused(manifest: Manifest) -> str:
    assert (manifest.backend, manifest.proof.verdict) == ("sklearn", "loaded")
    assert manifest.fallback_reason is not None
    assert "does not answer as scikit-learn does" in manifest.fallback_reason
    return manifest.fallback_reason


@pytest.mark.parametrize("name", ["tree", "forest", "boosting"])
@pytest.mark.parametrize("number", [0, 1, 5, -1])
def test_a_threshold_that_is_wrong_in_its_last_bit(choose: Any, sabotaged: Any, name: str, number: int) -> None:
    estimator, target = MODELS[name]
    sabotaged(nudge_threshold(number))
    said: list[str] = []
    made = choose(estimator.fit(X, target), said=said)
    reason = refused(made.manifest)
    assert "differ from scikit-learn's in" in reason
    assert made.files == {"model.skops": b"skops"}
    assert reason in said[0]


@pytest.mark.parametrize("name", ["tree", "forest", "regression tree", "boosted regression", "histogram regression"])
def test_a_leaf_that_is_wrong_in_its_last_bits(choose: Any, sabotaged: Any, name: str) -> None:
    estimator, target = MODELS[name]
    sabotaged(nudge_leaf)
    assert "differ from scikit-learn's" in refused(choose(estimator.fit(X, target)).manifest)


@pytest.mark.parametrize("name", [name for name in OF_TREES if name != "scaled tree"])
def test_children_that_are_exchanged(choose: Any, sabotaged: Any, name: str) -> None:
    estimator, target = MODELS[name]
    sabotaged(swap_children)
    refused(choose(estimator.fit(X, target)).manifest)


@pytest.mark.parametrize("name", ["linear", "logistic", "scaled"])
def test_a_coefficient_that_is_wrong_in_its_last_bit(choose: Any, sabotaged: Any, name: str) -> None:
    def change(made: Compiled) -> None:
        array = max(made.arrays.values(), key=lambda array: array.size)
        array.flat[0] = np.nextafter(array.flat[0], np.inf)

    estimator, target = MODELS[name]
    sabotaged(change)
    refused(choose(estimator.fit(X, target)).manifest)


def test_a_program_that_does_not_open(choose: Any, sabotaged: Any) -> None:
    def change(made: Compiled) -> None:
        nodes_of(made)["left"][0] = 10**6

    sabotaged(change)
    manifest = choose(DecisionTreeClassifier().fit(X, Y)).manifest
    assert manifest.backend == "sklearn"
    assert "ProgramError" in (manifest.fallback_reason or "")


def test_without_the_kernel(choose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "available", lambda: False)
    manifest = choose(DecisionTreeClassifier().fit(X, Y)).manifest
    assert (manifest.backend, manifest.fallback_reason) == ("sklearn", choice.NO_KERNEL)
    assert manifest.proof == Proof(rows=3, verdict="loaded", batches=True)


def test_what_is_not_compiled(choose: Any) -> None:
    support = choose(SVC().fit(X, THREE)).manifest
    assert (support.backend, support.has_scores, support.proof.batches) == ("sklearn", True, True)
    assert "SVC" in (support.fallback_reason or "")
    pairs = choose(SVC(decision_function_shape="ovo").fit(X, np.digitize(VALUES, [4.0, 7.0, 10.0]))).manifest
    assert not pairs.has_scores  # six columns for four classes
    network = choose(MLPRegressor(max_iter=5).fit(X, VALUES)).manifest
    assert not network.proof.batches


class Counting(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Says the same of every row, and counts the rows."""

    def fit(self, rows: Any, labels: Any) -> "Counting":
        self.classes_, self.n_features_in_, self.asked_ = np.unique(labels), rows.shape[1], 0
        return self

    def predict(self, rows: Any) -> Any:
        self.asked_ += len(rows)
        return np.full(len(rows), self.classes_[0])


@pytest.mark.parametrize(("patience", "asked"), [(60.0, 300), (0.0, 15)])
def test_a_slow_model_is_asked_for_few_rows(
    choose: Any, monkeypatch: pytest.MonkeyPatch, patience: float, asked: int
) -> None:
    monkeypatch.setattr(comparison, "PATIENCE", patience)
    model = Counting().fit(X, Y)
    assert choose(model).manifest.proof.batches is (patience > 0)
    assert asked / 3 < model.asked_ < asked


def test_columns_selected_by_name(choose: Any) -> None:
    """scikit-learn takes DataFrames for them; compiled, they take matrices."""
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    scaled = make_pipeline(make_column_transformer((StandardScaler(), ["b", "a"])), LogisticRegression())
    assert choose(scaled.fit(frame, Y)).manifest.backend == "native"
    network = make_pipeline(make_column_transformer((StandardScaler(), ["b", "a"])), MLPRegressor(max_iter=5))
    with pytest.raises(LoadError, match="by their names"):
        choose(network.fit(frame, VALUES))


def test_requests_share_calls_only_if_that_changes_no_bit(choose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One product for the rows of several requests is what differs."""

    def one(rows: Any, ends: Any, transposed: Any, raw: Any) -> None:
        np.matmul(rows, transposed, raw)

    x = np.random.default_rng(0).normal(size=(60, 30))
    model = LogisticRegression().fit(x, np.arange(60) % 7)
    assert choose(model, None).manifest.proof.batches
    monkeypatch.setattr(linear, "_products", one)
    manifest = choose(model, None).manifest
    assert (manifest.backend, manifest.proof.batches) == ("native", False)
