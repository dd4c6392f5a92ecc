"""Whatever HTTP allows is answered as it must be, and whatever it does not allow is refused in words."""

import contextlib
import email.utils
import gzip
import json
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.service.conftest import ServerProcess, StartServer
from tests.integration.service.sockets import BODY, RIGHT, Peer, chunked, complaints, get, request, resident
from tests.unit.service.support import RUN_A, X

ROW = b'{"features": [[6.2, 2.9, 4.3, 1.3]]}'
OFFER = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
"""What Java's client sends with its first request."""


@pytest.fixture(scope="module")
def server(start_server: StartServer, bundle: Path) -> ServerProcess:
    return start_server(fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_max_connection_age_seconds=0)


@pytest.fixture(autouse=True)
def _nothing_to_complain(server: ServerProcess) -> Iterator[None]:
    """No client makes the server log an error, and each leaves it serving."""
    yield
    with Peer(server) as peer:
        assert peer.send(request()).answer().json() == RIGHT
    assert complaints(server) == []


def test_one_connection_takes_many_requests(server: ServerProcess) -> None:
    with Peer(server) as peer:
        for _ in range(20):
            assert peer.send(request()).answer().json() == RIGHT
            assert peer.send(request(b"{")).answer().slug == "malformed-body"
            assert peer.send(get(b"/health/live")).answer().json() == {"status": "ok"}


def test_pipelined_requests_are_answered_in_order(server: ServerProcess) -> None:
    kinds = [(request(ROW), 200), (get(b"/health/live"), 200), (request(b"["), 400), (request(method=b"PUT"), 405)]
    kinds += [(chunked(ROW[:9], ROW[9:]), 200), (get(b"/nowhere"), 404), (request(method=b"HEAD", body=b""), 405)]
    sent = [
        (kind.replace(b"Host", b"X-Request-Id: n-%d\r\nHost" % index, 1), status, kind.startswith(b"HEAD"))
        for index, (kind, status) in enumerate(kinds * 30)
    ]
    with Peer(server) as peer:
        peer.send(b"".join(content for content, _, _ in sent))
        for index, (_, status, head_only) in enumerate(sent):
            answer = peer.answer(head_only=head_only)
            assert (answer.status, answer.headers["x-request-id"]) == (status, f"n-{index}")


