"""MLflow's own webhooks, sent by a real server to the real endpoint."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest_asyncio
from mlflow import MlflowClient
from mlflow.webhooks.delivery import _generate_hmac_signature

from fairlead_operator.api import Status
from fairlead_operator.controller import Controller
from fairlead_operator.webhook import DELIVERY, PATH, SIGNATURE, TIMESTAMP, WINDOW_SECONDS, WebhookServer
from tests.controlplane.cluster import Registry
from tests.integration.operator.conftest import ToldCluster, followers

SECRET = "0123456789abcdef0123456789abcdef"
SOON = 10.0
"""Seconds: an alias that moved is seen in well under one, but the machine may be busy. The poll comes after an hour."""
GUIDE = Path(__file__).parents[3] / "docs/webhooks.md"


class Followed:
    """A resource that follows an alias, an operator that polls once an hour, and its endpoint."""

    def __init__(self, cluster: ToldCluster, server: WebhookServer) -> None:
        self.cluster, self.url = cluster, f"http://127.0.0.1:{server.port}{PATH}"

    async def until(self, version: str | None) -> None:
        """Until the operator has taken up that the alias means this version, or none."""

        def holds(status: Status) -> bool:
            resolved = status.condition("ModelResolved")
            if resolved is None or resolved.status != "True":
                return resolved is not None and version is None
            return status.candidate is not None and status.candidate.model_version == version

        await self.cluster.until("r0", holds, SOON)


@pytest_asyncio.fixture
async def followed(registry: Registry, name: str, operator: Callable[..., Controller]) -> AsyncIterator[Followed]:
    registry.alias(name, "champion", registry.version(name, registry.run()))
    registry.version(name, registry.run())
    controller = operator(*followers(1, name), alias_poll_seconds=3600, resync_seconds=3600)
    loop = asyncio.get_running_loop()

    def notice(name: str) -> None:
        loop.call_soon_threadsafe(controller.noticed, name)

    async with controller.running():
        server = WebhookServer(0, SECRET, notice, host="127.0.0.1")
        try:
            yield Followed(controller._kube, server)  # type: ignore[arg-type]
        finally:
            server.close()


def register(registry: Registry, url: str, secret: str = SECRET) -> str:
    """Registers the webhook with the very body that docs/webhooks.md gives; returns its id."""
    body = re.search(r"/mlflow/webhooks .* -d '({.*?})'\n", GUIDE.read_text(), re.DOTALL)
    assert body is not None
    documented = json.loads(body[1].replace("""'"$SECRET"'""", secret))
    assert documented["url"].endswith(PATH)
    return str(registry.post("webhooks", **documented | {"url": url})["webhook"]["webhook_id"])


async def test_an_alias_that_moves_is_noticed_at_once(
    followed: Followed, registry: Registry, name: str, mlflow_server: str
) -> None:
    webhook = await asyncio.to_thread(register, registry, followed.url)
    try:
        await followed.until("1")
        begun = time.monotonic()
        await asyncio.to_thread(registry.alias, name, "champion", "2")
        await followed.until("2")
        assert time.monotonic() - begun < SOON
        await asyncio.to_thread(
            registry.client.request, "DELETE", "registered-models/alias", json={"name": name, "alias": "champion"}
        )
        await followed.until(None)
        await asyncio.to_thread(registry.alias, name, "champion", "1")
        await followed.until("1")
        tested = await asyncio.to_thread(MlflowClient(mlflow_server, mlflow_server).test_webhook, webhook)
        assert (tested.success, tested.response_status) == (True, 200), tested
    finally:
        await asyncio.to_thread(MlflowClient(mlflow_server, mlflow_server).delete_webhook, webhook)


async def test_mlflow_is_told_when_its_secret_is_another(
    followed: Followed, registry: Registry, mlflow_server: str
) -> None:
    webhook = await asyncio.to_thread(register, registry, followed.url, "not the secret of the operator")
    client = MlflowClient(mlflow_server, mlflow_server)
    try:
        tested = await asyncio.to_thread(client.test_webhook, webhook)
        assert (tested.success, tested.response_status) == (False, 401)
        assert "another secret" in (tested.response_body or "")
    finally:
        await asyncio.to_thread(client.delete_webhook, webhook)


async def test_what_mlflow_did_not_send_or_sent_before_is_refused(
    calls: Counter[str], followed: Followed, registry: Registry, name: str
) -> None:
    await followed.until("1")
    await asyncio.to_thread(registry.alias, name, "champion", "2")
    event = {"entity": "model_version_alias", "action": "created", "data": {"name": name, "alias": "champion"}}
    body, now = json.dumps(event), int(time.time())

    async def post(secret: str = SECRET, at: int = now, delivery: str = "d-1") -> int:
        signature = _generate_hmac_signature(secret, delivery, str(at), body)
        headers = {DELIVERY: delivery, TIMESTAMP: str(at), SIGNATURE: signature}
        async with httpx.AsyncClient() as client:
            return (await client.post(followed.url, content=body, headers=headers)).status_code

    assert await post(secret="x" * 32) == 401
    assert await post(at=now - WINDOW_SECONDS - 5) == 401
    assert calls["registered-models/get"] == 1, "nobody asked MLflow"
    assert await post() == 200
    await followed.until("2")
    assert await post() == 409
    assert calls["registered-models/get"] == 2
