"""Sealed blobs, keys and evictions."""

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.loading.cache import entry, question
from fairlead_service.loading.cache.backend import CacheError, Held, victims
from fairlead_service.loading.cache.directory import DirectoryBackend
from fairlead_service.loading.cache.entry import CorruptError
from fairlead_service.loading.cache.settings import CacheSettings
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.versions import VersionPolicy
from fairlead_service.models import bundle
from tests.unit.service.support import tree, write_bundle

KEY, OTHER = "ab" * 32, "cd" * 32
RUN = "6f2c" * 8


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return entry.encode(KEY, write_bundle(tmp_path_factory.mktemp("b") / "b", tree()), None)


def test_what_comes_out_is_what_went_in(tmp_path: Path) -> None:
    made = write_bundle(tmp_path / "b", tree())
    manifest, contents = entry.decode(KEY, entry.encode(KEY, made, "k" * 32), "k" * 32)
    assert manifest == made.manifest
    assert contents == {name: made.path(name).read_bytes() for name in made.manifest.files}


def test_opening_an_entry_takes_one_copy_of_it(tmp_path: Path) -> None:
    size = 8 * 2**20
    made = bundle.write(tmp_path / "b", write_bundle(tmp_path / "small", tree()).manifest, {"weights.bin": bytes(size)})
    sealed = entry.encode(KEY, made, None)
    tracemalloc.start()
    entry.decode(KEY, sealed, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * size  # a container whose limit fits the load must not be killed by a hit


@given(st.data())
def test_no_altered_blob_is_taken(blob: bytes, data: Any) -> None:
    at = data.draw(st.integers(0, len(blob) - 1))
    flipped = bytes([blob[at] ^ data.draw(st.integers(1, 255))])
    cut = data.draw(st.integers(0, len(blob) - 1))
    for altered in (blob[:at] + flipped + blob[at + 1 :], blob[:cut], blob + b"x"):
        with pytest.raises(CorruptError):
            entry.decode(KEY, altered, None)


def test_an_entry_answers_its_own_question_only(blob: bytes) -> None:
    with pytest.raises(CorruptError):
        entry.decode(OTHER, blob, None)


def test_a_loader_with_a_key_takes_no_entry_of_somebody_without(blob: bytes) -> None:
    with pytest.raises(CorruptError):
        entry.decode(KEY, blob, "k" * 32)


URI = f"runs:/{RUN}/model"
ASKED = {
    question.key(URI, LoadOptions(), ""): "",
    question.key(f"runs:/{RUN}/other", LoadOptions(), ""): "another model",
    question.key(URI, LoadOptions(), "signer"): "signed",
    question.key(URI, LoadOptions(allow_pickle=True), ""): "pickle",
    question.key(URI, LoadOptions(run_id=RUN), ""): "run",
    question.key(URI, LoadOptions(name="fraud"), ""): "name",
    question.key(URI, LoadOptions(version="1"), ""): "version",
    question.key(URI, LoadOptions(version_policy=VersionPolicy.STRICT), ""): "policy",
    question.key(URI, LoadOptions(max_bytes=1), ""): "limit",
}


def test_each_question_has_a_key_of_its_own() -> None:
    assert len(ASKED) == 9
    assert ASKED[question.key(URI, LoadOptions(), "")] == ""


@pytest.mark.parametrize(("name", "value"), [("PROGRAM_FORMAT", 99), ("installed", {"scikit-learn": "9"})])
def test_another_image_asks_another_question(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    from fairlead_service.loading import versions
    from fairlead_service.models.backends.native import program

    if name == "installed":
        monkeypatch.setattr(versions, name, lambda *_: value)
    else:
        monkeypatch.setattr(program, name, value)
    assert question.key(URI, LoadOptions(), "") not in ASKED


@pytest.mark.parametrize(
    ("uri", "run_id", "pinned"),
    [
        (URI, None, True),
        (f"models:/m-{RUN}", None, True),
        ("models:/fraud/3", RUN, True),
        ("models:/fraud/3", None, False),
        ("models:/fraud@champion", RUN, False),
    ],
)
def test_what_moves_is_not_answered_without_mlflow(uri: str, run_id: str | None, pinned: bool) -> None:
    assert question.pinned(uri, LoadOptions(run_id=run_id)) is pinned


HELD = st.lists(
    st.builds(Held, st.text("abc", min_size=1), st.integers(0, 99), st.floats(0, 9)), unique_by=lambda h: h.key
)


@given(HELD, st.integers(0, 300))
def test_the_least_recently_used_go_and_no_more_than_needed(held: list[Held], room: int) -> None:
    gone = victims(held, room)
    left = [entry for entry in held if entry.key not in gone]
    assert sum(entry.size for entry in left) <= room
    if gone:
        last = next(entry for entry in held if entry.key == gone[-1])
        assert sum(entry.size for entry in left) + last.size > room
        assert all(entry.used >= last.used for entry in left)


def test_a_directory_keeps_what_was_used_last(tmp_path: Path) -> None:
    backend = DirectoryBackend(tmp_path / "cache", max_bytes=100)
    keys = [f"{number}" * 64 for number in range(3)]
    for key in keys[:2]:
        backend.put(key, b"x" * 40)
        os.utime(tmp_path / "cache" / f"{key}.bundle", (1000, 1000 + int(key[0])))
    backend.get(keys[0])
    backend.put(keys[2], b"x" * 40)
    assert [backend.get(key) is not None for key in keys] == [True, False, True]
    assert not list((tmp_path / "cache").glob(".half-*"))


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left, fresh = tmp_path / ".half-old", tmp_path / ".half-new"
    for path in (left, fresh):
        path.write_bytes(b"x")
    os.utime(left, (0, 0))
    DirectoryBackend(tmp_path, 100).put(KEY, b"x")
    assert (left.exists(), fresh.exists()) == (False, True)


def test_one_holds_the_lock_of_a_directory(tmp_path: Path) -> None:
    one, other = DirectoryBackend(tmp_path, 100), DirectoryBackend(tmp_path, 100)
    lease = one.lock(KEY)
    assert lease is not None
    with lease:
        assert other.lock(KEY) is None
    assert other.lock(KEY) is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"URL": "http://nowhere"},
        {"URL": "file:relative"},
        {"URL": "redis://"},
        {"URL": "file:///x", "MAX_BYTES": "much"},
        {"URL": "file:///x", "SIGNED": "true"},
        {"URL": "file:///x", "PASSWORD_FILE": "/nonexistent"},
        {"URL": "redis://host:port"},
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, str]) -> None:
    def use() -> None:
        found = CacheSettings.from_environment({f"FAIRLEAD_CACHE_{name}": value for name, value in settings.items()})
        assert found is not None
        found.backend()

    with pytest.raises(CacheError):
        use()


def test_secrets_may_be_in_files_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    environment = {"FAIRLEAD_CACHE_URL": "redis://r", "FAIRLEAD_CACHE_PASSWORD_FILE": str(tmp_path / "password")}
    found = CacheSettings.from_environment(environment)
    assert found is not None
    assert found.password == "secret"
    assert "secret" not in f"{found} {found.backend().place}"
