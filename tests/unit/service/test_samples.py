"""Keeping some of the newest rows, and handing them out to those who may have them."""

import hashlib
import math
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.app import create_app
from fairlead_service.observability.recent import COPIED, EVERY, Recent
from fairlead_service.settings import Settings
from tests.unit.service.support import FEATURES, RUN_A, X, running, tree, write_bundle


@given(st.lists(st.integers(1, 300), max_size=20), st.integers(1, 50), st.integers(1, 60))
def test_the_newest_of_every_fourth_row_however_they_come(sizes: list[int], capacity: int, asked: int) -> None:
    recent = Recent(1, capacity)
    rows = np.arange(sum(sizes), dtype=np.float64).reshape(-1, 1)
    start = 0
    for size in sizes:
        offered = rows[start : start + size]
        recent.offer(offered, np.array([f"of {value:g}" for value in offered[:, 0]]))
        start += size
    wanted = rows[::EVERY][-capacity:]
    assert len(recent) == len(wanted)
    assert recent.newest(asked).tolist() == wanted[-asked:].tolist()
    assert recent.answers(asked).tolist() == [f"of {value:g}" for value in wanted[-asked:, 0]]


def test_what_was_handed_out_does_not_change() -> None:
    recent = Recent(1, 1)
    recent.offer(np.zeros((1, 1)), np.array(["a"]))
    before = recent.newest(1), recent.answers(1)
    recent.offer(np.ones((EVERY, 1)), np.array(["b"] * EVERY))
    assert (before[0][0, 0], before[1][0]) == (0, "a")
    assert (recent.newest(1)[0, 0], recent.answers(1)[0]) == (1, "b")


def test_of_a_wide_model_a_long_request_leaves_its_newest_rows() -> None:
    width, most = 10_000, COPIED // 10_000
    recent = Recent(width, 1000)
    matrix = np.repeat(np.arange(200.0)[:, None], width, axis=1)
    for count in (1, 2):
        recent.offer(matrix, np.arange(200))
        assert len(recent) == count * most
        assert recent.newest(most)[:, 0].tolist() == recent.answers(most).tolist() == list(range(0, 200, EVERY))[-most:]


def predictor(tmp_path: Path, **settings: Any) -> Settings:
    write_bundle(tmp_path / "b", tree(), accepts_missing=True)
    return Settings(role="predictor", bundle_dir=tmp_path / "b", **settings)


async def ask(client: httpx.AsyncClient, value: float | None, **headers: str) -> None:
    answer = await client.post("/predict", json={"features": [[value, 0, 0, 0]] * EVERY}, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_the_last_rows_of_users_come_back_with_their_columns(tmp_path: Path) -> None:
    async with running(predictor(tmp_path, replay_samples=2)) as (client, _):
        assert (await client.get("/model/samples")).json() == {"features": [], "columns": list(FEATURES)}
        for value in (1, 2, None):
            await ask(client, value)
        for name in ("Fairlead-Replay", "fairlead-replay"):
            await ask(client, 9, **{name: "1"})
        found = (await client.get("/model/samples")).json()
        assert found["features"] == [[2, 0, 0, 0], [None, 0, 0, 0]]
        assert (await client.get("/model/samples", params={"rows": 1})).json()["features"] == [[None, 0, 0, 0]]
        for rows in ("0", "1001", "many"):
            assert (await client.get("/model/samples", params={"rows": rows})).status_code == 422


async def test_rows_are_kept_for_nobody_by_default(tmp_path: Path) -> None:
    async with running(predictor(tmp_path)) as (client, services):
        await ask(client, 1)
        assert (await client.get("/model/samples")).status_code == 404
        assert services.slot.current is not None
        assert services.slot.current.recent is None
        assert "/model/samples" not in (await client.get("/openapi.json")).json()["paths"]


@pytest.mark.parametrize("by_digest", [True, False])
async def test_a_token_is_asked_for_where_there_is_one(tmp_path: Path, by_digest: bool) -> None:
    digest = hashlib.sha256("tökén".encode()).hexdigest()
    settings = {"load_token_sha256": digest} if by_digest else {"load_token": "tökén"}
    async with running(predictor(tmp_path, replay_samples=5, **settings)) as (client, _):
        for header in (None, "Bearer ", "Bearer wrong", f"Bearer {digest}", "Basic tökén"):
            headers = {} if header is None else {"Authorization": header.encode()}
            answer = await client.get("/model/samples", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.json()["type"] == "urn:fairlead:problem:unauthorized"
        right = {"Authorization": b"Bearer " + "tökén".encode("latin-1")}
        assert (await client.get("/model/samples", headers=right)).status_code == 200


async def test_drift_and_samples_share_their_rows(tmp_path: Path) -> None:
    from fairlead_service.observability.drift import references

    write_bundle(tmp_path / "b", tree(), drift_reference=references(np.tile(X, (50, 1))))
    async with running(Settings(role="predictor", bundle_dir=tmp_path / "b", replay_samples=1)) as (client, services):
        serving = services.slot.current
        assert serving is not None
        await ask(client, 7)
        assert serving.recent is not None
        assert len(serving.recent) == 1
        assert serving.drift is not None
        assert serving.drift.recent is serving.recent
        assert math.isclose((await client.get("/model/samples")).json()["features"][0][0], 7)
        assert serving.run_id == RUN_A


def test_the_path_is_documented_with_its_token() -> None:
    document = create_app(Settings(role="predictor", replay_samples=1)).openapi()
    operation = document["paths"]["/model/samples"]["get"]
    assert operation["responses"].keys() == {"200", "401", "422", "503"}
    assert operation["security"] == [{"load token": []}]
    assert document["components"]["securitySchemes"]["load token"]["scheme"] == "bearer"
