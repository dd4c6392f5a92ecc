"""What the worst requests cost the event loop: `.venv/bin/python -m benchmarks.event_loop`.

The API runs in this process, on asyncio's own loop, whose callbacks are measured one by one: the processor time of the
loop's thread, which a busy machine does not change. The aim is 20 ms for the longest. Beside it stands what a client
notices: how late a timer of the loop was, which on a machine with other work is more. `NAME…` runs only those requests.
"""

import asyncio
import http.client
import sys
import tempfile
import threading
import time
from asyncio.events import Handle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import skops.io
import uvicorn
from sklearn.linear_model import LogisticRegression

from fairlead_service.app import create_app
from fairlead_service.listening import listen
from fairlead_service.models import bundle as bundles
from fairlead_service.models.bundle import SKOPS_FILE, Identity, Manifest, Proof
from fairlead_service.observability import stalls
from fairlead_service.protocol import protocol
from fairlead_service.server import Server
from fairlead_service.settings import Settings

AIM_SECONDS: Final = 0.02
WIDTH: Final = 10_000
CLASSES: Final = 20
LONGEST: Final = 16 * 2**20
RUN: Final = "a" * 32
TIMER_SECONDS: Final = 0.002
_REPETITIONS: Final = 3


@dataclass(frozen=True)
class Request:
    name: str
    path: str
    body: bytes | None = None
    content_type: str = "application/json"
    status: tuple[int, ...] = (200,)


@dataclass
class Found:
    """The longest of a request's callbacks, and the latest of the loop's timers."""

    cpu: float = 0.0
    late: float = 0.0

    def callback(self, seconds: float) -> None:
        self.cpu = max(self.cpu, seconds)

    def timer(self, seconds: float) -> None:
        self.late = max(self.late, seconds)


def requests(names: Sequence[str]) -> list[Request]:
    """Those with the longest bodies that are taken, and with the most in them."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(75, WIDTH)).round(15)
    ones = b",".join([b"[%b]" % b",".join([b"1"] * WIDTH)] * (LONGEST // (2 * WIDTH + 2) - 1))
    count = ones.count(b"[")
    records = [dict(zip(names, row, strict=True)) for row in random.integers(0, 9, size=(70, WIDTH)).tolist()]
    table = b"\n".join([",".join(names).encode(), *[b",".join([b"1.5"] * WIDTH)] * 390])
    infer = "/v2/models/model/infer"
    return [
        Request("rows of doubles", "/predict", written({"features": rows})),
        Request("rows of ones", "/predict", b'{"features":[%b]}' % ones),
        Request("probabilities", "/predict", b'{"features":[%b],"probabilities":true}' % ones),
        Request("empty rows", "/predict", b'{"features":[%b]}' % b",".join([b"[]"] * 9990), status=(422,)),
        Request("one long row", "/predict", b'{"features":[%b]}' % b",".join([b"1"] * 8_000_000), status=(422,)),
        Request("a NaN at the end", "/predict", b'{"features":[%b,[NaN]]}' % ones[: LONGEST - 100], status=(400, 422)),
        Request("strings", "/predict", b'{"features":[%b]}' % b",".join([b'""'] * 5_000_000), status=(422,)),
        Request("objects", "/predict", written({"features": records})),
        Request("deep", "/predict", b'{"features":%b}' % (b"[" * 2_000_000), status=(400, 413)),
        Request("V2 flat", infer, tensor(b",".join([b"1"] * count * WIDTH), count)),
        Request("V2 nested", infer, tensor(ones, count)),
        Request("V2 integers", infer, tensor(ones, count, "INT64")),
        Request("records", "/invocations", written({"dataframe_records": records})),
        Request("lists", "/invocations", b'{"inputs":[%b]}' % ones),
        Request("CSV", "/invocations", table, "text/csv"),
        Request("just below the limit", infer, tensor(b",".join([b"1"] * 12 * WIDTH), 12)),
        Request("train", "/train", training(), status=(200, 202, 422, 500)),
        Request("/openapi.json", "/openapi.json"),
        Request("/model/info", "/model/info"),
        Request("/model/samples", "/model/samples?rows=1000"),
        Request("/metrics", "/metrics"),
    ]


def written(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def tensor(data: bytes, rows: int, datatype: str = "FP64") -> bytes:
    described = b'{"name":"x","datatype":"%b","shape":[%d,%d],"data":[%b]}' % (datatype.encode(), rows, WIDTH, data)
    return b'{"inputs":[%b]}' % described


def training() -> bytes:
    """28 MiB, refused by the child because the target has one class too few."""
    rows = b",".join([b"[0.123456789]"] * 2_000_000)
    return b'{"algorithm":"random_forest","data":[%b],"target":[%b]}' % (rows[: 28 * 2**20 // 14 * 14 - 1], b"0")


def wide_model(directory: Path, names: Sequence[str]) -> Path:
    """Of as many features as anybody has, with their names and an example."""
    random = np.random.default_rng(0)
    model = LogisticRegression(max_iter=1).fit(random.normal(size=(2 * CLASSES, WIDTH)), [*range(CLASSES)] * 2)
    manifest = Manifest(
        identity=Identity(run_id=RUN, model_uri=f"runs:/{RUN}/model"),
        backend="sklearn",
        estimator="sklearn.linear_model.LogisticRegression",
        task="classification",
        n_features=WIDTH,
        feature_names=tuple(names),
        classes=tuple(range(CLASSES)),
        has_probabilities=True,
        input_example=tuple(map(tuple, random.normal(size=(5, WIDTH)).tolist())),
        proof=Proof(rows=5, verdict="loaded"),
        created_at=datetime.now(UTC),
    )
    return bundles.write(directory, manifest, {SKOPS_FILE: skops.io.dumps(model)}).directory


@contextmanager
def measured() -> Iterator[Callable[[Found], None]]:
    """Every callback of asyncio's loops is timed and told to what was given last."""
    run: Callable[[Handle], None] = Handle._run
    current = [Found()]

    def timed(handle: Handle) -> None:
        started = time.thread_time()
        run(handle)
        current[0].callback(time.thread_time() - started)

    Handle._run = timed  # type: ignore[method-assign]
    yield lambda found: current.__setitem__(0, found)
    Handle._run = run  # type: ignore[method-assign]


