"""HTTP by hand: requests as bytes, answers as they came."""

import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.service.conftest import PATIENCE, ServerProcess
from tests.unit.service.support import RUN_A, X

BODY = json.dumps({"features": X.tolist()}).encode()
RIGHT = {"predictions": [0, 0, 1, 1], "run_id": RUN_A}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def slug(self) -> str:
        """Which problem it is; the answer must be a whole problem document."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = self.json()
        assert problem["status"] == self.status
        assert problem["title"]
        assert problem["detail"]
        assert problem["instance"] == f"urn:fairlead:request:{self.headers['x-request-id']}"
        return str(problem["type"].removeprefix("urn:fairlead:problem:"))


class Peer:
    """One connection."""

    def __init__(self, server: ServerProcess, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *parts: bytes) -> "Peer":
        """Each part in a segment of its own."""
        for part in parts:
            self.socket.sendall(part)
        return self

    def answer(self, *, head_only: bool = False) -> Answer:
        status = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [A-Za-z' -]+\r\n", self._file.readline())
        assert status is not None, "no answer"
        headers: dict[str, str] = {}
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode().partition(": ")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.rstrip("\r\n")
        if status[1] == b"100":
            return Answer(100, headers, b"")
        body = b"" if head_only else self._file.read(int(headers["content-length"]))
        return Answer(int(status[1]), headers, body)

    def closed(self) -> bool:
        """Waits for the server's end of the connection; False if something else comes."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def reset(self) -> None:
        """Leaves without a farewell."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.__exit__()


def request(body: bytes = BODY, *headers: bytes, method: bytes = b"POST", path: bytes = b"/predict") -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, path), b"Host: fairlead.test", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def get(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: fairlead.test\r\n\r\n" % path


def chunked(*chunks: bytes, trailer: bytes = b"", head: bytes = b"") -> bytes:
    """A whole request to `/predict` in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    start = b"POST /predict HTTP/1.1\r\nHost: fairlead.test\r\nTransfer-Encoding: chunked\r\n" + head
    return start + b"\r\n" + body + b"0\r\n" + trailer + b"\r\n"


def resident(server: ServerProcess) -> float:
    """Memory in MiB."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


def complaints(server: ServerProcess) -> list[dict[str, Any]]:
    """Lines of errors and warnings."""
    return [line for line in server.lines if line["level"] in ("error", "warning", "critical")]


def samples(peer: Peer) -> dict[tuple[str, ...], float]:
    """By name and labels' values."""
    text = peer.send(get(b"/metrics")).answer().body.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def answered(found: dict[tuple[str, ...], float]) -> float:
    return sum(value for key, value in found.items() if key[:3] == ("http_requests_total", "POST", "/predict"))


def await_taken(peer: Peer, requests: int) -> None:
    """Until so many predictions are in progress or answered."""
    found = samples(peer)
    while found[("http_requests_in_progress",)] + answered(found) < requests:
        found = samples(peer)
