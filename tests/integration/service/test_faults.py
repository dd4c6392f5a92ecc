"""Clients that are slow, greedy or gone, a reader of the log that has stopped: the server serves on all the same."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sklearn.tree import DecisionTreeClassifier

from tests.integration.service.conftest import PATIENCE, ServerProcess, StartServer, start_process
from tests.integration.service.sockets import BODY, RIGHT, Peer, chunked, complaints, get, request, resident
from tests.unit.service.support import X, Y

LIMIT = 2**20
IN_PROGRESS = re.compile(r"^http_requests_in_progress ([0-9.]+)$", re.MULTILINE)
OPENMETRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n"


@pytest.fixture(scope="module")
def server(start_server: StartServer, bundle: Path) -> ServerProcess:
    return start_server(
        fairlead_role="predictor",
        fairlead_bundle_dir=bundle,
        fairlead_max_connection_age_seconds=0,
        fairlead_body_timeout_seconds=1,
        fairlead_keep_alive_seconds=2,
        fairlead_max_body_bytes=LIMIT,
    )


@pytest.fixture(autouse=True)
def _as_if_nothing_were(server: ServerProcess) -> Iterator[None]:
    """After each test nothing is in flight, nothing is logged that would wake anybody, and the server serves."""
    yield
    with Peer(server) as peer:
        deadline = time.monotonic() + PATIENCE
        while in_progress(peer) != 0:
            assert time.monotonic() < deadline
        assert peer.send(request()).answer().json() == RIGHT
    assert [line for line in complaints(server) if "refused a request's input" not in line["message"]] == []


def in_progress(peer: Peer) -> float:
    found = IN_PROGRESS.search(peer.send(get(b"/metrics")).answer().body.decode())
    assert found is not None
    return float(found[1])


def test_slow_senders_are_not_waited_for(server: ServerProcess) -> None:
    head = request()[: -len(BODY)]
    unsent = {
        "nothing": (b"", None),
        "first byte": (b"P", "head-timeout"),
        "half a head": (head[:40], "head-timeout"),
        "a head": (head, "body-timeout"),
        "half a body": (head + BODY[:20], "body-timeout"),
        "half a chunk": (chunked(BODY)[:-50], "body-timeout"),
        "no last chunk": (chunked(BODY)[:-5], "body-timeout"),
        "a second head": (request() + b"POST", "head-timeout"),
    }
    with contextlib.ExitStack() as stack:
        peers = {name: stack.enter_context(Peer(server)).send(sent) for name, (sent, _) in unsent.items()}
        assert peers["a second head"].answer().json() == RIGHT
        for name, (_, slug) in unsent.items():
            if slug is not None:
                answer = peers[name].answer()
                assert (answer.status, answer.slug, answer.headers["connection"]) == (408, slug, "close")
            assert peers[name].closed()


def test_a_head_that_comes_in_drops_is_not_waited_for(server: ServerProcess) -> None:
    with Peer(server) as peer, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        peer.socket.settimeout(0.05)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            peer.send(b"G" if deadline - time.monotonic() == PATIENCE else b"E")
            with contextlib.suppress(TimeoutError):
                assert peer.socket.recv(12) == b"HTTP/1.1 400"  # EEEE is no method
                return
    assert time.monotonic() < deadline


def test_the_rest_of_a_refused_body_is_not_waited_for(server: ServerProcess) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
    with Peer(server) as peer:
        assert peer.send(head).answer().slug == "body-too-large"
        assert peer.send(b"{").closed()


def test_who_does_not_read_an_answer_is_given_up(server: ServerProcess) -> None:
    long = request(json.dumps({"features": [[1, 2, 3, 4]] * 10_000, "probabilities": True}).encode())
    with Peer(server, receive_buffer=4096) as peer, Peer(server) as probe:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.send(*[long] * 200)  # ends with the connection
            pytest.fail("the server has read everything")
        assert in_progress(probe) == 0


def test_clients_that_leave_cost_nothing(server: ServerProcess) -> None:
    long = request(json.dumps({"features": X.tolist() * 2500}).encode())
    whole = (request(), chunked(*(BODY[i : i + 9] for i in range(0, len(BODY), 9))), long, get(b"/health"))
    before = resident(server)
    for _ in range(10):
        for sent in (*(item[:cut] for item in whole for cut in (0, 1, 30, -20, None)), request() * 50, long * 8):
            peer = Peer(server)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                peer.send(sent)
            peer.reset()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError), Peer(server) as peer:
                peer.send(sent)
    assert resident(server) < before + 20


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused_while_it_comes(server: ServerProcess, declared: bool) -> None:
    before = resident(server)
    size, piece = 100 * LIMIT, b" " * LIMIT
    with Peer(server) as peer:
        if declared:
            peer.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        else:
            peer.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size)
        peer.send(*[piece] * 10)
        answer = peer.answer()
        assert (answer.status, answer.slug) == (413, "body-too-large")
        peer.send(*[piece] * 90, b"" if declared else b"\r\n0\r\n\r\n")
        assert resident(server) < before + 10
        assert peer.send(request()).answer().json() == RIGHT


async def test_a_thousand_connections_at_once(server: ServerProcess) -> None:
    async def client() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for sent in (request(), request(BODY, b"Connection: close")):
            writer.write(sent[:50])
            await writer.drain()
            await together.wait()
            writer.write(sent[50:])
            await reader.readuntil(b"\r\n\r\n")
            answer = await reader.readexactly(len(right))
        writer.close()
        return answer

    right = json.dumps(RIGHT, separators=(",", ":")).encode()
    together = asyncio.Barrier(1000)
    assert await asyncio.gather(*(client() for _ in range(1000))) == [right] * 1000


BOMBS: dict[str, tuple[bytes, int]] = {
    "brackets": (b"[" * 1_000_000, 413),
    "brackets in features": (b'{"features":' + b"[" * 900_000 + b"]" * 100_000 + b"}", 413),
    "depth": (b'{"features":' + b"[" * 1020 + b"]" * 1020 + b"}", 422),
    "depth, then a right key": (b'{"features":' + b"[" * 1010 + b"]" * 1010 + b',"features":[[1,2,3,4]]}', 400),
    "deep objects": (b'{"a":' * 2000 + b"1" + b"}" * 2000, 400),
    "many keys": (b"{" + b",".join(b'"%d":1' % n for n in range(80_000)) + b"}", 422),
    "the same key": (b"{" + b'"scores":true,' * 60_000 + b'"features":[[1,2,3,4]]}', 400),
    "many keys beside rows": (
        b"{" + b"".join(b'"%d":true,' % n for n in range(70_000)) + b'"features":[[1,2,3,4]]}',
        422,
    ),
    "a key twice, with many rows": (
        b'{"scores":true,"scores":false,"features":[' + b",".join([b"[1,2,3,4]"] * 500) + b"]}",
        400,
    ),
    "a long key": (b'{"' + b"k" * 1_000_000 + b'":1}', 422),
    "a long string": (b'{"features":"' + b"\\u0041" * 170_000 + b'"}', 422),
    "a string in a row": (b'{"features":[["' + b"x" * 1_000_000 + b'",2,3,4]]}', 422),
    "digits": (b'{"features":[[' + b"9" * 1_000_000 + b",2,3,4]]}", 422),
    "digits after the point": (b'{"features":[[1.' + b"3" * 1_000_000 + b",2,3,4]]}", 200),
    "digits, then a right key": (b'{"features":' + b"9" * 5000 + b',"features":[[1,2,3,4]]}', 400),
    "an exponent": (b'{"features":[[1e' + b"9" * 1000 + b",2,3,4]]}", 422),
    "wide": (b'{"features":[[' + b"1," * 400_000 + b"1]]}", 422),
    "empty rows": (b'{"features":[' + b"[]," * 300_000 + b"[]]}", 413),
    "NaN, deep": (b'{"features":NaN,"a":' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
    "lone surrogates": (b'{"\\ud800":1,"features":[[1,2,3,4]]}', 400),
    "nothing but quotes": (b'"' * 1_000_000, 400),
    "zeros": (b"\0" * 1_000_000, 400),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_of_json_are_refused(server: ServerProcess, name: str) -> None:
    body, status = BOMBS[name]
    before = resident(server)
    with Peer(server) as peer:
        answer = peer.send(request(body)).answer()
        assert answer.status == status, answer.body[:300]
        assert answer.status == 200 or answer.slug
        assert len(answer.body) < 5000 or name in ("a long key", "many keys")
    assert resident(server) < before + 50


def test_numbers_beyond_float32_get_scikit_learns_own_words(server: ServerProcess) -> None:
    with pytest.raises(ValueError, match="too large for dtype") as words:
        DecisionTreeClassifier().fit(X, Y).predict([[1e308, 1, 1, 1]])
    with Peer(server) as peer:
        for number, place in ((b"1e308", "row 1, column 2"), (b"-1e39", "row 1, column 2")):
            body = b'{"features": [[1,2,3,4], [1,2,%b,4]]}' % number
            answer = peer.send(request(body)).answer()
            assert (answer.status, answer.slug) == (422, "model-refused-input")
            assert str(words.value) in answer.json()["detail"]
            assert place in answer.json()["detail"]
            assert answer.json()["errors"][0]["pointer"] == "/features/1/2"
        for number in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400"):
            answer = peer.send(request(b'{"features": [[1,2,3,4], [1,2,%b,4]]}' % number)).answer()
            assert (answer.status, answer.slug) == (422, "invalid-input")
            assert "row 1, column 2, petal length" in answer.json()["detail"]


def test_the_metrics_agree_with_each_other(server: ServerProcess) -> None:
    unsampled = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    with Peer(server) as peer:
        for body in (BODY, b"{", BODY, b"[]"):
            peer.send(request(body, unsampled)).answer()
        text = peer.send(OPENMETRICS).answer().body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["http_request_duration_seconds"].samples
    counted = {tuple(sorted(s.labels.items())): s.value for s in families["http_requests"].samples}
    histogram = {tuple(sorted(s.labels.items())): s.value for s in samples if s.name.endswith("_count")}
    assert counted == histogram
    assert sum(counted.values()) > 4
    for labels, count in histogram.items():
        buckets = [s.value for s in samples if s.name.endswith("_bucket") and set(labels) <= set(s.labels.items())]
        assert buckets == sorted(buckets)
        assert buckets[-1] == count
    sizes = {s.name: s.value for s in families["prediction_batch_size"].samples if "le" not in s.labels}
    times = {s.name: s.value for s in families["prediction_time_seconds"].samples if "le" not in s.labels}
    assert sizes["prediction_batch_size_count"] == times["prediction_time_seconds_count"] > 0
    assert not any(s.exemplar for family in families.values() for s in family.samples)  # nothing was sampled


def test_a_reader_of_the_log_that_stops_does_not_stop_the_server(bundle: Path) -> None:
    with start_process(
        fairlead_role="predictor",
        fairlead_bundle_dir=bundle,
        fairlead_max_connection_age_seconds=0,
        fairlead_drain_seconds=0,
    ) as process:
        assert process.stdout is not None
        try:
            started = next(line for line in map(json.loads, process.stdout) if line["event"] == "started")
            silent = ServerProcess(process, port=started["port"])
            refused = request(b'{"features": [[1e308,1,1,1]]}')  # logs a warning, which leaves the process at once
            with Peer(silent) as peer:
                before = resident(silent)
                many = (get(b"/nowhere") * 49 + refused) * 10
                for _ in range(16):
                    peer.send(many)
                    assert [peer.answer().status for _ in range(500)] == ([404] * 49 + [422]) * 10
                assert peer.send(request()).answer().json() == RIGHT
                assert resident(silent) < before + 80
            process.terminate()
            lines = [json.loads(line) for line in process.stdout]
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    dropped = [line["message"] for line in lines if line["message"].endswith("log lines dropped")]
    assert sum(int(message.split()[0]) for message in dropped) + len(lines) - len(dropped) > 8000
