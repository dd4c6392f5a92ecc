"""Whatever is logged has the form of docs/logs.schema.json; and the schema is not one that takes anything."""

import io
import json
import logging
import time
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairlead_service import wire
from fairlead_service.observability import logs
from fairlead_service.observability.form import encode, level_name
from tests.log_lines import problems
from tests.unit.service.support import logged

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
texts = st.text(st.characters(), max_size=300)
"""Lone surrogates among them."""
AUDIT = {
    "event": "audit",
    "service": "fairlead-operator",
    "action": "Promoted",
    "namespace": "a",
    "modeldeployment": "b",
}


@pytest.fixture(scope="module")
def stream() -> Iterator[io.StringIO]:
    with logged() as output:
        yield output


def written(stream: io.StringIO) -> list[bytes]:
    """What was logged since the last look; every line right."""
    found = stream.getvalue().encode("utf-8", "surrogatepass").splitlines()
    stream.seek(0)
    stream.truncate()
    assert [problem for line in found for problem in problems(line)] == []
    return found


@given(
    path=texts.map(lambda text: text.encode("utf-8", "replace").decode()),
    method=st.sampled_from(["GET", "BREW", '"\\']),
    status=st.sampled_from([0, 200, 404, 499, 500]),
    seconds=st.floats(0, 1e6),
    client=st.none() | st.text(st.characters(max_codepoint=255), max_size=40),
    traced=st.booleans(),
    same=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_request_whatever_it_asks_for(
    stream: io.StringIO,
    path: str,
    method: str,
    status: int,
    seconds: float,
    client: str | None,
    traced: bool,
    same: bool,
) -> None:
    route = path[:200] if same else "/model/load/{run_id}"
    trace = "0" * 31 + "1" if traced else None
    logs.RequestLog().write(logging.INFO, method, path, route, status, seconds, client, "id-1", trace)
    (line,) = written(stream)
    found = json.loads(line)
    assert (found["path"], found["route"], found["client"]) == (path[:200], route, client)
    assert ("trace_id" in found) is traced


@given(texts, texts, st.dictionaries(st.sampled_from(["problem", "more", "run"]), anything))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_events_whatever_is_in_them(stream: io.StringIO, message: str, client: str, fields: dict[str, Any]) -> None:
    logs.event("log", message, logging.WARNING, **fields)
    logs.audit("load", "failed", client, **fields)
    try:
        raise ValueError(message)
    except ValueError as error:
        logs.error(message, error, **fields)
    logging.getLogger("uvicorn.error").log(25, "%s", message)
    assert len(written(stream)) == 4


@given(
    st.builds(wire.Progress, stage=st.sampled_from(["fetch", "fit"]), message=texts)
    | st.builds(wire.Failure, reason=st.just("LoadFailed"), message=texts, where=st.none() | texts)
    | st.builds(wire.Result, value=st.dictionaries(st.text(max_size=5), anything, max_size=3))
)
def test_what_children_say_is_a_log_line_and_still_a_message(
    message: wire.Progress | wire.Failure | wire.Result,
) -> None:
    line = wire.as_line(message, "fairlead-loader", time.time())
    assert problems(line) == []
    parsed = wire.parse(line)
    assert type(parsed) is type(message)
    if isinstance(message, wire.Progress):
        assert isinstance(parsed, wire.Progress)
        assert parsed.stage == message.stage


@given(st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Ll", "So"])), st.text(st.characters()))
@example("\x9b2J\u202e\u2066\u200f\x7f\U000e0041\u2028", "")
def test_no_line_steers_a_terminal_and_all_are_read_as_they_were(said: str, key: str) -> None:
    shown = encode({key: said, "more": [said]}).decode()
    assert all(character.isprintable() or unicodedata.category(character) in ("Zs", "Co", "Cn") for character in shown)
    assert json.loads(shown)["more"] == [said]


@given(st.integers(0, 60))
def test_levels_are_five(level: int) -> None:
    name = level_name(level)
    assert level_name(level + 1) in (
        name,
        {"debug": "info", "info": "warning", "warning": "error"}.get(name, "critical"),
    )
    if level in (10, 20, 30, 40, 50):
        assert name == logging.getLevelName(level).lower()


def line(**changes: Any) -> bytes:
    base = {
        "timestamp": "2026-11-25T23:05:36.123+00:00",
        "level": "info",
        "event": "log",
        "message": "",
        "service": "fairlead-api",
        "logger": "fairlead",
    }
    return encode({key: value for key, value in (base | changes).items() if value is not ...})


def test_lines_of_the_operator_fit() -> None:
    assert problems(line(**AUDIT)) == []
    assert problems(line(**AUDIT, outcome="done", run_id="a" * 32, by="alice")) == []
    assert problems(line(service="fairlead-operator", event="started")) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": "2026-11-25 23:05:36"},
        {"timestamp": "2026-11-25T23:05:36.123+01:00"},
        {"level": "WARN"},
        {"event": "else"},
        {"message": ...},
        {"service": "other"},
        {"trace_id": "xyz"},
        {"span_id": "0" * 16},
        {"event": "request"},
        {"event": "audit", "action": "load"},
        {"event": "audit", "action": "load", "outcome": "failed"},
        AUDIT | {"namespace": ...},
        {"event": "error"},
        {"event": "started"},
        {"event": "progress", "stage": "fetch"},
        {"features": [[1.0]]},
        {"rows": [[1.0]]},
    ],
)
def test_lines_that_do_not_fit(changes: dict[str, Any]) -> None:
    assert problems(line(**changes)) != []


def test_what_is_no_line_does_not_fit() -> None:
    assert problems(b"Traceback (most recent call last):\n") != []
    assert problems(b"[1]") != []


def test_methods_that_a_client_thinks_of_are_not_kept(stream: io.StringIO) -> None:
    log = logs.RequestLog()
    for number in range(5000):
        log.write(logging.INFO, f"M{number}", "/health", "/health", 405, 0.0, None, "id", None)
    assert len(written(stream)) == 5000
    assert len(log._parts) <= 1000
