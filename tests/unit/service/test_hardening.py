"""What every answer tells browsers."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.service.support import X, api_settings, running, tree, write_bundle


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", None),
        ("GET", "/docs", None),
        ("GET", "/health", None),
        ("GET", "/metrics", None),
        ("GET", "/metrics/summary", None),
        ("GET", "/nothing", None),
        ("DELETE", "/predict", None),
        ("POST", "/predict", {"features": X.tolist()}),
        ("POST", "/predict", {"features": "x"}),
        ("POST", "/invocations", {"inputs": X.tolist()}),
        ("POST", "/v2/models/x/infer", {}),
        ("POST", "/train", {}),
    ],
)
async def test_every_answer_has_the_headers(tmp_path: Path, method: str, path: str, body: Any) -> None:
    async with running(api_settings(tmp_path)) as (client, services):
        await services.activate(write_bundle(tmp_path / "bundle", tree()).directory)
        origin = {"Origin": "https://elsewhere.example"}
        headers = (await client.request(method, path, json=body, headers=origin)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe-inline" not in headers["Content-Security-Policy"].replace("style-src-attr 'unsafe-inline'", "")
        assert headers["Cache-Control"] == ("no-cache" if path == "/" else "no-store")
        assert not [name for name in headers if name.startswith("access-control-") or name == "server"]
        assert len(headers.get_list("Content-Security-Policy")) == len(headers.get_list("Cache-Control")) == 1


async def test_no_preflight_is_granted(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as (client, _):
        asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
        answer = await client.request("OPTIONS", "/predict", headers=asked)
        assert answer.status_code == 405
        assert "access-control-allow-origin" not in answer.headers
