"""The registry and the operator's process: approval by hand, verdicts as tags, webhooks."""

import shlex
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from fairlead_operator.webhook import DELIVERY, PATH, SIGNATURE, TIMESTAMP
from tests.controlplane.cluster import Api, Operator, Registry, condition, md, up_to_date
from tools.localcluster.controlplane import ControlPlane, free_port

SECRET = "0123456789abcdef0123456789abcdef"


def following(api: Api, registry: Registry, namespace: str, **model: str) -> str:
    """A resource that follows an alias, and serves version 1; returns the registered model's name."""
    name = f"model-{namespace}"
    registry.alias(name, "champion", registry.version(name, registry.run()))
    registry.version(name, registry.run())
    api.create("md", md(namespace, "fraud", "", model={"uri": f"models:/{name}@champion", **model}))
    api.wait("md", namespace, "fraud", up_to_date)
    return name


def verdict(registry: Registry, namespace: str, name: str, version: str) -> str | None:
    answer = registry.client.get("model-versions/get", params={"name": name, "version": version}).json()
    tags = {tag["key"]: str(tag["value"]) for tag in answer["model_version"].get("tags", [])}
    return tags.get(f"fairlead.{namespace}.fraud")


def test_an_update_waits_until_the_command_in_its_message_is_run(
    api: Api, operator: Operator, registry: Registry, namespace: str, plane: ControlPlane
) -> None:
    name = following(api, registry, namespace, updatePolicy="Manual")
    assert verdict(registry, namespace, name, "1") == "Serving"

    registry.alias(name, "champion", "2")
    resource = api.wait(
        "md", namespace, "fraud", lambda found: condition(found, "UpToDate").get("reason") == "UpdateAvailable"
    )
    assert {entry["type"]: entry["status"] for entry in resource["status"]["conditions"]} == {
        "Ready": "True",
        "ModelResolved": "True",
        "UpToDate": "False",
    }
    plane.kubectl("wait", "--for=condition=Ready", "md/fraud", "-n", namespace, "--timeout=30s")
    assert verdict(registry, namespace, name, "2") is None

    program, *arguments = shlex.split(condition(resource, "UpToDate")["message"].partition("approval: ")[2])
    assert program == "kubectl"
    plane.kubectl(*arguments)
    resource = api.wait("md", namespace, "fraud", up_to_date)
    assert resource["status"]["serving"]["modelVersion"] == "2"
    assert "untold" not in resource["status"] or resource["status"]["untold"] == []
    assert verdict(registry, namespace, name, "1") == "Replaced"
    assert verdict(registry, namespace, name, "2") == "Serving"


@pytest.fixture
def webhook_port(operator: Operator) -> Iterator[int]:
    """The operator takes webhooks meanwhile, and polls once an hour."""
    port = free_port()
    operator.restart(ALIAS_POLL_SECONDS="3600", WEBHOOK_SECRET=SECRET, WEBHOOK_PORT=str(port))
    yield port
    operator.restart(ALIAS_POLL_SECONDS="1", WEBHOOK_SECRET="")


def test_a_webhook_is_quicker_than_the_poll_and_a_silent_client_keeps_nobody(
    api: Api, operator: Operator, registry: Registry, namespace: str, webhook_port: int
) -> None:
    name = following(api, registry, namespace)
    registry.alias(name, "champion", "2")
    body, at = f'{{"entity": "model_version_alias", "data": {{"name": "{name}"}}}}', str(int(time.time()))
    headers: dict[str, Any] = {DELIVERY: "d-1", TIMESTAMP: at}
    headers[SIGNATURE] = _generate_hmac_signature(SECRET, "d-1", at, body)
    with socket.create_connection(("127.0.0.1", webhook_port)):
        url = f"http://127.0.0.1:{webhook_port}{PATH}"
        assert httpx.post(url, content=body, headers=headers, timeout=10).status_code == 200
        api.wait("md", namespace, "fraud", lambda found: found["status"]["serving"]["modelVersion"] == "2")
        assert operator.stop() == 0  # raises if it takes longer than a pod may
    operator.start()
