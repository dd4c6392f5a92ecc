"""Which bundles beside a model are taken, which are passed over, and which are refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import yaml
from sklearn.tree import DecisionTreeClassifier

from fairlead_service import native
from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import attached, loader, versions
from fairlead_service.loading import estimator as estimators
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.versions import VersionPolicy
from fairlead_service.models import bundle
from fairlead_service.models.backends import Want, build
from tests.unit.service.loading.directory import RUN, URI, Directory

pytestmark = pytest.mark.skipif(not native.available(), reason="the kernel was not built; is there a C compiler?")

X = np.random.default_rng(0).random((40, 2))
TREE = DecisionTreeClassifier(random_state=0).fit(X, (X[:, 0] > 0.5).astype(int))
OTHER = DecisionTreeClassifier(random_state=0).fit(X, (X[:, 1] > 0.5).astype(int))

Load = Callable[..., bundle.Bundle]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def run(source: Directory, said: list[str] | None = None, **options: Any) -> bundle.Bundle:
        heard: list[str] = [] if said is None else said
        wanted = LoadOptions(**options)
        return loader.load(URI, tmp_path / "out" / "b", source, wanted, lambda *words: heard.append(" ".join(words)))

    return run


def describe(root: Path, **changes: Any) -> None:
    flavor = {"pickled_model": "model.skops", "serialization_format": "skops"}
    flavor["sklearn_version"] = versions.installed()["scikit-learn"]
    (root / "MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": flavor | changes}}))


@pytest.fixture
def model(tmp_path: Path, load: Load) -> Directory:
    """A tree with its compiled bundle beside it."""
    root = tmp_path / "logged"
    root.mkdir()
    describe(root)
    (root / "model.skops").write_bytes(skops.io.dumps(TREE))
    (root / "input_example.json").write_text(json.dumps({"inputs": X[:2].tolist()}))
    made = load(Directory(root))
    assert made.manifest.backend == "native"
    made.directory.rename(root / attached.DIRECTORY)
    return Directory(root)


@pytest.fixture
def no_model_is_opened(model: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(estimators, "open_skops")
    monkeypatch.delattr(estimators, "open_pickle")


def rewrite(model: Directory, files: dict[str, bytes] | None = None, **changes: Any) -> None:
    """Changes the bundle's manifest and files, with digests to match."""
    directory = model.root / attached.DIRECTORY
    found = bundle.read(directory)
    contents = {name: found.path(name).read_bytes() for name in found.manifest.files} | (files or {})
    bundle.write(directory, found.manifest.model_copy(update=changes), contents)


def answers(made: bundle.Bundle) -> list[Any]:
    found: list[Any] = build(made).evaluate(X, Want(probabilities=True)).predictions.tolist()
    return found


@pytest.mark.usefixtures("no_model_is_opened")
def test_taken(model: Directory, load: Load) -> None:
    said: list[str] = []
    made = load(model, said, name="fraud", version="3")
    assert made == bundle.read(made.directory)
    assert made.manifest.identity == bundle.Identity(run_id=RUN, model_uri=URI, name="fraud", version="3")
    assert answers(made) == TREE.predict(X).tolist()
    assert [line.split()[0] for line in said] == ["fetch", "prove", "write"]


@pytest.mark.usefixtures("no_model_is_opened")
def test_the_identity_is_not_the_bundles(model: Directory, load: Load) -> None:
    rewrite(model, identity=bundle.Identity(run_id="0" * 32, model_uri="models:/other/1", name="other", version="1"))
    identity = load(model).manifest.identity
    assert identity == bundle.Identity(run_id=RUN, model_uri=URI)


def passed_over(model: Directory, load: Load, words: str, **options: Any) -> bundle.Bundle:
    """The bundle is not used, with these words, and the model is compiled or served as any other."""
    said: list[str] = []
    made = load(model, said, **options)
    (line,) = [line for line in said if "is not used" in line]
    assert words in line
    assert answers(made) == TREE.predict(X).tolist()
    return made


def test_another_program_format(model: Directory, load: Load) -> None:
    rewrite(model, program_format=99)
    passed_over(model, load, "99")


def test_another_bundle_format(model: Directory, load: Load) -> None:
    path = model.root / attached.DIRECTORY / bundle.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    passed_over(model, load, "format 2")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b'{"format": 1}', b"\xff\x00"])
def test_a_manifest_that_is_none(model: Directory, load: Load, content: bytes) -> None:
    (model.root / attached.DIRECTORY / bundle.MANIFEST).write_bytes(content)
    passed_over(model, load, "manifest" if content != b"[]" else "not used")


@pytest.mark.parametrize("name", ["manifest.json", "program.json", "arrays.bin"])
def test_a_missing_file(model: Directory, load: Load, name: str) -> None:
    (model.root / attached.DIRECTORY / name).unlink()
    passed_over(model, load, f"no file {name}")


