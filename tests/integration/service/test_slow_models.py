"""Calls that take long: rows of those who have left are not evaluated, those of the others are before a server ends."""

import contextlib
import json
import signal
from pathlib import Path

import pytest
from sklearn.ensemble import RandomForestClassifier

from tests.integration.service.conftest import ServerProcess, StartServer
from tests.integration.service.sockets import Peer, answered, await_taken, complaints, get, request, samples
from tests.unit.service.support import X, Y, write_bundle

ROWS = 6000
SMALL = request(b'{"features":[' + b",".join([b"[1,2,3,4]"] * ROWS) + b"]}")
"""Read at once: when it is in progress, it waits for the model."""
LARGE = request(json.dumps({"features": X.tolist() * (ROWS // 4)}).encode())
"""More than uvicorn reads before it pauses."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    forest = RandomForestClassifier(400, random_state=0).fit(X, Y)
    return write_bundle(tmp_path_factory.mktemp("slow") / "bundle", forest).directory


@pytest.fixture
def server(start_server: StartServer, bundle: Path) -> ServerProcess:
    return start_server(
        fairlead_role="predictor",
        fairlead_bundle_dir=bundle,
        fairlead_predict_threads=1,
        fairlead_drain_seconds=0,
        fairlead_max_connection_age_seconds=0,
        fairlead_max_batch_rows=ROWS,
        fairlead_max_waiting_rows=10**6,
    )


def test_only_rows_of_those_who_wait_are_evaluated_and_they_all_are(server: ServerProcess) -> None:
    with contextlib.ExitStack() as stack:
        probe, *peers = (stack.enter_context(Peer(server)) for _ in range(21))
        patient, impatient = peers[:14], peers[14:]
        before = samples(probe)[("prediction_batch_size_sum",)]
        for peer in patient:
            peer.send(SMALL)
        await_taken(probe, 14)  # they take a second, one after the other
        for peer in impatient:
            peer.send(LARGE)
        await_taken(probe, 20)
        for peer in impatient:
            peer.reset()
        for peer in patient:
            assert len(peer.answer().json()["predictions"]) == ROWS
        while answered(found := samples(probe)) < 20:
            pass
        assert found[("prediction_batch_size_sum",)] == before + 14 * ROWS
        assert found[("http_requests_total", "POST", "/predict", "499")] == 6
        assert ("http_requests_total", "POST", "/predict", "500") not in found

        waiting = [stack.enter_context(Peer(server)).send(LARGE) for _ in range(3)]
        pipelined = stack.enter_context(Peer(server)).send(LARGE + get(b"/health/live"))
        await_taken(probe, 24)
        server.process.send_signal(signal.SIGTERM)
        for peer in waiting:
            answer = peer.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert peer.closed()
        assert pipelined.answer().status == 200
        assert pipelined.closed()
    assert server.ended() == 0
    assert complaints(server) == []
