"""The wall: a server without a model has no model library in memory. In a process of its own, to be sure."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
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
heavy = {"mlflow", "sklearn", "pandas", "skops", "joblib", "scipy", "opentelemetry.sdk", "fairlead_service.training"}
found = heavy & sys.modules.keys()
assert not found, found
"""


def test_a_server_without_a_model_imports_no_model_library(tmp_path: Path) -> None:
    environment = {"FAIRLEAD_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env=environment, timeout=120)
