"""Loaders that share a cache, as processes of their own, against a real MLflow and a real Redis."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis
from redis.exceptions import RedisError
from sklearn.linear_model import LogisticRegression

from fairlead_service.loading.cache.backend import CacheError
from fairlead_service.loading.cache.shared import RedisBackend
from fairlead_service.models import bundle
from tests.pki import Authority
from tools.localcluster import packages
from tools.localcluster.controlplane import free_port
from tools.localcluster.paths import LocalClusterError

X = np.random.default_rng(5).random((50, 3))
MODEL = LogisticRegression().fit(X, X[:, 0] > 0.5)
PATIENCE = 60.0
LOADERS = 5
"""Pods that start side by side."""
PASSWORD = "correct horse"
NOWHERE = "http://127.0.0.1:9"


class Counting:
    """A proxy before MLflow that counts downloads of model files."""

    def __init__(self, target: str) -> None:
        self.downloads = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith("/model.skops"):
                    with lock:
                        outer.downloads += 1
                answer = httpx.get(target + self.path, timeout=PATIENCE)
                self.send_response(answer.status_code)
                self.send_header("content-type", answer.headers.get("content-type", "application/json"))
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def proxy(mlflow_server: str) -> Iterator[Counting]:
    made = Counting(mlflow_server)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@contextlib.contextmanager
def redis_running(home: Path, *options: str, **client: Any) -> Iterator[int]:
    """The port of a Redis with a password; `client` says how to ask whether it is there."""
    try:
        packages.ensure(packages.REDIS)
    except LocalClusterError as error:
        pytest.skip(str(error))
    port, program = free_port(), packages.which("redis-server")
    assert program is not None
    listen = [option.replace("PORT", str(port)) for option in options]
    command = [program, *listen, "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
    process = subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL)
    asked = Redis(port=port, password=PASSWORD, **client)
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            with contextlib.suppress(RedisError):
                asked.ping()
                break
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.05)  # polling a process that is not ours
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_running(tmp_path_factory.mktemp("redis"), "--port", "PORT") as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="module")
def model(log_sample: Any) -> Any:
    return log_sample(MODEL, X)


@pytest.fixture(params=["directory", "redis"])
def cache_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "directory":
        return f"file://{tmp_path}/cache"
    url: str = request.getfixturevalue("redis_url")
    Redis.from_url(url, password=PASSWORD).flushall()
    return url


def begin(destination: Path, model: Any, tracking: str, cache: str, **more: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FAIRLEAD_", "OTEL_"))}
    environment |= {
        "FAIRLEAD_MODEL_URI": f"runs:/{model.run_id}/model",
        "FAIRLEAD_RUN_ID": model.run_id,
        "FAIRLEAD_BUNDLE_DIR": str(destination),
        "FAIRLEAD_CACHE_URL": cache,
        "FAIRLEAD_CACHE_PASSWORD": PASSWORD,
        "FAIRLEAD_TERMINATION_LOG": os.devnull,
        "MLFLOW_TRACKING_URI": tracking,
        **more,
    }
    command = [sys.executable, "-m", "fairlead_service.loading"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def end(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]]]:
    said, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, [json.loads(line) for line in said.splitlines()]


def outcomes(lines: list[dict[str, Any]]) -> list[str]:
    return [line["cache"] for line in lines if "cache" in line]


def test_loaders_side_by_side_download_once(tmp_path: Path, proxy: Counting, model: Any, cache_url: str) -> None:
    running = [begin(tmp_path / f"pod{number}" / "b", model, proxy.url, cache_url) for number in range(LOADERS)]
    ended = [end(process) for process in running]
    assert [code for code, _ in ended] == [0] * LOADERS, ended
    assert proxy.downloads == 1
    assert sorted(outcomes(lines) for _, lines in ended) == [["hit"]] * (LOADERS - 1) + [["miss", "stored"]]
    manifests = {bundle.read(tmp_path / f"pod{number}" / "b").manifest.model_dump_json() for number in range(LOADERS)}
    assert len(manifests) == 1


def test_pods_start_while_mlflow_is_down(tmp_path: Path, proxy: Counting, model: Any, cache_url: str) -> None:
    signed = {"FAIRLEAD_CACHE_SIGNED": "true", "FAIRLEAD_CACHE_SIGNING_KEY": "k" * 32}

    def load(pod: str, tracking: str = NOWHERE, **more: str) -> tuple[int, list[str]]:
        code, lines = end(begin(tmp_path / pod / "b", model, tracking, cache_url, **(signed | more)))
        levels = {line["cache"]: line["level"] for line in lines if "cache" in line}
        assert levels.get("corrupt", "warning") == "warning"
        return code, outcomes(lines)

    assert load("first", proxy.url) == (0, ["miss", "stored"])
    assert load("second") == (0, ["hit"])
    assert bundle.read(tmp_path / "second" / "b").manifest.identity.run_id == model.run_id
    assert load("asked otherwise", FAIRLEAD_ALLOW_PICKLE="true") == (1, ["miss"])
    assert load("with another key", FAIRLEAD_CACHE_SIGNING_KEY="o" * 32) == (1, ["miss"])
    damage(cache_url)
    assert load("damaged", proxy.url) == (0, ["corrupt", "miss", "stored"])
    assert proxy.downloads == 2


def damage(cache_url: str) -> None:
    if cache_url.startswith("file:"):
        (path,) = Path(cache_url.removeprefix("file://")).glob("*.bundle")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        return
    client = Redis.from_url(cache_url, password=PASSWORD)
    (name,) = client.keys("*:bundle:*")
    client.setrange(name, client.strlen(name) - 1, b"?")


def test_a_cache_that_fails_fails_no_load(tmp_path: Path, mlflow_server: str, model: Any) -> None:
    code, lines = end(begin(tmp_path / "b", model, mlflow_server, "redis://127.0.0.1:9/0"))
    assert code == 0, lines
    (error,) = [line for line in lines if line.get("cache") == "unavailable"]
    assert error["level"] == "warning"
    assert "goes on without the cache" in error["message"]


@pytest.fixture
def backend(redis_url: str) -> RedisBackend:
    Redis.from_url(redis_url, password=PASSWORD).flushall()
    return RedisBackend(redis_url, 100, PASSWORD)


def test_redis_keeps_what_was_used_last(backend: RedisBackend, redis_url: str) -> None:
    for key in ("a", "b"):
        backend.put(key, b"x" * 40)
    backend.get("a")
    backend.put("c", b"x" * 40)
    assert [backend.get(key) is not None for key in "abc"] == [True, False, True]
    client = Redis.from_url(redis_url, password=PASSWORD)
    client.delete(*client.keys("*:bundle:a"))  # as Redis' own eviction does
    backend.put("d", b"x" * 60)
    assert [backend.get(key) is not None for key in "acd"] == [False, True, True]
    with pytest.raises(CacheError, match="may have 100"):
        backend.put("e", b"x" * 101)


def test_the_lock_of_redis_ends_with_its_holder(backend: RedisBackend, redis_url: str) -> None:
    lease = backend.lock("a")
    assert lease is not None
    with lease:
        assert backend.lock("a") is None
        ttl = Redis.from_url(redis_url, password=PASSWORD).pttl("{fairlead-bundles}:lock:a")
        assert 0 < int(str(ttl)) <= 10_000  # a holder that died does not keep it longer
    assert backend.lock("a") is not None


def test_a_wrong_password_is_an_error_of_the_cache(redis_url: str) -> None:
    with pytest.raises(CacheError, match=r"127\.0\.0\.1"):
        RedisBackend(redis_url, 100, "wrong").get("a")


def test_redis_by_tls_is_known_by_its_authority(tmp_path: Path, proxy: Counting, model: Any) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    shown = ours.issue("redis", "localhost")
    files = {"cert": shown.certificate, "key": shown.key, "ca-cert": ours.path}
    options = [part for name, path in files.items() for part in (f"--tls-{name}-file", str(path))]
    options += ["--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no"]
    with redis_running(tmp_path, *options, ssl=True, ssl_cert_reqs="none") as port:
        good, other = f"rediss://localhost:{port}/0", f"rediss://127.0.0.1:{port}/0"
        trusted = {"FAIRLEAD_CACHE_CA": ours.path.read_text()}
        for number, wanted in enumerate((["stored"], ["hit"])):
            code, lines = end(begin(tmp_path / f"pod{number}" / "b", model, proxy.url, good, **trusted))
            assert code == 0
            assert outcomes(lines)[-1:] == wanted, lines
        assert proxy.downloads == 1
        for url, authority in ((good, others.path.read_text()), (other, ours.path.read_text()), (good, None)):
            with pytest.raises(CacheError):
                RedisBackend(url, 100, PASSWORD, authority).get("a")
