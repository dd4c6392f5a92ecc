"""What is written past ASGI is what uvicorn would write, and what a client under any other ASGI server reads."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from fairlead_service.inference.exchange import Exchange
from fairlead_service.inference.raw import takes_gzip
from fairlead_service.settings import Settings
from tests.unit.service.support import X, client_of, running, tree, write_bundle

LONG = {"features": X.tolist() * 500, "probabilities": True}
BODIES = {
    "right": json.dumps({"features": X.tolist()}).encode(),
    "wrong": b"{",
    "long": json.dumps(LONG).encode(),
    "over the limit": b" " * 200_000,
}


class Wire(asyncio.Transport):
    """A transport with a memory."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def cycle_of(wire: Wire, headers: list[tuple[bytes, bytes]], body: bytes, **changes: Any) -> RequestResponseCycle:
    """As uvicorn makes one for `POST /predict`, with its body read."""
    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "http_version": "1.1",
        "headers": [(b"x-request-id", b"one"), *headers],
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    arguments: dict[str, Any] = {
        "logger": None,
        "access_logger": None,
        "access_log": False,
        "default_headers": [(b"date", b"today")],
        "message_event": asyncio.Event(),
        "expect_100_continue": False,
        "keep_alive": True,
        "on_response": lambda: None,
    }
    cycle = RequestResponseCycle(scope=scope, transport=wire, flow=FlowControl(wire), **(arguments | changes))
    cycle.body += body
    cycle.more_body = False
    cycle.message_event.set()
    return cycle


def parsed(written: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Status line, headers in no order, body."""
    head, _, body = written.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    return status, sorted(headers), body


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("headers", [[], [(b"accept-encoding", b"gzip")]])
async def test_written_directly_or_by_asgi_an_answer_is_the_same(
    tmp_path: Path, name: str, keep_alive: bool, headers: list[tuple[bytes, bytes]]
) -> None:
    settings = Settings(
        role="predictor", bundle_dir=write_bundle(tmp_path / "b", tree()).directory, max_body_bytes=10**5
    )
    async with running(settings) as (client, services):
        app: Any = client._transport.app  # type: ignore[attr-defined]
        written = []
        for direct in (True, False):
            wire, done = Wire(), asyncio.Event()
            cycle = cycle_of(wire, headers, BODIES[name], keep_alive=keep_alive, on_response=done.set)
            # a wrapped `receive` is no method of uvicorn's object: ASGI is used
            receive: Any = cycle.receive if direct else lambda cycle=cycle: cycle.receive()
            await app(cycle.scope, receive, cycle.send)
            assert done.is_set()
            assert cycle.response_complete
            assert wire.closing is not keep_alive
            written.append(parsed(wire.written))
        assert written[0] == written[1]
        sent = {name.decode(): value.decode() for name, value in headers} or {"accept-encoding": "identity"}
        async with client_of(app) as other:
            content = await other.post("/predict", content=BODIES[name], headers=sent | {"x-request-id": "one"})
        body = gzip.decompress(written[0][2]) if b"content-encoding: gzip" in written[0][1] else written[0][2]
        assert (content.content, b"%d" % content.status_code) == (body, written[0][0].split()[1])
        assert services.metrics.in_progress == 0


async def test_a_full_buffer_is_waited_for() -> None:
    wire = Wire()
    cycle = cycle_of(wire, [], b"")
    cycle.flow.pause_writing()
    answer = asyncio.ensure_future(Exchange(cycle.receive, cycle.send).answer(200, [], b"{}"))
    await asyncio.sleep(0)
    assert wire.written == b""
    cycle.flow.resume_writing()
    await answer
    assert parsed(wire.written) == (b"HTTP/1.1 200 OK", [b"content-length: 2", b"date: today"], b"{}")


async def test_to_a_client_that_has_left_nothing_is_written() -> None:
    wire = Wire()
    cycle = cycle_of(wire, [], b"")
    exchange = Exchange(cycle.receive, cycle.send)
    assert not exchange.gone()
    cycle.disconnected = True
    assert exchange.gone()
    await exchange.answer(200, [], b"{}")
    assert wire.written == b""


async def test_under_another_server_there_is_no_way_to_know_who_has_left(predictor: httpx.AsyncClient) -> None:
    async def receive() -> Any: ...
    async def send(message: Any) -> None: ...

    assert not Exchange(receive, send).gone()
    assert (await predictor.post("/predict", content=BODIES["right"])).status_code == 200


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        (b"gzip", True),
        (b"GZIP;Q=1", True),
        (b"gzip;q=0.001", True),
        (b"gzip; q=0.0", False),
        (b"gzip;q=", False),
        (b"identity;q=1, *;q=0", False),
        (b"*", False),
        (b";,;,=", False),
        (b"br,deflate , gzip", True),
    ],
)
def test_weights_of_codings_count(accept: bytes, takes: bool) -> None:
    assert takes_gzip(accept) is takes


async def test_a_body_that_was_read_leaves_the_connection_watched() -> None:
    wire = Wire()
    cycle = cycle_of(wire, [], b"x" * 100_000)
    cycle.flow.pause_reading()  # as uvicorn does with a body of this length
    assert len(await Exchange(cycle.receive, cycle.send).body({}, limit=10**6, seconds=1)) == 100_000
    assert not cycle.flow.read_paused
