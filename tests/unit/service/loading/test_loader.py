"""A load with the model's files on disk instead of in MLflow, to shape them as no honest store would."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import skops.io
import yaml
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from fairlead_service import termination
from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import loader, memory, versions
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.versions import VersionPolicy
from fairlead_service.models import bundle
from tests.unit.service.loading.directory import RUN, URI, Directory

EXAMPLE = [[0.1, 0.9], [0.9, 0.1]]
X = np.random.default_rng(0).random((20, 2))
WORDS = np.array(["no", "yes"])[(X[:, 0] > 0.5).astype(int)]
OTHER_VERSION = "0.24.2"


def flavor(**changes: Any) -> dict[str, Any]:
    installed = versions.installed()["scikit-learn"]
    whole = {"pickled_model": "model.skops", "serialization_format": "skops", "sklearn_version": installed}
    return whole | changes


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Directory]:
    """Writes a logged model's files; keyword arguments replace parts of it."""

    def write(estimator: Any = None, example: Any = EXAMPLE, claims: Any = None, **changes: Any) -> Directory:
        root = tmp_path / "logged"
        root.mkdir()
        fitted = LogisticRegression().fit(X, WORDS) if estimator is None else estimator
        document = {
            "flavors": {"sklearn": flavor(**changes.pop("flavor", {}))},
            "saved_input_example_info": {"artifact_path": "input_example.json"},
        }
        (root / "MLmodel").write_text(yaml.safe_dump(document | changes.pop("document", {})))
        (root / "model.skops").write_bytes(skops.io.dumps(fitted))
        (root / "model.pkl").write_bytes(cloudpickle.dumps(fitted))
        (root / "requirements.txt").write_text(changes.pop("requirements", ""))
        if example is not None:
            (root / "input_example.json").write_text(json.dumps({"inputs": example}))
        return Directory(root, **(claims or {}))

    return write


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., bundle.Bundle]:
    def run(source: Directory, said: list[str] | None = None, **options: Any) -> bundle.Bundle:
        (tmp_path / "out").mkdir(exist_ok=True)
        heard: list[str] = [] if said is None else said
        try:
            return loader.load(
                URI,
                tmp_path / "out" / "b",
                source,
                LoadOptions(**options),
                lambda stage, text: heard.append(f"{stage} {text}"),
            )
        finally:
            assert [path.name for path in (tmp_path / "out").iterdir()] in ([], ["b"])  # no litter

    return run


def failure(load: Callable[..., bundle.Bundle], source: Directory, **options: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load(source, **options)
    return caught.value


def test_whole(load: Any, model: Any, tmp_path: Path) -> None:
    said: list[str] = []
    made = load(model(requirements="numpy==2.0.0\n"), said, name="fraud", version="3")
    found = bundle.read(tmp_path / "out" / "b")
    assert found == made
    assert found.manifest.identity == bundle.Identity(run_id=RUN, model_uri=URI, name="fraud", version="3")
    assert found.manifest.estimator == "sklearn.linear_model.LogisticRegression"
    assert found.manifest.classes == ("no", "yes")
    assert found.manifest.has_probabilities
    assert found.manifest.n_features == 2
    assert (found.manifest.backend, found.manifest.fallback_reason) == ("native", None)
    assert found.manifest.proof.verdict == "identical"
    assert sorted(found.manifest.files) == ["arrays.bin", "program.json"]
    assert found.manifest.model_sha256 == hashlib.sha256((tmp_path / "logged" / "model.skops").read_bytes()).hexdigest()
    assert found.manifest.made_with["fairlead"]
    assert found.manifest.trained_with["numpy"] == "2.0.0"
    assert [line.split()[0] for line in said] == ["fetch", "check", "check", "prove", "prove", "write"]
    assert "model was trained with numpy 2.0.0" in said[1]


def test_regression(load: Any, model: Any) -> None:
    made = load(model(LinearRegression().fit(X, X[:, 0])))
    assert (made.manifest.task, made.manifest.classes, made.manifest.has_probabilities) == ("regression", None, False)


def test_without_an_example(load: Any, model: Any) -> None:
    assert load(model(example=None)).manifest.proof.verdict == "identical"


def test_neither_compiled_nor_tested(load: Any, model: Any) -> None:
    made = load(model(SVC().fit(X, WORDS), example=None))
    assert made.manifest.proof == bundle.Proof(rows=0, verdict="untested", batches=True)
    assert list(made.manifest.files) == [bundle.SKOPS_FILE]


def test_named_columns_are_served_by_their_order(load: Any, model: Any) -> None:
    signature = {"inputs": json.dumps([{"type": "double", "name": "b"}, {"type": "long", "name": "a"}])}
    assert load(model(document={"signature": signature})).manifest.feature_names == ("b", "a")


PICKLED = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}


