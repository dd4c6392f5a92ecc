"""HEAD is answered wherever GET is, by the same headers and no body; other methods are told which there are."""

from pathlib import Path

import pytest

from fairlead_service.api.services import Commands
from fairlead_service.settings import Settings
from tests.unit.service.support import api_settings, fake, running, tree, write_bundle

NEW_EACH_TIME = ("x-request-id", "content-length")


def gets(document: dict[str, dict[str, object]]) -> list[str]:
    """Paths with GET, with something in the place of each parameter."""
    pages = ["/", "/docs", "/openapi.json"]
    found = [path for path, methods in document["paths"].items() if "get" in methods]  # type: ignore[operator]
    return pages + [path.replace("{name}", "model").replace("{job_id}", "0" * 32) for path in found]


@pytest.mark.parametrize("role", ["api", "predictor"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_head_is_get_without_a_body(tmp_path: Path, role: str, encoding: str) -> None:
    directory = write_bundle(tmp_path / "bundle", tree()).directory
    predictor = Settings(role="predictor", bundle_dir=directory, replay_samples=10)
    settings = predictor if role == "predictor" else api_settings(tmp_path)
    async with running(settings, Commands(describe=fake("fail", "TrainingFailed", "no"))) as (client, _):
        client.headers["accept-encoding"] = encoding
        paths = gets((await client.get("/openapi.json")).json())
        assert len(paths) > 12
        for path in [*paths, "/v2/nothing", "/nothing"]:
            if path.startswith(("/models", "/runs")):
                continue  # MLflow is not there
            get, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers.keys() == get.headers.keys(), path
            for name in get.headers.keys() - NEW_EACH_TIME:
                assert head.headers[name] == get.headers[name], (path, name)
        counted = (await client.get("/metrics")).text
        assert 'http_requests_total{method="HEAD",path="/health",status="200"} 1.0' in counted
        assert 'method="HEAD",path="unmatched",status="404"' in counted


async def test_allow_has_head_beside_get(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as (client, _):
        for path, methods in (
            ("/health", "GET, HEAD"),
            ("/v2/health/live", "GET, HEAD"),
            ("/", "GET, HEAD"),
            ("/predict", "POST"),
        ):
            answer = await client.put(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, methods), path
