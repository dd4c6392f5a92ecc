"""The servers that are compared, each at its defaults unless its name says otherwise."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import yaml
from benchmarks.serving import environments, protocols
from benchmarks.serving.models import SavedModel
from benchmarks.serving.paths import APPS, ROOT
from benchmarks.serving.protocols import Protocol

BATCH: Final = 64
"""Most requests in one batch of peers that batch: as many as the benchmark ever has in flight."""
BATCH_WAIT_SECONDS: Final = 0.005
"""How long they wait for a batch, where that is to be set: about what a one-row forest call takes."""


@dataclass(frozen=True)
class Place:
    """What a server is told when it is started."""

    python: Path
    model: SavedModel
    ports: tuple[int, ...]
    """Free ones; the first is the one that is asked."""
    scratch: Path
    """An empty directory that is removed afterwards."""
    sink: int
    """The port that takes traces."""


@dataclass(frozen=True)
class Launch:
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    name: str
    peer: str
    """Whose environment it runs in."""
    title: str
    protocol: Protocol | None
    """None for the floor, which reads no rows."""
    launch: Callable[[Place], Launch]
    batching: bool = False
    """Joins single rows of several requests, so only cases of one row are for it."""


def _ours(place: Place, *, minimal: bool = False) -> Launch:
    settings = {
        "FAIRLEAD_ROLE": "predictor",
        "FAIRLEAD_BUNDLE_DIR": str(place.model.bundle),
        "FAIRLEAD_HOST": "127.0.0.1",
        "FAIRLEAD_PORT": str(place.ports[0]),
        "FAIRLEAD_DRAIN_SECONDS": "0",  # concerns the end only
    }
    if minimal:
        settings["FAIRLEAD_LOG_LEVEL"] = "warning"
        return Launch((str(place.python), str(APPS / "without_metrics.py")), settings)
    settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{place.sink}"
    settings["OTEL_TRACES_SAMPLER"] = "parentbased_traceidratio"  # as the operator sets it in every pod
    settings["OTEL_TRACES_SAMPLER_ARG"] = str(sample_ratio())
    return Launch((str(place.python), "-m", "fairlead_service"), settings)


def sample_ratio() -> float:
    """The chart's default share of traced requests. A server that nobody tells, traces all of them."""
    values = yaml.safe_load((ROOT / "charts" / "fairlead" / "values.yaml").read_text())
    return float(values["tracing"]["sampleRatio"])


def _app(place: Place, file: str, **more: object) -> Launch:
    settings = {"BENCH_MODEL": place.model.joblib, "BENCH_PORT": place.ports[0], "BENCH_SCRATCH": place.scratch, **more}
    return Launch((str(place.python), str(APPS / file)), {name: str(value) for name, value in settings.items()})


def _mlserver(place: Place, *, workers: int | None = None, batch: int = 0) -> Launch:
    http, grpc, metrics = place.ports[:3]
    settings: dict[str, object] = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    if workers is not None:
        settings["parallel_workers"] = workers
    model: dict[str, object] = {
        "name": "model",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(place.model.joblib)},
    }
    if batch:
        model |= {"max_batch_size": batch, "max_batch_time": BATCH_WAIT_SECONDS}
    (place.scratch / "settings.json").write_text(json.dumps(settings))
    (place.scratch / "model-settings.json").write_text(json.dumps(model))
    return Launch((str(place.python.parent / "mlserver"), "start", str(place.scratch)))


def _bentoml(place: Place, *, batch: int = 0) -> Launch:
    command = (str(place.python.parent / "bentoml"), "serve", "bentoml_service:Sklearn", "--working-dir", str(APPS))
    settings = {
        "BENCH_MODEL": str(place.model.joblib),
        "BENTOML_HOME": str(place.scratch),
        "BENTOML_DO_NOT_TRACK": "True",
        **({"BENCH_BATCH": str(batch)} if batch else {}),
    }
    return Launch((*command, "--host", "127.0.0.1", "--port", str(place.ports[0])), settings)


def _mlflow(place: Place) -> Launch:
    command = (str(place.python.parent / "mlflow"), "models", "serve", "--env-manager", "local")
    where = ("--model-uri", str(place.model.mlflow), "--host", "127.0.0.1", "--port", str(place.ports[0]))
    return Launch((*command, *where), {"MLFLOW_TRACKING_URI": str(place.scratch), "MLFLOW_DISABLE_TELEMETRY": "true"})


def _ray(place: Place, *, batch: int = 0) -> Launch:
    more = {"BENCH_BATCH": batch, "BENCH_WAIT": BATCH_WAIT_SECONDS} if batch else {}
    return _app(place, "ray_serve.py", RAY_USAGE_STATS_ENABLED="0", **more)


OURS: Final = Server("ours", environments.OURS, "Fairlead, all observability on", protocols.FEATURES, _ours)
MINIMAL: Final = Server(
    "ours-minimal",
    environments.OURS,
    "Fairlead without request log, traces and metrics",
    protocols.FEATURES,
    partial(_ours, minimal=True),
)
NAIVE: Final = Server("naive", "naive", "FastAPI", protocols.FEATURES, partial(_app, file="naive.py"))
FLOOR: Final = Server(
    "constant", environments.OURS, "a constant answer by uvicorn", None, partial(_app, file="constant.py")
)

ALL: Final = (
    OURS,
    NAIVE,
    Server(
        "naive-async", "naive", "FastAPI, async", protocols.FEATURES, partial(_app, file="naive.py", BENCH_ASYNC="1")
    ),
    Server("kserve", "kserve", "KServe", protocols.KSERVE_V1, partial(_app, file="kserve_server.py")),
    Server("mlserver", "mlserver", "MLServer", protocols.OPEN_INFERENCE, _mlserver),
    Server(
        "mlserver-inline",
        "mlserver",
        "MLServer, parallel_workers=0",
        protocols.OPEN_INFERENCE,
        partial(_mlserver, workers=0),
    ),
    Server(
        "mlserver-batching",
        "mlserver",
        "MLServer, parallel_workers=0, batching",
        protocols.OPEN_INFERENCE,
        partial(_mlserver, workers=0, batch=BATCH),
        batching=True,
    ),
    Server("mlflow", "mlflow", "mlflow models serve", protocols.MLFLOW, _mlflow),
    Server("bentoml", "bentoml", "BentoML", protocols.BENTOML, _bentoml),
    Server(
        "bentoml-batching",
        "bentoml",
        "BentoML, batching",
        protocols.BENTOML,
        partial(_bentoml, batch=BATCH),
        batching=True,
    ),
    Server("ray", "ray", "Ray Serve", protocols.FEATURES, _ray),
    Server("ray-batching", "ray", "Ray Serve, batching", protocols.FEATURES, partial(_ray, batch=BATCH), batching=True),
    FLOOR,
    MINIMAL,
)


def environment(launch: Launch, marker: str) -> dict[str, str]:
    """Little of the caller's own, so that its settings do not change the result; and a mark to find children by."""
    path = f"{Path(launch.command[0]).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    mine = {"PATH": path, "HOME": str(Path.home()), "LANG": "C.UTF-8"}
    return mine | dict(launch.environment) | {"FAIRLEAD_BENCH": marker}
