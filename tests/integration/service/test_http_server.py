"""The process as Kubernetes and clients meet it: leaving, ageing connections, taken ports, bad senders."""

import http.client
import http.server
import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.integration.service.conftest import ServerProcess, StartServer
from tests.unit.service.support import RUN_A, X

BODY = json.dumps({"features": X.tolist()})
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def predictor(start_server: StartServer, bundle: Path) -> ServerProcess:
    """Shared by the tests that leave it running."""
    return start_server(
        fairlead_role="predictor",
        fairlead_bundle_dir=bundle,
        fairlead_max_connection_age_seconds=1,
        fairlead_body_timeout_seconds=0.5,
    )


def connect(server: ServerProcess) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.connect()
    return connection


def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("POST", "/predict", BODY, JSON)
    answer = connection.getresponse()
    assert json.loads(answer.read()) == {"predictions": [0, 0, 1, 1], "run_id": RUN_A}
    return answer


class Load:
    """Clients that pool connections. A load balancer's part is played by `take_out`: no new connections after it."""

    def __init__(self, server: ServerProcess, clients: int) -> None:
        self._server = server
        self._taken_out = threading.Event()
        self._running = threading.Barrier(clients + 1)
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]
        self.answers = 0
        self.closed_by_header = 0
        self.failures: list[Exception] = []
        for thread in self._threads:
            thread.start()
        self._running.wait(30)

    def take_out(self) -> None:
        self._taken_out.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)

    def _client(self) -> None:
        try:
            ask(connect(self._server)).close()
            self._running.wait(30)
            while not self._taken_out.is_set():
                self._one_connection()
        except Exception as error:
            self.failures.append(error)

    def _one_connection(self) -> None:
        connection = connect(self._server)
        while True:
            answer = ask(connection)
            self.answers += 1
            if answer.will_close:
                self.closed_by_header += 1
                return


def test_leaving_under_load_fails_no_request(start_server: StartServer, bundle: Path) -> None:
    predictor = start_server(fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_drain_seconds=2)
    load = Load(predictor, clients=4)
    probe = connect(predictor)
    probe.request("GET", "/health/ready")
    assert probe.getresponse().read()
    predictor.process.send_signal(signal.SIGTERM)
    predictor.wait_for(message="leaving: still serving for 2 s, but closing connections")
    for connection in (probe, connect(predictor)):  # an old connection, and one made after the signal
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert "leaving" in json.loads(answer.read())["detail"]
    before = load.answers
    while load.answers < before + 50 and not load.failures:
        ask(connect(predictor))  # new connections are still served
    load.take_out()
    load.join()
    assert load.failures == []
    assert load.closed_by_header >= 4
    assert predictor.ended() == 0


def test_a_request_in_flight_is_finished(start_server: StartServer, bundle: Path) -> None:
    server = start_server(fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_drain_seconds=0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n"
        slow.sendall(f"{head}{BODY[:10]}".encode())
        with server.client() as client:  # by the time this is answered the server has read the above
            client.get("/health")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(message="Waiting for connections to close. (CTRL+C to force quit)")
        slow.sendall(BODY[10:].encode())
        answer = slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer
    assert answer.endswith(b"}")
    assert server.ended() == 0


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)])
def test_who_insists_gets_a_quick_end(
    start_server: StartServer, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    server = start_server(fairlead_data_dir=tmp_path, fairlead_drain_seconds=3600)
    server.process.send_signal(signals[0])
    if len(signals) > 1:
        server.wait_for(message="leaving: still serving for 3600 s, but closing connections")
        server.process.send_signal(signals[1])
    assert server.ended() == 0


def test_an_old_connection_is_closed_with_an_answer(predictor: ServerProcess) -> None:
    connection, started = connect(predictor), time.monotonic()
    answers = 1
    while not ask(connection).will_close:
        answers += 1
    assert time.monotonic() - started >= 0.8
    assert answers > 2
    assert not ask(connect(predictor)).will_close


def test_a_taken_port_is_named(launch_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = launch_server(fairlead_port=port)
        error = server.wait_for(event="error")
        assert server.ended() == 1
    assert f"port {port}" in error["message"]
    assert "FAIRLEAD_PORT" in error["message"]


def test_a_wrong_setting_is_named(launch_server: StartServer) -> None:
    server = launch_server(fairlead_max_batch_rows="many")
    assert "FAIRLEAD_MAX_BATCH_ROWS" in server.wait_for(event="error")["message"]
    assert server.ended() == 2


def test_a_predictor_without_a_bundle_ends_with_its_reason(launch_server: StartServer, tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    server = launch_server(
        fairlead_role="predictor", fairlead_bundle_dir=tmp_path / "none", fairlead_termination_log=log
    )
    assert server.ended() == 1
    assert json.loads(log.read_bytes())["reason"] == "ModelCorrupt"


def test_what_is_not_http_is_told_so(predictor: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", predictor.port), timeout=30) as peer:
        peer.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        answer = peer.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "urn:fairlead:problem:malformed-request"


def test_a_slow_sender_is_not_waited_for(predictor: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", predictor.port), timeout=30) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408")
    assert answer.count(b"onnection: close") == 1


def test_too_long_a_body_is_refused_before_it_is_sent(predictor: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", predictor.port), timeout=30) as peer:
        peer.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 413")


def test_a_client_that_goes_away_costs_nothing(predictor: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", predictor.port), timeout=30) as peer:
        peer.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    predictor.wait_for(event="request", status=499)
    assert not ask(connect(predictor)).will_close


def test_spans_are_sent_by_otlp_over_http(start_server: StartServer, tmp_path: Path) -> None:
    """To a collector that is a socket with a memory; what was not sent yet goes out when the server leaves."""
    received: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever).start()
        server = start_server(
            fairlead_data_dir=tmp_path,
            fairlead_drain_seconds=0,
            otel_exporter_otlp_endpoint=f"http://127.0.0.1:{collector.server_port}",
            otel_exporter_otlp_compression="none",
        )
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        with server.client() as client:
            client.get("/health", headers={"traceparent": parent})
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0
        collector.shutdown()
    sent = b"".join(body for path, body in received if path == "/v1/traces")
    assert bytes.fromhex(parent.split("-")[1]) in sent
    assert b"fairlead-api" in sent
    assert b"GET /health" in sent
