"""The bundle on disk: whole or not there, and nothing altered goes unseen."""

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.models import bundle
from fairlead_service.models.bundle import Bundle, BundleError, Identity, Manifest, Proof

finite = st.floats(allow_nan=False, allow_infinity=False)
label = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), finite, st.text(st.characters(exclude_categories=["Cs"]))
)
file_name = st.from_regex(r"[a-z][a-z0-9_]{0,8}\.(skops|npy)", fullmatch=True)


def manifest(**changes: Any) -> Manifest:
    whole: dict[str, Any] = {
        "identity": Identity(run_id="r", model_uri="runs:/r/model"),
        "backend": "sklearn",
        "estimator": "sklearn.svm.SVC",
        "task": "classification",
        "n_features": 2,
        "proof": Proof(rows=0, verdict="untested"),
        "created_at": datetime(2026, 11, 1, tzinfo=UTC),
    }
    return Manifest(**(whole | changes))


def written(directory: Path, content: bytes = b"model") -> Bundle:
    return bundle.write(directory, manifest(), {bundle.SKOPS_FILE: content})


@given(
    classes=st.none() | st.lists(label, min_size=1).map(tuple),
    example=st.none() | st.lists(st.tuples(finite, finite), min_size=1).map(tuple),
    files=st.dictionaries(file_name, st.binary(max_size=64), max_size=3),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, classes: Any, example: Any, files: dict[str, bytes]
) -> None:
    directory = tmp_path_factory.mktemp("bundle") / "b"
    made = bundle.write(directory, manifest(classes=classes, input_example=example), files)
    found = bundle.read(directory)
    assert found == made
    for mine, theirs in zip(classes or (), found.manifest.classes or (), strict=True):
        assert type(mine) is type(theirs)
    assert {name: found.path(name).read_bytes() for name in files} == files


def test_an_older_bundle_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    written(tmp_path / "b", b"old")
    written(tmp_path / "b", b"new")
    assert bundle.read(tmp_path / "b").path(bundle.SKOPS_FILE).read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["b"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    written(tmp_path / "b", b"old")
    with pytest.raises(OSError, match="directory"):
        bundle.write(tmp_path / "b", manifest(), {"no/such/directory": b"new"})
    assert bundle.read(tmp_path / "b").path(bundle.SKOPS_FILE).read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["b"]


def test_registration_is_added_later(tmp_path: Path) -> None:
    bundle.identify(written(tmp_path / "b"), "fraud", "3")
    found = bundle.read(tmp_path / "b")
    assert (found.manifest.identity.name, found.manifest.identity.version) == ("fraud", "3")
    assert found.path(bundle.SKOPS_FILE).read_bytes() == b"model"


@pytest.mark.parametrize("content", [b"", b"mode", b"modem", b"model "])
def test_an_altered_file_is_found(tmp_path: Path, content: bytes) -> None:
    written(tmp_path / "b")
    (tmp_path / "b" / bundle.SKOPS_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.skops"):
        bundle.read(tmp_path / "b")


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    written(tmp_path / "b")
    (tmp_path / "b" / bundle.SKOPS_FILE).unlink()
    with pytest.raises(BundleError, match=r"model\.skops"):
        bundle.read(tmp_path / "b")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "x": 2}', "[" * 9]
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / bundle.MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="manifest"):
        bundle.read(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/b", "..", ""])
def test_a_manifest_that_names_files_elsewhere(tmp_path: Path, name: str) -> None:
    written(tmp_path / "b")
    path = tmp_path / "b" / bundle.MANIFEST
    document = json.loads(path.read_text())
    document["files"] = {name: document["files"][bundle.SKOPS_FILE]}
    path.write_text(json.dumps(document))
    with pytest.raises(BundleError, match="outside"):
        bundle.read(tmp_path / "b")


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        bundle.read(tmp_path / "none")


def test_unknown_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"other\.npy"):
        written(tmp_path / "b").path("other.npy")


def test_a_first_write_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    writer = threading.Thread(target=lambda: written(tmp_path / "b", os.urandom(2**20)))
    writer.start()
    while writer.is_alive():
        if (tmp_path / "b").exists():
            bundle.read(tmp_path / "b")
    writer.join()
    bundle.read(tmp_path / "b")
