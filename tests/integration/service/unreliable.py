"""A proxy before MLflow that fails as networks and servers do, on request."""

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["503", "cut", "half", "stall"] | None
"""An answer of 503; a connection that is closed without one, or in the middle of it; no answer until the end."""


class Unreliable:
    """`fault` is asked at each request, by method and path without its query; None lets it pass."""

    def __init__(self, target: str) -> None:
        self.fault: Callable[[str, str], Fault] = lambda method, path: None
        self.over = threading.Event()
        self.stalled = 0
        self.asked: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        proxy, place = self, urlsplit(target)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                path, length = urlsplit(self.path).path, int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                with proxy.lock:
                    proxy.asked.append((self.command, path))
                    fault = proxy.fault(self.command, path)
                    proxy.stalled += fault == "stall"
                if fault == "stall":
                    proxy.over.wait()
                if fault in ("stall", "cut"):
                    self.close_connection = True
                    return
                if fault == "503":
                    self._answer(503, b"<html>no upstream</html>", "text/html")
                    return
                connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                self._answer(answer.status, content, answer.headers.get("content-type", ""), half=fault == "half")

            def do_GET(self) -> None:
                self._forward()

            def do_POST(self) -> None:
                self._forward()

            def do_PUT(self) -> None:
                self._forward()

            def do_PATCH(self) -> None:
                self._forward()

            def _answer(self, status: int, content: bytes, media_type: str, half: bool = False) -> None:
                self.send_response(status)
                self.send_header("content-type", media_type)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if half else content)
                self.close_connection = self.close_connection or half

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextlib.contextmanager
def before(target: str) -> Iterator[Unreliable]:
    proxy = Unreliable(target)
    thread = threading.Thread(target=proxy.server.serve_forever)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.over.set()
        proxy.server.shutdown()
        thread.join()
        proxy.server.server_close()
