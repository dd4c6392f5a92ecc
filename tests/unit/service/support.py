"""Small bundles, and applications that serve them."""

import io
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import skops.io
from fastapi import FastAPI
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from fairlead_service.api.services import Commands, Services
from fairlead_service.app import create_app
from fairlead_service.models import bundle as bundles
from fairlead_service.models.bundle import SKOPS_FILE, Bundle, Identity, Manifest, Proof
from fairlead_service.observability import logs
from fairlead_service.observability.tracing import Tracing
from fairlead_service.settings import Settings

RUN_A = "a" * 32
RUN_B = "b" * 32
X = np.array([[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [5.9, 3.0, 4.2, 1.5]])
Y = np.array([0, 0, 1, 1])
FEATURES = ("sepal length", "sepal width", "petal length", "petal width")
RESULT = {
    "run_id": RUN_B,
    "algorithm": "random_forest",
    "task": "classification",
    "metrics": {"accuracy": 1.0},
    "evaluation": {"method": "holdout", "train_rows": 3, "test_rows": 1},
    "hyperparameters": {},
    "n_features": 4,
    "classes": [0, 1],
    "duration_seconds": 1.0,
    "bundle": "…",
}
"""What a training's child says at its end."""
_FAKE_CHILD = str(Path(__file__).with_name("fake_child.py"))


def fake(mode: str, *arguments: object) -> tuple[str, ...]:
    """The command of a fake child; the server's own arguments come after the `--`."""
    return (sys.executable, "-S", "-E", _FAKE_CHILD, mode, *map(str, arguments), "--")


def tree(y: Any = Y, x: Any = X) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(random_state=0).fit(x, y)


def logistic(y: Any = Y) -> LogisticRegression:
    return LogisticRegression().fit(X, y)


def linear() -> LinearRegression:
    return LinearRegression().fit(X, [0.1, 0.2, 0.3, 1e300])


def write_bundle(directory: Path, model: Any, run_id: str = RUN_A, **changes: Any) -> Bundle:
    classifier = hasattr(model, "classes_")
    manifest = Manifest(
        identity=Identity(run_id=run_id, model_uri=f"runs:/{run_id}/model"),
        backend="sklearn",
        estimator=f"sklearn.{type(model).__name__}",
        task="classification" if classifier else "regression",
        n_features=X.shape[1],
        feature_names=FEATURES,
        classes=tuple(model.classes_.tolist()) if classifier else None,
        has_probabilities=hasattr(model, "predict_proba"),
        trusted_types=("sklearn.tree._tree.Tree",),
        input_example=tuple(map(tuple, X.tolist())),
        proof=Proof(rows=len(X), verdict="loaded"),
        created_at=datetime.now(UTC),
    )
    return bundles.write(directory, manifest.model_copy(update=changes), {SKOPS_FILE: skops.io.dumps(model)})


def api_settings(tmp_path: Path, **changes: Any) -> Settings:
    values = {"data_dir": tmp_path / "data", "tracking_uri": "http://mlflow.test", "child_grace_seconds": 1.0}
    return Settings(**(values | changes))


@asynccontextmanager
async def running(
    settings: Settings, commands: Commands | None = None, tracing: Tracing | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, Services]]:
    """A started application, a client of it, and what it is made of."""
    app = create_app(settings, commands=commands, tracing=tracing)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client, app.state.services


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://fairlead.test", timeout=60)


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """What is logged, with the loggers put back as they were afterwards."""
    root, names = logging.getLogger(), ("fairlead", "uvicorn")
    before = (root.handlers[:], root.level, {name: logging.getLogger(name).level for name in names})
    output = io.StringIO()
    logs.configure("debug", "fairlead-test", output)
    yield output
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    logging.captureWarnings(False)
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)
