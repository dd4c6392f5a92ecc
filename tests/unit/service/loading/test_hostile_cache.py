"""A cache that answers anything: the load goes on without it, whatever that is, and soon."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fairlead_service.loading.cache import entry, question
from fairlead_service.loading.cache.backend import CacheError
from fairlead_service.loading.cache.bounded import BoundedBackend
from fairlead_service.loading.cache.loads import BundleCache
from fairlead_service.loading.cache.shared import RedisBackend
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.models import bundle
from fairlead_service.models.bundle import Bundle, BundleError, Identity, Manifest, Proof
from tests.unit.service.loading.directory import RUN, URI

ENDLESS = b"+" + b"x" * 2**20
HOSTILE = {
    "a value of 9 exabytes": b"$9223372036854775807\r\n",
    "a value of less than nothing": b"$-7\r\nx\r\n",
    "a length that is none": b"$x\r\n",
    "a length of 5,000 digits": b"$" + b"9" * 5000 + b"\r\n",
    "lists in lists": b"*1\r\n" * 200_000 + b":1\r\n",
    "a list of 9 exa": b"*9223372036854775807\r\n:1\r\n",
    "many small parts": b"*199999\r\n" + b":1\r\n" * 199_999,
    "fine": b"+OK\r\n",
    "a number": b":1\r\n",
    "nothing": b"$-1\r\n",
    "an empty list": b"*0\r\n",
    "an error": b"-ERR no\r\n",
    "an error in other letters": b"-\xff\xfe\r\n",
    "a kind that there is not": b"%1\r\n",
    "empty lines": b"\r\n\r\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "an end": b"",
}


@contextmanager
def answering(reply: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that answers each piece of a request by `reply`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopped = threading.Event()

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while not stopped.is_set() and connection.recv(2**16):
                        reply(connection)
                except OSError:
                    return

        def accept() -> None:
            while not stopped.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        stopped.set()
        server.shutdown(socket.SHUT_RDWR)


def made(directory: Path, **changes: Any) -> Bundle:
    manifest = Manifest(
        identity=Identity(run_id=RUN, model_uri=URI),
        backend="sklearn",
        estimator="sklearn.svm.SVC",
        task="classification",
        n_features=2,
        proof=Proof(rows=0, verdict="untested"),
        created_at=datetime.now(UTC),
    )
    return bundle.write(directory, manifest.model_copy(update=changes), {"model.skops": b"x"})


def load(backend: Any, tmp_path: Path, fetched: list[str]) -> Bundle:
    def fetch(uri: str, options: LoadOptions) -> Bundle:
        fetched.append(uri)
        return made(tmp_path / "b")

    cache = BundleCache(backend, lambda outcome, message: fetched.append(outcome), wait_seconds=0.2)
    return cache.load(URI, tmp_path / "b", LoadOptions(), fetch)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(60)
def test_whatever_a_redis_answers(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    with answering(lambda connection: connection.sendall(HOSTILE[name])) as url:
        found = load(BoundedBackend(RedisBackend(url, 2**20), 1.0), tmp_path, said)
    assert found.manifest.identity.run_id == RUN
    assert URI in said


@pytest.mark.timeout(60)
def test_a_line_without_an_end(tmp_path: Path) -> None:
    def endless(connection: socket.socket) -> None:
        while True:
            connection.sendall(ENDLESS)

    said: list[str] = []
    started = time.monotonic()
    with answering(endless) as url:
        load(BoundedBackend(RedisBackend(url, 2**20), 20.0), tmp_path, said)
    assert said[0] == "error"  # refused for what it is, before anybody lost patience
    assert time.monotonic() - started < 20


class Raising:
    """A place for entries that raises, wherever it is asked."""

    place = "nowhere"

    def __init__(self, error: BaseException, only: str) -> None:
        self._error, self._only = error, only

    def _do(self, name: str) -> None:
        if name == self._only:
            raise self._error

    def get(self, key: str) -> bytes | None:
        self._do("get")
        return b"nonsense" if self._only == "remove" else None

    def put(self, key: str, entry: bytes) -> None:
        self._do("put")

    def remove(self, key: str) -> None:
        self._do("remove")

    def lock(self, key: str) -> Any:
        self._do("lock")
        return threading.Lock()


@pytest.mark.parametrize("only", ["get", "put", "remove", "lock"])
@pytest.mark.parametrize(
    "error",
    [
        CacheError("x"),
        OSError("x"),
        RecursionError("x"),
        MemoryError(),
        OverflowError("x"),
        TypeError("x"),
        KeyError("x"),
    ],
    ids=repr,
)
def test_no_exception_of_a_cache_fails_a_load(error: BaseException, only: str, tmp_path: Path) -> None:
    said: list[str] = []
    load(Raising(error, only), tmp_path, said)
    assert "error" in said
    assert URI in said


NAMES = [
    "manifest.json",
    "../x",
    "a/b",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a\0b",
    "x" * 300,
    "ä.bin",
    "A.bin",
    ".x",
    "a b.bin",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(name: str, tmp_path: Path) -> None:
    """In an entry of a cache, and in a bundle on disk."""
    whole = made(tmp_path / "b")
    digest = {"sha256": hashlib.sha256(b"x").hexdigest(), "size": 1}
    text = json.dumps(whole.manifest.model_dump(mode="json") | {"files": {name: digest}})
    key = question.key(URI, LoadOptions(), "")
    head = text.encode()
    body = len(head).to_bytes(8, "big") + head + b"x"
    blob = entry._MAGIC + entry._seal(key, body, None) + body
    with pytest.raises(entry.CorruptError, match="its manifest does not parse"):
        entry.decode(key, blob, None)
    (tmp_path / "b" / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="is not a bundle manifest"):
        bundle.read(tmp_path / "b")