@pytest.mark.parametrize(
    "broken", [b"this is no HTTP\r\n\r\n", chunked(b"{")[:-8] + b"zz\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_what_comes_before_no_http_is_answered_first(server: ServerProcess, broken: bytes) -> None:
    with Peer(server) as peer:
        peer.send(request() + get(b"/health/live") + request() + broken + request())
        assert [peer.answer().json() for _ in range(3)] == [RIGHT, {"status": "ok"}, RIGHT]
        assert peer.answer().slug == "malformed-request"
        assert peer.closed()


@pytest.mark.parametrize(
    ("asked", "closes"),
    [
        (request(), False),
        (request(BODY, b"Connection: keep-alive"), False),
        (request(BODY, b"Connection: close"), True),
        (request(b"{", b"Connection: close"), True),
        (request().replace(b"HTTP/1.1", b"HTTP/1.0"), True),
        (request(BODY, b"Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"), True),
    ],
)
def test_the_connection_is_closed_when_it_must_be(server: ServerProcess, asked: bytes, closes: bool) -> None:
    with Peer(server) as peer:
        answer = peer.send(asked).answer()
        assert answer.headers.get("connection") == ("close" if closes else None)
        if closes:
            assert peer.closed()
        else:
            assert peer.send(request()).answer().json() == RIGHT


def test_a_body_is_asked_for_when_it_is_wanted(server: ServerProcess) -> None:
    head = request(BODY, b"Expect: 100-continue")[: -len(BODY)]
    with Peer(server) as peer:
        assert peer.send(head).answer().status == 100
        assert peer.send(BODY).answer().json() == RIGHT
        assert peer.send(request()).answer().json() == RIGHT
    for refused, slug in (
        (head.replace(b"%d" % len(BODY), b"99999999999"), "body-too-large"),
        (head.replace(b"Host", b"Content-Type: text/html\r\nHost"), "unsupported-media-type"),
    ):
        with Peer(server) as peer:
            assert peer.send(refused).answer().slug == slug


@pytest.mark.parametrize("whole", [request(), chunked(BODY), chunked(*(bytes([b]) for b in BODY), trailer=b"A: b\r\n")])
def test_a_request_may_come_byte_by_byte(server: ServerProcess, whole: bytes) -> None:
    with Peer(server) as peer:
        assert peer.send(*(bytes([byte]) for byte in whole)).answer().json() == RIGHT
        assert peer.send(whole).answer().json() == RIGHT


@pytest.mark.parametrize("method", [b"HEAD", b"GET", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"])
@pytest.mark.parametrize("path", [b"/predict", b"/invocations"])
def test_other_methods_are_told_the_right_one(server: ServerProcess, method: bytes, path: bytes) -> None:
    with Peer(server) as peer:
        answer = peer.send(request(b"", method=method, path=path)).answer(head_only=method == b"HEAD")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert peer.send(request()).answer().json() == RIGHT


@pytest.mark.parametrize(
    "wrong",
    [
        request().replace(b"Content-Length", b"Content-Length: 3\r\nContent-Length"),
        request(BODY, b"Transfer-Encoding: chunked"),
        request().replace(b"Content-Length: ", b"Content-Length: -"),
        request().replace(b"Content-Length: ", b"Content-Length: " + b"9" * 5000),
        request(path=b"/pre\xffdict"),
        request().replace(b"Host: ", b"Ho st: "),
        request(BODY, b"X: a\0b"),
        request().replace(b"HTTP/1.1", b"HTTP/3.0"),
        request(method=b"BREW"),
        chunked(BODY).replace(b"\r\n%x\r\n" % len(BODY), b"\r\n%x\r\n" % (len(BODY) - 1)),
        b"GET /health\r\n\r\n",  # HTTP/0.9
        request().replace(b"HTTP/1.1", b"HTTP/0.9"),
        request().replace(b"HTTP/1.1", b"HTTP/2.0"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        request(BODY, b"Host: other.test"),
        request(BODY, b"Host: fairlead.test"),
        request().replace(b"Host: fairlead.test\r\n", b""),
        request(BODY, b"Authorization: Bearer a", b"Authorization: Bearer b"),
        request(BODY, b"authorization: Bearer a", b"X: y", b"AUTHORIZATION: Bearer a"),
        request(BODY, b"Content-Type: text/plain", b"Content-Type: application/json"),
        request(BODY, b"Inference-Header-Content-Length: 3", b"Inference-Header-Content-Length: 4"),
        request(BODY, b"Host: b", *OFFER),
        chunked(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"),
        get(b"/health/live").replace(b"Host", b"Host: x\r\nHost"),
    ],
)
def test_what_is_no_http_is_refused_and_the_connection_closed(server: ServerProcess, wrong: bytes) -> None:
    for before in (b"", request()):
        with Peer(server) as peer:
            peer.send(before + wrong)
            if before:
                assert peer.answer().json() == RIGHT
            assert peer.answer().slug == "malformed-request"
            assert peer.closed()


@pytest.mark.parametrize(
    "codings",
    [
        (b"gzip, chunked",),
        (b"gzip", b"chunked"),
        (b"chunked", b"chunked"),
        (b"chunked, chunked",),
        (b"identity, chunked",),
        (b"x" * 3000 + b", chunked",),
    ],
)
def test_other_transfer_codings_are_not_implemented(server: ServerProcess, codings: tuple[bytes, ...]) -> None:
    """RFC 9112, 6.1: 501 for a coding that the server does not understand."""
    lines = b"\r\n".join(b"Transfer-Encoding: " + coding for coding in codings)
    with Peer(server) as peer:
        answer = peer.send(chunked(BODY).replace(b"Transfer-Encoding: chunked", lines)).answer()
        assert (answer.status, answer.slug) in ((501, "transfer-coding-unsupported"), (400, "malformed-request"))
        assert answer.status == 501 or len(codings) > 1 or b"chunked, chunked" in codings
        assert peer.closed()


@pytest.mark.parametrize(
    "odd",
    [
        b"\r\n\r\n" + request(),
        request(path=b"http://fairlead.test/predict"),
        request(path=b"/predict?features=1"),
        request().replace(b"Host: fairlead.test", b"Host: "),
        request(BODY, b"Accept-Encoding: br", b"Accept-Encoding: zstd", b"X: a", b"X: b"),
        request(BODY, *(b"X-%d: y" % index for index in range(500))),
        request(BODY, b"X: " + b"y" * 50_000),
        request(BODY, b"X-Request-Id: \xff\xfe", b"Traceparent: \xff", b"Accept-Encoding: \xff", b"Tracestate: \xff"),
        request(BODY, b"X-Request-Id: " + b"a" * 65, b"X-Request-Id: a\tb"),
        request(BODY, *OFFER),
        request(BODY, b"Upgrade: websocket", b"Connection: upgrade"),
    ],
)
def test_oddities_are_taken(server: ServerProcess, odd: bytes) -> None:
    with Peer(server) as peer:
        for sent in ([odd], [odd, request()], [odd[:70], odd[70:]], [odd[: -len(BODY)], BODY], [odd + odd]):
            answers = b"".join(sent).count(BODY)
            peer.send(*sent)
            assert [peer.answer().json() for _ in range(answers)] == [RIGHT] * answers


def test_heads_are_bounded(server: ServerProcess) -> None:
    line = b"X: " + b"y" * 20_000 + b"\r\n"
    for start in (b"GET /health HTTP/1.1\r\n", chunked(b"{")[:-2]):
        with Peer(server) as peer:
            peer.send(start)
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                peer.send(*[line] * 10_000)


@pytest.mark.parametrize(
    ("accept", "compressed"),
    [
        (b"gzip", True),
        (b"br;q=1, GZIP ; q=0.5", True),
        (b"deflate, x-gzip", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000, identity", False),
        (b"br, notgzip", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("rows", [2000, 9000])
def test_long_answers_are_compressed_for_those_who_ask(
    server: ServerProcess, accept: bytes, compressed: bool, rows: int
) -> None:
    body = json.dumps({"features": X.tolist() * (rows // 4), "probabilities": True}).encode()
    with Peer(server) as peer:
        plain = peer.send(request(body)).answer()
        answer = peer.send(request(body, b"Accept-Encoding: " + accept)).answer()
    assert "content-encoding" not in plain.headers
    assert answer.headers.get("content-encoding") == ("gzip" if compressed else None)
    assert (gzip.decompress(answer.body) if compressed else answer.body) == plain.body
    assert len(plain.json()["predictions"]) == rows


@pytest.mark.parametrize("path", [b"/metrics", b"/openapi.json"])
@pytest.mark.parametrize(("accept", "compressed"), [(b"gzip", True), (b"br, gzip;q=0", False), (b"", False)])
def test_so_are_those_of_other_routes(server: ServerProcess, path: bytes, accept: bytes, compressed: bool) -> None:
    with Peer(server) as peer:
        answer = peer.send(request(b"", b"Accept-Encoding: " + accept, method=b"GET", path=path)).answer()
        short = peer.send(request(b"", b"Accept-Encoding: " + accept, method=b"GET", path=b"/health")).answer()
    assert answer.headers.get("content-encoding") == ("gzip" if compressed else None)
    body = gzip.decompress(answer.body) if compressed else answer.body
    assert len(body) > 10_000
    assert len(answer.body) < len(body) / 3 or not compressed
    assert {"x-request-id", "cache-control", "x-content-type-options"} <= answer.headers.keys()
    assert "content-encoding" not in short.headers, "it would be no shorter"


def test_every_answer_has_its_date_and_id(server: ServerProcess) -> None:
    with Peer(server) as peer:
        answers = [peer.send(asked).answer() for asked in (request(), get(b"/health"), request(b"{")) for _ in range(2)]
        named = peer.send(request(BODY, b"X-Request-Id: mine.1")).answer()
    for answer in answers:
        sent = email.utils.parsedate_to_datetime(answer.headers["date"])
        assert abs(time.time() - sent.timestamp()) < 30
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    assert named.headers["x-request-id"] == "mine.1"


def test_who_does_not_read_is_not_written_to_without_end(server: ServerProcess) -> None:
    body, count = json.dumps({"features": [[1, 2, 3, 4]] * 10_000, "probabilities": True}).encode(), 200
    with Peer(server, receive_buffer=65536) as peer:
        before = resident(server)
        sender = threading.Thread(target=peer.send, args=(request(body) * count,))
        sender.start()
        while select.select([], [peer.socket], [], 0.5)[1]:  # until the server has stopped reading
            pass
        assert resident(server) < before + 30
        answers = [peer.answer() for _ in range(count)]
        sender.join()
        assert {answer.body for answer in answers} == {answers[0].body}
        assert answers[0].json()["run_id"] == RUN_A
        assert peer.send(request()).answer().json() == RIGHT


def test_who_pipelines_without_end_fills_no_memory(server: ServerProcess) -> None:
    with Peer(server, receive_buffer=65536) as peer:
        before = resident(server)
        flood = threading.Thread(target=_flood, args=(peer,))
        flood.start()
        while select.select([], [peer.socket], [], 0.5)[1]:
            assert resident(server) < before + 100
        assert resident(server) < before + 100
        peer.socket.shutdown(2)
        flood.join()


def _flood(peer: Peer) -> None:
    many = get(b"/health/live") * 5000
    with contextlib.suppress(OSError):
        for _ in range(200):
            peer.send(many)
