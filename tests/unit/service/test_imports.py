"""The wall: a server has no model library in memory, neither without a model nor with a compiled one. In a process of
its own, to be sure."""

import subprocess
import sys
from pathlib import Path

from sklearn.ensemble import RandomForestClassifier

from tests.unit.service.native.compared import open_native
from tests.unit.service.support import X, Y

WITHOUT_MODEL = """
import asyncio, sys
import httpx
from fairlead_service import __main__
from fairlead_service.app import create_app
from fairlead_service.settings import Settings

async def main():
    app = create_app(Settings())
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            assert (await client.get("/health")).json()["status"] == "no-model"
            unknown = await client.post("/train", json={"data": [[1], [2]], "target": [0, 1], "algorithm": "magic"})
            assert "random_forest" in unknown.json()["detail"], unknown.text

asyncio.run(main())
"""
WITH_MODEL = """
import asyncio, sys
import httpx
from fairlead_service import __main__
from fairlead_service.app import create_app
from fairlead_service.settings import Settings

async def main():
    app = create_app(Settings())
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            body = {"features": [[5.1, 3.5, 1.4, 0.2]], "probabilities": True}
            assert (await client.post("/predict", json=body)).json()["predictions"] == [0]
            assert (await client.get("/model/info")).json()["backend"] == "native"
            assert (await client.get("/metrics")).status_code == 200

asyncio.run(main())
"""
HEAVY = """
heavy = {"mlflow", "sklearn", "pandas", "skops", "joblib", "scipy", "opentelemetry.sdk", "fairlead_service.training"}
found = heavy & sys.modules.keys()
assert not found, found
"""
LATE = """
late = {"opentelemetry.exporter", "requests", "pydantic.v1.main"}
found = late & sys.modules.keys()
assert "opentelemetry.sdk.trace" in sys.modules and not found, found
"""


def test_a_server_without_a_model_imports_no_model_library(tmp_path: Path) -> None:
    run(WITHOUT_MODEL, {"FAIRLEAD_DATA_DIR": str(tmp_path)})


def test_a_server_on_a_compiled_model_imports_no_model_library(tmp_path: Path) -> None:
    open_native(RandomForestClassifier(5, random_state=0).fit(X, Y), tmp_path / "b", X.shape[1])
    run(WITH_MODEL, {"FAIRLEAD_ROLE": "predictor", "FAIRLEAD_BUNDLE_DIR": str(tmp_path / "b")})


def test_a_server_that_has_no_spans_to_send_imports_nothing_to_send_them_with(tmp_path: Path) -> None:
    open_native(RandomForestClassifier(5, random_state=0).fit(X, Y), tmp_path / "b", X.shape[1])
    tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "always_off"}
    run(WITH_MODEL, {"FAIRLEAD_ROLE": "predictor", "FAIRLEAD_BUNDLE_DIR": str(tmp_path / "b")} | tracing, LATE)


def run(script: str, environment: dict[str, str], check: str = HEAVY) -> None:
    environment |= {"PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", script + check], check=True, env=environment, timeout=120)