class Api:
    """The API in a thread of its own."""

    def __init__(self, directory: Path, bundle: Path) -> None:
        settings = Settings(
            data_dir=directory / "data",
            tracking_uri="http://127.0.0.1:9",
            replay_samples=1000,
            max_train_rows=10_000_000,
            train_timeout_seconds=60,
        )
        self._socket = listen("127.0.0.1", 0)
        self.port: int = self._socket.getsockname()[1]
        self._app = create_app(settings)
        http_class = protocol(max_age=0, patience=600, idle=600)
        config = uvicorn.Config(
            self._app, loop="asyncio", http=http_class, ws="none", log_config=None, access_log=False
        )
        services = self._app.state.services
        self._server = Server(config, services.drain, before_shutdown=services.close)
        self._bundle = bundle
        self._timer: list[Callable[[float], None]] = [lambda _: None]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Api":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def watch(self, found: Found) -> None:
        self._timer[0] = found.timer

    def _run(self) -> None:
        async def serve() -> None:
            serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
            timers = asyncio.create_task(stalls.sample(lambda late: self._timer[0](late), TIMER_SECONDS))
            while not self._server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
                await asyncio.sleep(0.01)
            await self._app.state.services.activate(self._bundle)
            self._ready.set()
            await serving
            timers.cancel()

        self._server.capture_signals = _no_signals  # type: ignore[method-assign]
        asyncio.run(serve())


@contextmanager
def _no_signals() -> Iterator[None]:
    yield  # only the main thread may have handlers


def ask(port: int, request: Request) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    method, headers = ("GET", {}) if request.body is None else ("POST", {"Content-Type": request.content_type})
    connection.request(method, request.path, request.body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def main(wanted: Sequence[str]) -> int:
    names = [f"feature {number}" for number in range(WIDTH)]
    missed = []
    with tempfile.TemporaryDirectory() as temporary, measured() as measure:
        directory = Path(temporary)
        with Api(directory, wide_model(directory / "bundle", names)) as api:
            for request in requests(names):
                if wanted and request.name not in wanted:
                    continue
                cpu, late, took, status = [], [], [], 0
                for _ in range(_REPETITIONS):
                    found, started = Found(), time.perf_counter()
                    measure(found)
                    api.watch(found)
                    status = ask(api.port, request)
                    took.append(time.perf_counter() - started)
                    cpu.append(found.cpu)
                    late.append(found.late)
                report(request, status, cpu, late, took)
                if np.median(cpu) > AIM_SECONDS:
                    missed.append(request.name)
                if status not in request.status:
                    sys.stdout.write(f"  answered {status}, not one of {request.status}\n")
    sys.stdout.write(f"over {1000 * AIM_SECONDS:g} ms: {', '.join(missed) or 'none'}\n")
    return bool(missed)


def report(request: Request, status: int, *samples: Sequence[float]) -> None:
    """Medians, in milliseconds."""
    cpu, late, took = (1000 * float(np.median(sample)) for sample in samples)
    size = len(request.body or b"") / 2**20
    sys.stdout.write(
        f"{request.name:22}{size:6.1f} MiB  {status}  callback {cpu:7.1f} ms  stall {late:7.1f} ms  {took:8.0f} ms\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
