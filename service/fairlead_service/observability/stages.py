"""Spans of a child process: its work below the server's span, its stages, and its calls to MLflow.

The server says in `TRACEPARENT` what the child works for, and whether that is traced. A pod's loader, which nobody told
begins a trace of its own if OpenTelemetry's sampler says so. What is not traced imports nothing and costs nothing.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from fairlead_service.observability.sampling import Sampling, exported

Attributes = Mapping[str, str | int]


class Recorder(Protocol):
    def stage(self, name: str, attributes: Attributes) -> AbstractContextManager[None]: ...

    def call(self, method: str, url: str) -> AbstractContextManager[Mapping[str, str]]: ...


_recorder: Recorder | None = None


@contextlib.contextmanager
def recorded(program: str, work: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Around all work of the process; at its end spans are sent, for about 2 s at most. `program` is the service's name
    unless `OTEL_SERVICE_NAME` is another, `work` the span's."""
    global _recorder
    parent = environment.get("TRACEPARENT")
    sampling = Sampling.from_environment(environment)
    if not exported(environment) or not sampling.decide(parent.encode("latin-1", "replace") if parent else None):
        yield
        return
    from fairlead_service.observability.spans import Spans

    with Spans.sent(program, environment) as spans, spans.below(work, environment):
        _recorder = spans
        try:
            yield
        finally:
            _recorder = None


@contextlib.contextmanager
def stage(name: str, **attributes: str | int) -> Iterator[None]:
    """A span below the one around it; an exception that leaves it is recorded."""
    if _recorder is None:
        yield
        return
    with _recorder.stage(name, attributes):
        yield


@contextlib.contextmanager
def call(method: str, url: str) -> Iterator[Mapping[str, str]]:
    """A client span of an HTTP request; yields the headers that tell the other side of it."""
    if _recorder is None:
        yield {}
        return
    with _recorder.call(method, url) as headers:
        yield headers