@pytest.mark.parametrize("name", ["program.json", "arrays.bin"])
def test_a_truncated_file(model: Directory, load: Load, name: str) -> None:
    path = model.root / attached.DIRECTORY / name
    path.write_bytes(path.read_bytes()[:-1])
    passed_over(model, load, f"its {name} is not what its manifest says")


def test_a_bit_that_has_turned(model: Directory, load: Load) -> None:
    path = model.root / attached.DIRECTORY / "arrays.bin"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    passed_over(model, load, "its arrays.bin is not what its manifest says")


@pytest.mark.parametrize("hostile", [b"", b"\x00" * 4096, b"\xff" * 4096])
def test_hostile_arrays(model: Directory, load: Load, hostile: bytes) -> None:
    rewrite(model, {"arrays.bin": hostile})
    passed_over(model, load, "it does not answer")


@pytest.mark.parametrize("width", [0, 10**6])
def test_a_manifest_of_a_width_that_no_model_has(model: Directory, load: Load, width: int) -> None:
    rewrite(model, n_features=width)
    passed_over(model, load, "its manifest does not parse")


@pytest.mark.parametrize("changes", [{"classes": ("a",)}, {"classes": None}])
def test_a_manifest_that_is_not_of_its_program(model: Directory, load: Load, changes: dict[str, Any]) -> None:
    rewrite(model, **changes)
    passed_over(model, load, "it does not answer")


def test_a_bundle_that_was_not_proven(model: Directory, load: Load) -> None:
    rewrite(model, proof=bundle.Proof(rows=2, verdict="loaded"))
    passed_over(model, load, "not proven")


def test_a_bundle_of_scikit_learn(model: Directory, load: Load) -> None:
    rewrite(model, backend="sklearn")
    passed_over(model, load, "no compiled program")


@pytest.mark.parametrize("policy", VersionPolicy)
def test_a_proof_against_another_scikit_learn(model: Directory, load: Load, policy: VersionPolicy) -> None:
    rewrite(model, made_with=versions.installed() | {"scikit-learn": "1.2.3"})
    made = passed_over(model, load, "scikit-learn 1.2.3", version_policy=policy)
    assert made.manifest.made_with["scikit-learn"] == versions.installed()["scikit-learn"]


def test_without_the_kernel(model: Directory, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load(model)
    assert loader.reuse(URI, made.directory, LoadOptions()) is not None
    monkeypatch.setattr(native, "available", lambda: False)
    assert loader.reuse(URI, made.directory, LoadOptions()) is None
    assert passed_over(model, load, "kernel").manifest.backend == "sklearn"


def test_a_program_of_another_format_is_not_reused(model: Directory, load: Load) -> None:
    made = load(model)
    contents = {name: made.path(name).read_bytes() for name in made.manifest.files}
    bundle.write(made.directory, made.manifest.model_copy(update={"program_format": 99}), contents)
    assert loader.reuse(URI, made.directory, LoadOptions()) is None


def refusal(load: Load, model: Directory, **options: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load(model, **options)
    return caught.value


@pytest.mark.parametrize("usable", [True, False])
def test_a_model_that_was_exchanged(model: Directory, load: Load, usable: bool) -> None:
    (model.root / "model.skops").write_bytes(skops.io.dumps(OTHER))
    if not usable:
        rewrite(model, program_format=99)
    error = refusal(load, model)
    assert error.reason is FailureReason.MODEL_REFUSED
    assert "not of this model" in error.message
    assert "delete its fairlead/ directory" in error.message


@pytest.mark.usefixtures("no_model_is_opened")
def test_a_pickle_beside_a_bundle(model: Directory, load: Load) -> None:
    """What may be loaded is decided before the bundle is looked at."""
    describe(model.root, serialization_format="cloudpickle")
    error = refusal(load, model)
    assert error.reason is FailureReason.MODEL_REFUSED
    assert "cloudpickle" in error.message


@pytest.mark.usefixtures("no_model_is_opened")
def test_a_model_of_other_versions_beside_a_bundle(model: Directory, load: Load) -> None:
    describe(model.root, sklearn_version="0.24.2")
    assert refusal(load, model).reason is FailureReason.VERSION_MISMATCH


def test_larger_than_allowed(model: Directory, load: Load) -> None:
    largest = max(path.stat().st_size for path in (model.root / attached.DIRECTORY).iterdir() if path.suffix == ".bin")
    with pytest.raises(LoadError, match="more than the"):
        load(model, max_bytes=largest - 1)


def test_a_file_outside_its_directory(model: Directory, load: Load) -> None:
    (model.root / "secret").write_bytes(b"x")
    path = model.root / attached.DIRECTORY / bundle.MANIFEST
    document = json.loads(path.read_text())
    document["files"]["../secret"] = {"sha256": hashlib.sha256(b"x").hexdigest(), "size": 1}
    path.write_text(json.dumps(document))
    passed_over(model, load, "names a file outside its directory")
