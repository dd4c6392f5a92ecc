"""The other ends of a trace: a backend that takes spans over OTLP/HTTP, and a proxy that sees what MLflow is sent."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.service.conftest import PATIENCE


@dataclass(frozen=True)
class SentSpan:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the root of a trace."""
    kind: int
    failed: bool
    attributes: dict[str, Any]


@dataclass
class Backend:
    port: int
    spans: list[SentSpan] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, *names: str) -> list[SentSpan]:
        """All spans so far, once there are some of these names."""
        deadline = time.monotonic() + PATIENCE
        while not set(names) <= {span.name for span in self.spans}:
            assert time.monotonic() < deadline, f"only {sorted({span.name for span in self.spans})}"
            time.sleep(0.05)
        return list(self.spans)


@contextlib.contextmanager
def backend(port: int = 0) -> Iterator[Backend]:
    class Take(_Quiet):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

    with _serving(Take, port) as server:
        found = Backend(server.server_port)
        yield found


@contextlib.contextmanager
def watched(target: str) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A proxy before an HTTP server: its URL, and path and `traceparent` of each request."""
    seen: list[tuple[str, str | None]] = []
    address = urlsplit(target)

    class Forward(_Quiet):
        def _forward(self) -> None:
            seen.append((urlsplit(self.path).path, self.headers.get("traceparent")))
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers.get("content-type", "application/json"))
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815 (http.server's names)

    with _serving(Forward) as server:
        yield f"http://127.0.0.1:{server.server_port}", seen


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def _spans(request: ExportTraceServiceRequest) -> Iterator[SentSpan]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield SentSpan(
                    service=service,
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    kind=span.kind,
                    failed=span.status.code == 2,
                    attributes=_attributes(span.attributes),
                )


def _attributes(given: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in given}
