"""TLS in the server: its second port, clients with certificates, certificates that change, and what stays plain."""

import contextlib
import os
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.service.conftest import PATIENCE, ServerProcess, StartServer
from tests.pki import Authority, Pair
from tests.unit.service.support import RUN_A, X

BODY = {"features": X.tolist()}
RIGHT = {"predictions": [0, 0, 1, 1], "run_id": RUN_A}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "authority")


def mounted(pair: Pair, directory: Path) -> Pair:
    """In files that can take another pair's place, as kubelet does it."""
    directory.mkdir(exist_ok=True)
    files = Pair(directory / "tls.crt", directory / "tls.key")
    for source, target in ((pair.certificate, files.certificate), (pair.key, files.key)):
        shutil.copy(source, target.with_suffix(".new"))
        os.replace(target.with_suffix(".new"), target)
    return files


def trusting(authority: Authority, client: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


def tls_port(server: ServerProcess) -> int:
    """Logged after the plain one."""
    port = server.wait_for(event="started")["port"]
    assert isinstance(port, int)
    return port


def settings(bundle: Path, files: Pair) -> dict[str, Any]:
    return {
        "fairlead_role": "predictor", "fairlead_bundle_dir": bundle, "fairlead_tls_port": 0,
        "fairlead_tls_cert_file": files.certificate, "fairlead_tls_key_file": files.key,
    }  # fmt: skip


def serial(port: int, authority: Authority) -> str:
    """Of the certificate that the server shows now."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw,
        trusting(authority).wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        shown = connection.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def test_predictions_come_by_tls_and_nothing_else_but_probes_and_metrics_without(
    start_server: StartServer, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    files = mounted(authority.issue("server", "localhost", "127.0.0.1"), tmp_path)
    server = start_server(**settings(bundle, files))
    secure = tls_port(server)
    with httpx.Client(base_url=f"https://localhost:{secure}", verify=trusting(authority), timeout=PATIENCE) as client:
        for _ in range(3):
            assert client.post("/predict", json=BODY).json() == RIGHT
        assert client.get("/model/info").json()["run_id"] == RUN_A
    with server.client() as plain:
        for path in ("/health/live", "/health/ready", "/health", "/metrics"):
            assert plain.get(path).status_code == 200, path
        for method, path in (("POST", "/predict"), ("GET", "/model/info"), ("GET", "/docs"), ("GET", "/nowhere")):
            answer = plain.request(method, path, json=BODY)
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:fairlead:problem:tls-required")
            assert "https" in answer.json()["detail"]
        scraped = plain.get("/metrics").text
    assert 'path="/predict",status="200"} 3.0' in scraped
    assert 'path="(plain)",status="403"} 3.0' in scraped, "GET"


def test_clients_without_a_certificate_of_theirs_are_refused(
    start_server: StartServer, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    theirs, others = Authority(tmp_path / "theirs", "clients"), Authority(tmp_path / "others", "others")
    files = mounted(authority.issue("mutual", "localhost"), tmp_path / "mounted")
    server = start_server(**settings(bundle, files), fairlead_tls_client_ca_file=theirs.path)
    secure = tls_port(server)

    def ask(client: Pair | None) -> Any:
        with httpx.Client(verify=trusting(authority, client), timeout=PATIENCE) as session:
            return session.post(f"https://localhost:{secure}/predict", json=BODY).json()

    for bad in (None, others.issue("eve")):
        with pytest.raises(httpx.TransportError):
            ask(bad)
    assert ask(theirs.issue("ada")) == RIGHT
    assert httpx.get(f"{server.url}/health/ready").status_code == 200, "probes have no certificate"


def test_a_new_certificate_is_taken_up_and_a_broken_one_is_not(
    start_server: StartServer, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    files = mounted(authority.issue("one", "localhost"), tmp_path)
    server = start_server(**settings(bundle, files))
    secure = tls_port(server)
    first = serial(secure, authority)
    mounted(authority.issue("two", "localhost"), tmp_path)
    server.wait_for(message="TLS certificates were read")
    second = serial(secure, authority)
    assert first != second
    mounted(Pair(authority.issue("three", "localhost").certificate, authority.issue("four").key), tmp_path)
    line = server.wait_for(level="error")
    assert "stay in use" in line["message"]
    assert "tls.key" in line["message"]
    assert serial(secure, authority) == second


def test_old_protocols_and_plain_http_get_no_answer(
    start_server: StartServer, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    server = start_server(**settings(bundle, mounted(authority.issue("old", "localhost"), tmp_path)))
    secure = tls_port(server)
    old = trusting(authority)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://localhost:{secure}/model/info", verify=old)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{secure}/model/info")
    with contextlib.closing(socket.create_connection(("127.0.0.1", secure))) as silent:
        silent.settimeout(PATIENCE)
        assert silent.recv(1) == b"", "who begins no handshake is not waited for"
    with httpx.Client(verify=trusting(authority)) as client:
        assert client.get(f"https://localhost:{secure}/model/info").status_code == 200


def test_a_server_does_not_start_with_files_that_do_not_fit(
    launch_server: StartServer, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    wrong = Pair(authority.issue("five", "localhost").certificate, authority.issue("six").key)
    server = launch_server(**settings(bundle, mounted(wrong, tmp_path)))
    assert "tls.crt" in server.wait_for(level="error")["message"]
    assert server.ended() == 1


def test_requests_in_flight_and_connections_end_well_on_both_ports(
    start_server: StartServer, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    server = start_server(
        **settings(bundle, mounted(authority.issue("drain", "localhost"), tmp_path)), fairlead_drain_seconds=1
    )
    secure = tls_port(server)
    with httpx.Client(base_url=f"https://localhost:{secure}", verify=trusting(authority), timeout=PATIENCE) as client:
        client.post("/predict", json=BODY)
        server.process.terminate()
        server.wait_for(message="leaving: still serving for 1 s, but closing connections")
        answer = client.post("/predict", json=BODY)
        assert (answer.json(), answer.headers["connection"]) == (RIGHT, "close")
    assert server.ended() == 0
