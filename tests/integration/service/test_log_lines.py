"""All that a server and its children print, over a life with everything in it, fits docs/logs.schema.json."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from fairlead_service import contract
from tests.integration.service.conftest import StartServer, start_process
from tests.integration.service.sockets import Peer, get, request
from tests.log_lines import problems
from tests.unit.service.support import RUN_A

TRAIN = {
    "data": [[5.1, 3.5, 1.4, 7777.125], [4.9, 3.0, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [5.9, 3.0, 4.2, 1.5]],
    "target": [0, 0, 1, 1],
    "algorithm": "logistic_regression",
    "hyperparameters": {"max_iter": 1},
}
SECRETS = ("7777.125", "the-token", "hunter2")


def test_a_servers_life(start_server: StartServer, mlflow_server: str, tmp_path: Path) -> None:
    server = start_server(
        fairlead_data_dir=tmp_path,
        mlflow_tracking_uri=mlflow_server,
        mlflow_tracking_password="hunter2",
        fairlead_load_token="the-token",
        fairlead_log_level="debug",
        fairlead_drain_seconds=0,
        forwarded_allow_ips="*",
    )
    with server.client() as client:
        assert client.post("/train", json=TRAIN).status_code == 200
        client.post("/train", json=TRAIN | {"target": [1, 1, 1, 1]})
        client.post(f"/model/load/{RUN_A}", headers={"authorization": "Bearer the-token"})
        client.post(f"/model/load/{RUN_A}", headers={"authorization": "Bearer wrong"})
        client.post("/predict", json={"features": [[1, 2, 3, 7777.125]]})
        client.post("/predict", json={"features": [[1, 2, 3, "7777.125"]]})
        client.get("/x", headers={"x-forwarded-for": '1.2.3.4" \\', "x-request-id": '"'})
        for path in ("/metrics", "/health/ready", "/%22%5C%0A%F0%9F%92%A9%ff", "/" + "long" * 200, "/model/info"):
            client.get(path)
    with Peer(server) as peer:
        peer.send(get(b'/"\\\xff')).answer()
    with Peer(server) as peer:
        peer.send(b"no HTTP at all\r\n\r\n").closed()
    with Peer(server) as peer:
        peer.send(request()[:-5]).reset()
    server.process.terminate()
    assert server.ended() == 0
    lines = [json.dumps(line).encode() for line in server.lines]
    assert [problem for line in lines for problem in problems(line)] == []
    events = {line["event"] for line in server.lines}
    assert events >= {"request", "audit", "started", "log"}
    assert "uvicorn.error" in {line["logger"] for line in server.lines}
    assert [line["client"] for line in server.lines if line.get("path") == "/x"] == ['1.2.3.4" \\']
    text = b"\n".join(lines).decode()
    assert not [secret for secret in SECRETS if secret in text]


def test_a_server_that_cannot_start(tmp_path: Path) -> None:
    for settings in ({"fairlead_port": "x"}, {"fairlead_role": "predictor", "fairlead_bundle_dir": tmp_path}):
        process = start_process(**settings)
        output, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        assert [problem for line in output.splitlines() for problem in problems(line)] == []
        assert b'"event":"error"' in output


def test_children_as_pods_run_them(mlflow_server: str, tmp_path: Path) -> None:
    """Both outputs, as a container's log has them."""
    data = tmp_path / "job"
    data.mkdir()
    import numpy as np

    np.save(data / "data.npy", np.array(TRAIN["data"]))
    asked = {key: value for key, value in TRAIN.items() if key != "data"} | {"model_name": "logged"}
    (data / "request.json").write_text(json.dumps(asked))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FAIRLEAD_", "OTEL_"))}
    environment |= {contract.ENV_TRACKING_URI: mlflow_server, contract.ENV_TERMINATION_LOG: os.devnull}

    def run(module: str, *arguments: str, code: int = 0) -> list[bytes]:
        command = [sys.executable, "-m", f"fairlead_service.{module}", *arguments]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False
        )
        assert done.returncode == code, done.stdout.decode()
        found = done.stdout.splitlines()
        assert [problem for line in found for problem in problems(line)] == []
        return found

    trained = run("training", "train", "--request", str(data), "--bundle", str(tmp_path / "trained"))
    assert {json.loads(line)["service"] for line in trained} == {"fairlead-trainer"}
    assert b'"event":"result"' in trained[-1]
    (run_id,) = set(re.findall(rb'"run_id":"([0-9a-f]{32})"', trained[-1]))
    loaded = run("loading", "--model-uri", f"runs:/{run_id.decode()}", "--bundle", str(tmp_path / "loaded"))
    assert {json.loads(line)["event"] for line in loaded} == {"progress", "result"}
    failed = run("loading", "--model-uri", f"runs:/{RUN_A}", "--bundle", str(tmp_path / "no"), code=1)
    assert json.loads(failed[-1])["reason"] == "ModelNotFound"
