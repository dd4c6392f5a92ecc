"""API keys: who is let in where, what the others are told, and keys that change while the server runs."""

import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from fairlead_service.access import __main__ as command
from fairlead_service.access.gate import Access
from fairlead_service.access.keys import KeyFile
from fairlead_service.access.roles import Need, Open, Role, needed
from fairlead_service.api.services import Services
from fairlead_service.app import create_app
from fairlead_service.errors import Forbidden
from fairlead_service.following import StaleError
from fairlead_service.inference.raw import RawEndpoint
from fairlead_service.settings import Settings
from tests.unit.service.support import RUN_A, X, api_settings, logged, running, tree, write_bundle

FEATURES = {"features": X.tolist()}


def entry(key: str, *roles: str) -> dict[str, Any]:
    return {"name": f"of-{key}", "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": roles}


def write(path: Path, *entries: dict[str, Any]) -> Path:
    """As kubelet does it: the new file takes the old one's place."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(entries))
    os.replace(new, path)
    return path


def spoil(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write(tmp_path / "keys.json", *(entry(role, role) for role in Role))


@pytest.fixture
async def pod(tmp_path: Path, keys: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Services]]:
    directory = write_bundle(tmp_path / "bundle" / "current", tree(), RUN_A).directory
    settings = Settings(
        role="predictor", bundle_dir=directory, hot_swap=True, replay_samples=10, load_token="swap", api_keys_file=keys
    )
    async with running(settings) as (client, services):
        yield client, services


@pytest.mark.parametrize(
    ("method", "template", "need"),
    [
        ("POST", "/predict", Role.PREDICT),
        ("POST", "/invocations", Role.PREDICT),
        ("POST", "/v2/models/{name}/infer", Role.PREDICT),
        ("GET", "/models/{name}", Open.ANY_ROLE),
        ("GET", "/model/info", Open.ANY_ROLE),
        ("GET", "/train/jobs/{id}", Open.ANY_ROLE),
        ("POST", "/train", Role.TRAIN),
        ("DELETE", "/train/jobs/{id}", Role.TRAIN),
        ("PUT", "/models/{name}/aliases/{alias}", Role.ADMIN),
        ("POST", "/model/load/{run_id}", Role.ADMIN),
        ("GET", "/model/samples", Role.ADMIN),
        ("GET", "/health", Open.ANYBODY),
        ("POST", "/health", Role.ADMIN),
        ("GET", "/modelsx", Role.ADMIN),
        ("GET", "/of/tomorrow", Role.ADMIN),
    ],
)
def test_what_a_route_needs(method: str, template: str, need: Need) -> None:
    assert needed(method, template) is need


def test_every_route_is_guarded_or_open(tmp_path: Path, keys: Path) -> None:
    app = create_app(api_settings(tmp_path, api_keys_file=keys, replay_samples=1))
    for route in app.routes:
        if isinstance(route, Route) and not isinstance(route, APIRoute):
            guarded = isinstance(route.endpoint, RawEndpoint)
            assert guarded or needed("GET", route.path) is Open.ANYBODY, route.path


async def test_roles_open_their_paths_and_no_others(pod: tuple[httpx.AsyncClient, Services]) -> None:
    client, _ = pod
    for role, status in ((Role.PREDICT, 200), (Role.ADMIN, 200), (Role.TRAIN, 403)):
        assert (await client.post("/predict", json=FEATURES, headers=bearer(role))).status_code == status
        assert (await client.get("/model/info", headers=bearer(role))).status_code == 200
    for role, status in ((Role.PREDICT, 403), (Role.TRAIN, 403), (Role.ADMIN, 200), ("swap", 200)):
        assert (await client.get("/model/samples", headers=bearer(role))).status_code == status
    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/ping", "/v2/health/ready", "/", "/docs"):
        assert (await client.get(path)).status_code == 200, path


async def test_the_load_token_opens_what_the_operator_asks(pod: tuple[httpx.AsyncClient, Services]) -> None:
    client, _ = pod
    assert (await client.post("/predict", json=FEATURES, headers=bearer("swap"))).status_code == 200
    for path, status in (("/model/info", 200), ("/model/samples", 200), ("/metrics/summary", 401), ("/v2/models", 401)):
        assert (await client.get(path, headers=bearer("swap"))).status_code == status, path
    assert (await client.post("/invocations", json={}, headers=bearer("swap"))).status_code == 401


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), bearer(""), {"Authorization": "Basic YTpi"}])
async def test_others_are_told_to_send_a_key(pod: tuple[httpx.AsyncClient, Services], headers: dict[str, str]) -> None:
    client, _ = pod
    for answer in (
        await client.post("/predict", json=FEATURES, headers=headers),
        await client.get("/model/info", headers=headers),
    ):
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:fairlead:problem:unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "x-request-id" in answer.headers


async def test_a_refusal_names_the_role_and_is_counted(pod: tuple[httpx.AsyncClient, Services]) -> None:
    client, _ = pod
    answer = await client.post("/predict", json=FEATURES, headers=bearer("train"))
    assert "'predict'" in answer.json()["detail"]
    scraped = (await client.get("/metrics")).text
    assert any('/predict"' in line and '403"' in line for line in scraped.splitlines())


async def test_audit_lines_name_the_key(pod: tuple[httpx.AsyncClient, Services]) -> None:
    client, _ = pod
    with logged() as output:
        await client.get("/model/samples", headers=bearer("admin"))
        await client.get("/model/samples", headers=bearer("swap"))
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line["subject"] for line in lines if line["event"] == "audit"] == ["of-admin", "load-token"]


async def test_keys_change_without_a_restart(pod: tuple[httpx.AsyncClient, Services], keys: Path) -> None:
    client, services = pod
    write(keys, entry("fresh", "predict"))
    (source,) = services.access.sources
    assert source.refresh()
    assert not source.refresh()
    for key, status in (("fresh", 200), ("predict", 401)):
        assert (await client.post("/predict", json=FEATURES, headers=bearer(key))).status_code == status


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"{}", b'[{"name": "a"}]', b'[{"name": "a", "sha256": "x", "roles": ["predict"]}]', None],
)
async def test_a_broken_file_keeps_the_keys_of_before(
    pod: tuple[httpx.AsyncClient, Services], keys: Path, broken: bytes | None
) -> None:
    client, services = pod
    spoil(keys, broken)
    (source,) = services.access.sources
    with pytest.raises(StaleError, match=r"keys\.json"):
        source.refresh()
    assert not source.refresh(), "it is told once"
    assert (await client.post("/predict", json=FEATURES, headers=bearer("predict"))).status_code == 200


def test_a_server_does_not_start_on_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(StaleError):
        KeyFile(tmp_path / "none.json")
    with pytest.raises(StaleError, match="same name"):
        KeyFile(write(tmp_path / "twice.json", entry("a", "predict"), entry("a", "admin")))


def test_a_new_key_opens_what_its_entry_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["new", "--name", "ci", "--roles", "predict", "train"]) == 0
    key, made = (line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines())
    one = Access(KeyFile(write(tmp_path / "keys.json", json.loads(made))))
    one.admit(f"bearer {key}".encode(), "POST", "/predict")
    one.admit(f"Bearer {key}".encode(), "POST", "/train")
    with pytest.raises(Forbidden):
        one.admit(f"Bearer {key}".encode(), "POST", "/model/load/{run_id}")
