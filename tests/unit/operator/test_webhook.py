"""Webhooks: who is let in, what is made of what they say, and how often MLflow is asked because of them."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from fairlead_operator.controller import Controller
from fairlead_operator.kinds import MODEL_DEPLOYMENT
from fairlead_operator.reference import AliasReference
from fairlead_operator.webhook import (
    DELIVERY,
    ENTITIES,
    MAX_BODY,
    PATH,
    SIGNATURE,
    TIMESTAMP,
    WINDOW_SECONDS,
    Gate,
    RefusedError,
    WebhookServer,
    subject,
)
from tests.unit.operator.fake import FakeCluster, FakeRegistry, Nothing
from tests.unit.operator.samples import RUNS, raw
from tests.unit.operator.world import SETTINGS

SECRET = "a secret of some length"
NOW = 1_800_000_000


def event(name: Any = "fraud", entity: str = "model_version_alias") -> bytes:
    return json.dumps({"entity": entity, "action": "created", "data": {"name": name, "alias": "champion"}}).encode()


def signed(body: bytes, at: float = NOW, delivery: str = "d-1", secret: str = SECRET) -> dict[str, str]:
    """As MLflow signs."""
    timestamp = str(int(at))
    mac = hmac.new(secret.encode(), f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {DELIVERY: delivery, TIMESTAMP: timestamp, SIGNATURE: f"v1,{base64.b64encode(mac).decode()}"}


def refused(headers: dict[str, str], body: bytes, now: float = NOW, gate: Gate | None = None) -> int | None:
    try:
        (gate or Gate(SECRET)).check(headers, body, now)
    except RefusedError as error:
        return error.status
    return None


_ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(st.binary(max_size=200), _ids, st.integers(-WINDOW_SECONDS, WINDOW_SECONDS))
def test_what_is_signed_is_let_in_once(body: bytes, delivery: str, skew: int) -> None:
    gate, headers = Gate(SECRET), signed(body, NOW + skew, delivery)
    assert refused(headers, body, gate=gate) is None
    for later in range(0, 2 * WINDOW_SECONDS, 50):
        assert refused(headers, body, NOW + later, gate) in (401, 409), "too old by then, or taken before"


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_another_body_does_not_fit(body: bytes, other: bytes) -> None:
    assert (refused(signed(body), other) is None) == (body == other)


@pytest.mark.parametrize(
    "change",
    [
        signed(event(), secret="another secret of some length"),
        signed(event(), delivery="d-2") | {DELIVERY: "d-1"},
        signed(event(), at=NOW - 1) | {TIMESTAMP: str(NOW)},
        {SIGNATURE: ""},
        {SIGNATURE: "v1,"},
        {SIGNATURE: "v1,???"},
        {SIGNATURE: "ünï"},
        {SIGNATURE: signed(event())[SIGNATURE].replace("v1", "v2")},
        {DELIVERY: ""},
        {TIMESTAMP: "soon"},
        {TIMESTAMP: "²"},
        {TIMESTAMP: "9" * 400},
        signed(event(), at=NOW - WINDOW_SECONDS - 1),
        signed(event(), at=NOW + WINDOW_SECONDS + 1),
    ],
)
def test_who_is_not_let_in(change: dict[str, str]) -> None:
    headers = {name: value for name, value in (signed(event()) | change).items() if value}
    assert refused(headers, event()) == 401


def test_one_of_several_signatures_is_enough_while_a_secret_is_changed() -> None:
    headers = signed(event())
    headers[SIGNATURE] = f"{signed(event(), secret='old' * 9)[SIGNATURE]} {headers[SIGNATURE]}"
    assert refused(headers, event()) is None


def test_deliveries_are_forgotten_when_their_time_is_over() -> None:
    gate = Gate(SECRET)
    for index in range(1000):
        now = NOW + index
        assert refused(signed(event(), now, f"d-{index}"), event(), now, gate) is None
    assert len(gate._seen) <= WINDOW_SECONDS + 1


@pytest.mark.parametrize("entity", sorted(ENTITIES))
def test_events_are_about_a_registered_model(entity: str) -> None:
    assert subject(event("my fraud", entity)) == "my fraud"


@pytest.mark.parametrize("entity", ["model_version_tag", "prompt_alias", "budget_policy"])
def test_other_events_are_about_nothing_of_ours(entity: str) -> None:
    assert subject(event(entity=entity)) is None


_json = st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
_nearly = [
    event(3),
    event(None),
    event([]),
    b"{}",
    b'{"entity": "model_version", "data": []}',
    b'{"entity": [], "data": {"name": "x"}}',
    b"[" * 50_000,
    b"\xff\xfe",
]


@given(st.one_of(st.binary(max_size=50), _json, st.sampled_from(_nearly)))
def test_nonsense_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        subject(body)
    assert caught.value.status == 400


@dataclass
class Door:
    """A server, and the names it noticed."""

    server: WebhookServer
    names: list[str] = field(default_factory=list)

    def post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{self.server.port}{PATH}", content=body, headers=headers, timeout=10)


@pytest.fixture
def door() -> Iterator[Door]:
    names: list[str] = []
    server = WebhookServer(0, SECRET, names.append, host="127.0.0.1", clock=lambda: NOW)
    yield Door(server, names)
    server.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "webhooks"]


def count(outcome: str) -> float:
    return REGISTRY.get_sample_value("fairlead_webhooks_total", {"outcome": outcome}) or 0


def test_over_http(door: Door) -> None:
    before = {outcome: count(outcome) for outcome in ("taken", "ignored", "refused")}
    body = event()
    assert door.post(body, signed(body)).status_code == 200
    replayed = door.post(body, signed(body))
    assert replayed.status_code == 409
    assert replayed.headers["content-type"] == "application/problem+json"
    assert replayed.json() == {"status": 409, "detail": "The delivery 'd-1' was taken before."}
    assert door.post(body, signed(body, secret="x" * 16)).status_code == 401
    assert door.post(body, {}).status_code == 401
    assert door.post(b"{", signed(b"{", delivery="d-2")).status_code == 400
    tag = event(entity="model_version_tag")
    assert door.post(tag, signed(tag, delivery="d-3")).status_code == 200
    assert door.names == ["fraud"]
    assert {outcome: count(outcome) - before[outcome] for outcome in before} == {"taken": 1, "ignored": 1, "refused": 4}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_and_not_kept(door: Door, chunked: bool) -> None:
    body = b"x" * (MAX_BODY + 1)
    content: Any = (body[at : at + 4096] for at in range(0, len(body), 4096)) if chunked else body
    url = f"http://127.0.0.1:{door.server.port}{PATH}"
    assert httpx.post(url, content=content, headers=signed(body), timeout=10).status_code == 413
    largest = event("x" * (MAX_BODY - len(event(""))))
    assert len(largest) == MAX_BODY
    assert door.post(largest, signed(largest)).status_code == 200


def test_only_this_path_and_method_are_there(door: Door) -> None:
    url = f"http://127.0.0.1:{door.server.port}"
    assert httpx.get(f"{url}{PATH}").status_code == 405
    assert httpx.post(f"{url}/other").status_code == 404


def test_somebody_who_says_nothing_does_not_keep_it_from_ending() -> None:
    server = WebhookServer(0, SECRET, print, host="127.0.0.1")
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.send(b"POST /webhooks/mlflow HTTP/1.1\r\n")
        assert httpx.get(f"http://127.0.0.1:{server.port}/").status_code == 404
        server.close()
        assert silent.recv(1) == b""


def test_a_port_that_is_taken_is_an_error_at_the_start() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="address already in use"):
            WebhookServer(other.getsockname()[1], SECRET, print, host="127.0.0.1")


async def test_many_webhooks_at_once_are_one_question_and_unknown_names_none() -> None:
    registry = Slow(RUNS, {"champion": 1})
    controller = Controller(SETTINGS, FakeCluster(), registry, None, Nothing())
    resource = raw(model={"uri": "models:/fraud@champion"})
    controller.observed(MODEL_DEPLOYMENT, "ADDED", resource)
    registry.answer.set()
    await controller.resolver.resolve(AliasReference("fraud", "champion"))
    await controller.queue.get()
    controller.queue.done(controller.store.resources()[0])
    registry.answer.clear()
    registry.asked.clear()
    registry.polls = 0
    work = asyncio.create_task(controller._notices.run(controller._look_again, 1))
    for _ in range(1000):
        controller.noticed("fraud")
        controller.noticed("nobody's")
    await registry.asked.wait()
    registry.aliases["champion"] = 2  # too late for the question that is under way
    for _ in range(1000):
        controller.noticed("fraud")
    registry.answer.set()
    assert await asyncio.wait_for(controller.queue.get(), 10) == ("ml", "fraud")
    assert registry.polls == 2
    assert not controller._notices.busy
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


@dataclass
class Slow(FakeRegistry):
    """Reads when it is asked, and answers when the test says so."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def registered_model(self, name: str) -> Any:
        made = await super().registered_model(name)
        self.asked.set()
        await self.answer.wait()
        return made