def test_pickle_is_rewritten(load: Any, model: Any) -> None:
    source = model(KNeighborsClassifier(algorithm="kd_tree").fit(X, WORDS), flavor=PICKLED)
    assert failure(load, source).reason is FailureReason.MODEL_REFUSED
    made = load(source, allow_pickle=True)
    assert list(made.manifest.files) == [bundle.SKOPS_FILE]
    assert "sklearn.neighbors._kd_tree.KDTree" in made.manifest.trusted_types


def test_pickle_is_compiled(load: Any, model: Any) -> None:
    source = model(DecisionTreeClassifier().fit(X, WORDS), flavor=PICKLED)
    assert failure(load, source).reason is FailureReason.MODEL_REFUSED
    assert load(source, allow_pickle=True).manifest.backend == "native"


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("MLmodel", FailureReason.MODEL_CORRUPT), ("model.skops", FailureReason.MODEL_CORRUPT)],
)
def test_missing_files(load: Any, model: Any, missing: str, reason: FailureReason) -> None:
    source = model()
    (source.root / missing).unlink()
    error = failure(load, source)
    assert error.reason is reason
    assert f"no file {missing}" in error.message


def test_truncated_on_the_way(load: Any, model: Any) -> None:
    error = failure(load, model(claims={"model.skops": 10**6}))
    assert error.reason is FailureReason.MODEL_CORRUPT
    assert "truncated" in error.message


def test_larger_than_allowed(load: Any, model: Any) -> None:
    assert failure(load, model(), max_bytes=100).reason is FailureReason.MODEL_REFUSED


def test_sizes_may_be_unknown(load: Any, model: Any) -> None:
    assert load(model(claims={"model.skops": None, "MLmodel": None}))


