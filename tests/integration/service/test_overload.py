"""More comes than a server can answer: it says so at once, answers what it took on, and still says how it is."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.ensemble import RandomForestClassifier

from tests.integration.service.conftest import ServerProcess, StartServer
from tests.integration.service.sockets import (
    RIGHT,
    Answer,
    Peer,
    answered,
    await_taken,
    complaints,
    get,
    request,
    samples,
)
from tests.unit.service.support import X, Y, write_bundle

ROWS = 60_000
PLACES = 3


def of_rows(rows: int) -> bytes:
    return request(b'{"features":[' + b",".join([b"[1,2,3,4]"] * rows) + b"]}")


SLOW = of_rows(ROWS)
"""About a second of the one thread."""
CSV = request(b"a,b,c,d\n1,2,3,4\n", b"Content-Type: text/csv", path=b"/invocations")
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}
INFER = request(json.dumps({"inputs": [TENSOR]}).encode(), path=b"/v2/models/model/infer")
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture(scope="module")
def slow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    forest = RandomForestClassifier(400, random_state=0).fit(X, Y)
    return write_bundle(tmp_path_factory.mktemp("slow") / "bundle", forest).directory


@pytest.fixture(scope="module")
def server(start_server: StartServer, slow_bundle: Path) -> ServerProcess:
    return start_server(
        fairlead_role="predictor",
        fairlead_bundle_dir=slow_bundle,
        fairlead_predict_threads=1,
        fairlead_max_connection_age_seconds=0,
        fairlead_max_batch_rows=ROWS,
        fairlead_max_waiting_rows=PLACES * ROWS,
        fairlead_max_in_flight=PLACES,
    )


@pytest.fixture
def full(server: ServerProcess) -> Iterator[list[Peer]]:
    """Clients whose requests have all places; in the end they get their answers."""
    with contextlib.ExitStack() as stack:
        probe, *peers = (stack.enter_context(Peer(server)) for _ in range(PLACES + 1))
        before = answered(samples(probe))
        for peer in peers:
            peer.send(SLOW)
        await_taken(probe, int(before) + PLACES)
        assert answered(samples(probe)) == before, "answered too quickly to be in flight together"
        yield peers
        for peer in peers:
            assert len(peer.answer().json()["predictions"]) == ROWS


def refused(answer: Answer) -> Answer:
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["type"] == "urn:fairlead:problem:overloaded"
    assert f"{PLACES} predictions are in flight" in answer.json()["detail"]
    assert "send the request again" in answer.json()["detail"]
    assert "connection" not in answer.headers
    return answer


def test_a_prediction_beyond_the_limit_is_refused_at_once(server: ServerProcess, full: list[Peer]) -> None:
    with Peer(server) as peer, Peer(server) as probe:
        before = samples(probe)[("predictions_shed_total", "in_flight")]
        assert refused(peer.send(request()).answer()).slug == "overloaded"
        for body in (CSV, INFER):
            refused(peer.send(body).answer())
        answer = refused(peer.send(HEAD).answer())  # none of the body was sent
        found = samples(probe)
        assert found[("http_requests_in_progress",)] == PLACES, "the refusals have waited for those in flight"
        assert found[("predictions_shed_total", "in_flight")] == before + 4
        assert found[("predictions_shed_total", "waiting_rows")] == 0
    line = server.wait_for(event="request", request_id=answer.headers["x-request-id"])
    assert (line["event"], line["status"], line["path"]) == ("request", 429, "/predict")
    assert complaints(server) == []


def test_who_asks_how_the_server_is_gets_an_answer_meanwhile(server: ServerProcess, full: list[Peer]) -> None:
    with Peer(server) as peer:
        for path in (b"/health", b"/health/live", b"/health/ready", b"/metrics", b"/metrics/summary", b"/model/info"):
            assert peer.send(get(path)).answer().status == 200
        assert peer.send(get(b"/v2/models/model/ready")).answer().status == 200
        assert samples(peer)[("http_requests_in_progress",)] == PLACES


def test_a_refused_client_comes_back_on_its_connection(server: ServerProcess, full: list[Peer]) -> None:
    with Peer(server) as peer:
        refused(peer.send(SLOW).answer())
        for other in list(full):
            assert other.answer().status == 200
            full.remove(other)
        assert peer.send(request()).answer().json() == RIGHT


def test_who_sends_slowly_keeps_nobody_out(server: ServerProcess) -> None:
    with contextlib.ExitStack() as stack:
        probe, *slow = (stack.enter_context(Peer(server)) for _ in range(4 * PLACES))
        for peer in slow:
            peer.send(HEAD + b"{")
        while samples(probe)[("http_requests_in_progress",)] < len(slow):
            pass
        assert probe.send(request()).answer().json() == RIGHT


def test_trainings_have_a_place_before_their_data_are_received(start_server: StartServer, tmp_path: Path) -> None:
    """Files are kept on the server's disk while they come: there are never more of them than may wait."""
    server = start_server(fairlead_data_dir=tmp_path, fairlead_train_queue=1)
    head = b"POST /train HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{"
    wrong = request(b"{}", path=b"/train")
    with contextlib.ExitStack() as stack:
        probe, first, second = (stack.enter_context(Peer(server)) for _ in range(3))
        for peer in (first, second):
            peer.send(head)
        while samples(probe)[("http_requests_in_progress",)] < 2:
            pass
        answer = probe.send(head).answer()
        assert (answer.status, answer.slug, answer.headers["retry-after"]) == (429, "queue-full", "10")
    with Peer(server) as again:  # those that left have given their places back
        while (answer := again.send(wrong).answer()).status == 429:
            pass
        for _ in range(5):
            assert (answer.status, answer.slug) == (422, "invalid-input")
            answer = again.send(wrong).answer()
    assert list((tmp_path / "jobs").iterdir()) == [], "what was received is still there"


def test_rows_that_may_not_wait_are_refused_alike_and_counted_apart(
    start_server: StartServer, slow_bundle: Path
) -> None:
    rows = 20_000  # a body short enough to be decoded in far less time than it is evaluated
    server = start_server(
        fairlead_role="predictor",
        fairlead_bundle_dir=slow_bundle,
        fairlead_predict_threads=1,
        fairlead_max_batch_rows=rows,
        fairlead_max_waiting_rows=rows,
    )
    with contextlib.ExitStack() as stack:
        probe, *peers = (stack.enter_context(Peer(server)) for _ in range(9))
        for peer in peers:
            peer.send(of_rows(rows))
        statuses = [(answer := peer.answer()).status for peer in peers]
        assert sorted(set(statuses)) == [200, 429], answer.body[:300]
        found = samples(probe)
        assert found[("predictions_shed_total", "waiting_rows")] == statuses.count(429)
        assert found[("predictions_shed_total", "in_flight")] == 0
