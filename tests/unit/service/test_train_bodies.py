"""Bodies of trainings: a long one is parsed by a process of its own, with the answers of a short one; a full disk."""

import errno
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead_service.api import train_files
from fairlead_service.api.services import Commands
from fairlead_service.api.train_body import SHORT_BYTES
from tests.unit.service.support import RESULT, RUN_B, X, Y, api_settings, fake, running, tree, write_bundle

TRAIN: dict[str, Any] = {"data": X.tolist(), "target": Y.tolist(), "algorithm": "random_forest"}
LONG = b" " * SHORT_BYTES


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    bundle = write_bundle(tmp_path / "trained", tree(), RUN_B)
    return Commands(train=fake("succeed", bundle.directory, json.dumps(RESULT)))


BODIES: dict[str, bytes] = {
    "right": json.dumps(TRAIN).encode(),
    "registered": json.dumps(TRAIN | {"model_name": "m", "load": False}).encode(),
    "of no JSON": b"{",
    "a list": b"[]",
    "a key twice": b'{"algorithm": "random_forest", "algorithm": "random_forest"}',
    "no data": b'{"algorithm": "random_forest"}',
    "another algorithm": json.dumps(TRAIN | {"algorithm": "magic"}).encode(),
    "two mistakes": json.dumps(TRAIN | {"test_size": 2, "random_state": -1}).encode(),
    "a word among numbers": json.dumps(TRAIN | {"data": [[1, "x"]] * 4}).encode(),
    "too many rows": json.dumps(TRAIN | {"data": [[1]] * 200, "target": [0, 1] * 100}).encode(),
    "a table that is elsewhere": json.dumps({"algorithm": "random_forest", "data_uri": "runs:/x/y.csv"}).encode(),
    "reserved tags": json.dumps(TRAIN | {"tags": {"mlflow.user": "somebody"}}).encode(),
}


async def test_a_long_body_is_answered_as_a_short_one(tmp_path: Path, commands: Commands) -> None:
    async with running(api_settings(tmp_path, max_train_rows=100), commands) as (client, _):
        for name, body in BODIES.items():
            short = await client.post("/train", content=body)
            long = await client.post("/train", content=LONG + body)
            assert long.status_code == short.status_code, (name, long.text)
            found, expected = long.json(), short.json()
            for answer in (found, expected):
                for own in ("instance", "job_id"):
                    answer.pop(own, None)
                # the bytes before it are counted in what the parser says
                answer["detail"] = answer.get("detail", "").partition(":")[0]
            assert found == expected, name
            assert (short.status_code == 200) == (name in ("right", "registered")), short.text
        assert list((tmp_path / "data" / "jobs").iterdir()) == []


async def test_a_long_body_does_not_come_through_the_server(tmp_path: Path, commands: Commands) -> None:
    """It is neither parsed nor kept in memory there: what the child would do is all that happens."""
    commands = Commands(train=commands.train, decode=fake("fail", "InvalidRequest", "the child was asked", "/data"))
    async with running(api_settings(tmp_path), commands) as (client, services):
        answer = await client.post("/train", content=LONG + b"nothing that is JSON")
        assert (answer.status_code, answer.json()["detail"]) == (422, "the child was asked")
        assert services.trainings._taken == 0


@pytest.mark.parametrize("length", [SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 3 * 2**20])
async def test_every_byte_arrives(tmp_path: Path, commands: Commands, length: int) -> None:
    body = json.dumps(TRAIN | {"run_name": "é"}).encode()
    async with running(api_settings(tmp_path), commands) as (client, _):
        answer = await client.post("/train", content=body + b" " * (length - len(body)))
        assert answer.status_code == 200, answer.text


async def test_too_long_a_body(tmp_path: Path, commands: Commands) -> None:
    async def chunks() -> Any:
        for _ in range(30):
            yield b" " * 2**16

    async with running(api_settings(tmp_path, max_train_body_bytes=2**20), commands) as (client, _):
        for content in (LONG * 5, chunks()):
            answer = await client.post("/train", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 413
        assert list((tmp_path / "data" / "jobs").iterdir()) == []


def test_what_the_child_leaves(tmp_path: Path) -> None:
    (tmp_path / train_files.BODY).write_bytes(json.dumps(TRAIN | {"tags": {"a": "b"}}).encode())
    limits = {"rows": 10, "columns": 10, "bytes": 10}
    assert train_files.decode(tmp_path, limits) == {"options": {"algorithm": "random_forest", "load": True}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npy", "request.json"]
    left = json.loads((tmp_path / "request.json").read_text())
    assert (left["target"], left["tags"], left["limits"]) == (Y.tolist(), {"a": "b"}, limits)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk(tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(*_: object) -> None:
        raise OSError(number, "No space left on device")

    async with running(api_settings(tmp_path), commands) as (client, services):
        monkeypatch.setattr(train_files, "write", full)
        answer = await client.post("/train", json=TRAIN)
        assert answer.status_code == 507
        assert "there is no space" in answer.json()["detail"]
        assert answer.headers["Retry-After"]
        monkeypatch.setattr(services.store, "new_job", full)
        assert (await client.post("/train", json=TRAIN)).status_code == 507
        assert services.trainings._taken == 0


async def test_a_full_disk_of_a_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with running(api_settings(tmp_path), Commands(load=("false",))) as (client, services):
        monkeypatch.setattr(services.store, "new_job", full)
        assert (await client.post(f"/model/load/{RUN_B}")).status_code == 507


async def test_a_killed_load_leaves_nothing(tmp_path: Path) -> None:
    """Its files meanwhile are in a directory of the server's, and what it had half written is beside its bundle."""
    code = (
        "import os, pathlib, signal, sys\n"
        "option = lambda name: pathlib.Path(sys.argv[sys.argv.index(name) + 1])\n"
        "(option('--scratch') / 'model.skops').write_bytes(b'half')\n"
        "bundle = option('--bundle')\n"
        "(bundle.parent / f'.{bundle.name}.half').mkdir()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    async with running(api_settings(tmp_path), Commands(load=(sys.executable, "-c", code, "--"))) as (client, _):
        answer = await client.post(f"/model/load/{RUN_B}")
        assert "SIGKILL" in answer.json()["detail"]
        assert list((tmp_path / "data" / "jobs").iterdir()) == []
        assert list((tmp_path / "data" / "bundles").iterdir()) == []


async def test_a_full_disk_of_the_child(tmp_path: Path) -> None:
    commands = Commands(train=fake("fail", "DiskFull", "OSError: [Errno 28] No space left on device"))
    async with running(api_settings(tmp_path), commands) as (client, _):
        assert (await client.post("/train", json=TRAIN)).status_code == 507


@pytest.mark.parametrize("tag", ["mlflow.user", "mlflow.parentRunId", "mlflow.source.name", "fairlead.version"])
async def test_reserved_tags(tmp_path: Path, commands: Commands, tag: str) -> None:
    async with running(api_settings(tmp_path), commands) as (client, _):
        answer = await client.post("/train", json=TRAIN | {"tags": {tag: "x"}})
        assert answer.status_code == 422
        assert f"'{tag}' is reserved" in answer.json()["detail"]
        kept = {"mlflow.note.content": "a description", "mlflowers": "x", "team": "a"}
        assert (await client.post("/train", json=TRAIN | {"tags": kept})).status_code == 200