def test_leaving_its_directory(load: Any, model: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    error = failure(load, model(flavor={"pickled_model": "../secret"}))
    assert error.reason is FailureReason.MODEL_REFUSED


def test_other_scikit_learn(load: Any, model: Any) -> None:
    source = model(flavor={"sklearn_version": OTHER_VERSION})
    error = failure(load, source)
    assert error.reason is FailureReason.VERSION_MISMATCH
    assert f"model was trained with scikit-learn {OTHER_VERSION}, this image has" in error.message
    said: list[str] = []
    made = load(source, said, version_policy=VersionPolicy.WARN)
    fact = f"model was trained with scikit-learn {OTHER_VERSION}, this image has {versions.installed()['scikit-learn']}"
    assert f"check warning: {fact}" in said
    assert made.manifest.warnings == (fact,)


@pytest.mark.parametrize("claims", [{}, {"model.skops": None}], ids=["known size", "unknown size"])
def test_memory_that_is_too_small(load: Any, model: Any, claims: Any) -> None:
    source = model(claims=claims)
    error = failure(load, source, memory_limit=100 * memory.MIB)
    assert error.reason is FailureReason.MODEL_REFUSED
    assert "takes at least 201Mi to load, this container may use 100Mi" in error.message
    assert load(source, memory_limit=256 * memory.MIB).manifest.warnings == ()


def test_memory_that_may_be_too_small(load: Any, model: Any) -> None:
    source = model(DecisionTreeClassifier().fit(X, WORDS))
    size = (source.root / "model.skops").stat().st_size
    said: list[str] = []
    made = load(source, said, memory_limit=memory.estimate(size, memory.COMPILE).least)
    (warning,) = made.manifest.warnings
    assert f"check warning: {warning}" in said


def test_versions_that_only_the_environment_names(load: Any, model: Any) -> None:
    source = model(flavor={"sklearn_version": None}, requirements="scikit-learn\n")
    (source.root / "conda.yaml").write_text("dependencies: [python=3.11.0, {pip: [numpy==1.26.4]}]")
    (source.root / "python_env.yaml").write_text("python: 3.9.0")
    assert "trained with numpy 1.26.4" in failure(load, source).message
    made = load(source, version_policy=VersionPolicy.WARN)
    assert made.manifest.trained_with == {"numpy": "1.26.4", "python": "3.11.0"}


@pytest.mark.parametrize(
    ("estimator", "example", "words"),
    [
        (KMeans(2).fit(X), X[:1].tolist(), "neither a classifier nor a regressor"),
        (DecisionTreeClassifier().fit(X, np.c_[WORDS, WORDS]), X[:1].tolist(), "multi-output"),
        (make_pipeline(OneHotEncoder(), LogisticRegression()).fit([["a"], ["b"]], [0, 1]), [["a"]], "numeric matrices"),
        ({"not": "an estimator"}, None, "not a scikit-learn estimator"),
        (LogisticRegression(), None, "not fitted"),
    ],
)
def test_unsupported(load: Any, model: Any, estimator: Any, example: Any, words: str) -> None:
    error = failure(load, model(estimator, example))
    assert error.reason is FailureReason.MODEL_UNSUPPORTED
    assert words in error.message


def test_fails_its_own_example(load: Any, model: Any) -> None:
    broken = LogisticRegression().fit(X, WORDS)
    broken.coef_ = broken.coef_[:, :1]
    error = failure(load, model(broken))
    assert error.reason is FailureReason.SELF_TEST_FAILED
    assert "ValueError" in error.message


def test_answers_that_are_not_finite(load: Any, model: Any) -> None:
    broken = LinearRegression().fit(X, X[:, 0])
    broken.intercept_ = np.nan
    assert failure(load, model(broken)).reason is FailureReason.SELF_TEST_FAILED


def test_example_of_another_width(load: Any, model: Any) -> None:
    assert failure(load, model(example=[[1.0, 2.0, 3.0]])).reason is FailureReason.SELF_TEST_FAILED


def test_signature_of_another_width(load: Any, model: Any) -> None:
    signature = {"inputs": json.dumps([{"type": "double"}] * 3)}
    assert failure(load, model(document={"signature": signature})).reason is FailureReason.MODEL_UNSUPPORTED


def test_another_run_than_asked(load: Any, model: Any, tmp_path: Path) -> None:

    error = failure(load, model(), run_id="0" * 32)
    assert error.reason is FailureReason.MODEL_NOT_FOUND
    assert RUN in error.message


@pytest.mark.parametrize(
    ("uri", "options", "reused"),
    [
        (URI, {}, True),
        (URI, {"run_id": RUN, "name": "fraud", "version": "3"}, True),
        ("models:/fraud/3", {}, True),
        ("models:/fraud/4", {}, False),
        (URI, {"version": "4"}, False),
        (URI, {"run_id": "0" * 32}, False),
        (f"runs:/{RUN}/other", {}, False),
        ("models:/fraud@champion", {}, False),
    ],
)
def test_reuse(load: Any, model: Any, tmp_path: Path, uri: str, options: dict[str, str], reused: bool) -> None:
    load(model(), name="fraud", version="3")
    assert (loader.reuse(uri, tmp_path / "out" / "b", LoadOptions(**options)) is not None) is reused


def test_an_altered_bundle_is_not_reused(load: Any, model: Any, tmp_path: Path) -> None:
    made = load(model())
    assert loader.reuse(URI, made.directory, LoadOptions()) == made
    made.path(next(iter(made.manifest.files))).write_bytes(b"x")
    assert loader.reuse(URI, made.directory, LoadOptions()) is None


def test_a_bundle_of_other_versions_is_not_reused(load: Any, model: Any) -> None:
    made = load(model(flavor={"sklearn_version": OTHER_VERSION}), version_policy=VersionPolicy.WARN)
    assert loader.reuse(URI, made.directory, LoadOptions(version_policy=VersionPolicy.WARN)) is not None
    assert loader.reuse(URI, made.directory, LoadOptions()) is None


@pytest.mark.parametrize("run_id", [None, "a" * 32])
@pytest.mark.parametrize("message", ["short", "x" * 10_000, '"' * 5000, "é" * 5000, "\U0001f600" * 3000, "\0" * 3000])
def test_termination_message(message: str, run_id: str | None) -> None:
    encoded = termination.message(FailureReason.MODEL_CORRUPT, message, run_id)
    assert len(encoded) <= 4096
    found = json.loads(encoded)
    assert (found["reason"], found.get("run_id")) == ("ModelCorrupt", run_id)
    assert message.startswith(found["message"].rstrip("…"))
    assert len(message) > 1000 or found["message"] == message
