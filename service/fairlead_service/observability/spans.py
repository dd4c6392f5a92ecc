"""What `stages` records with when a child is traced: OpenTelemetry's SDK, and a place to remember which stage runs."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fairlead_service.observability import tracing
from fairlead_service.observability.stages import Attributes

_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Spans:
    """One a process, which does one thing at a time; MLflow's client calls from threads of its own, too."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._running = Context()
        """Of the stage that runs, for threads without a context."""

    @classmethod
    @contextlib.contextmanager
    def sent(cls, program: str, environment: Mapping[str, str]) -> "Iterator[Spans]":
        """Sends the spans at the end, for a bounded time."""
        provider = tracing.provider(environment.get("OTEL_SERVICE_NAME", program))
        try:
            with _requests_traced():
                yield cls(provider.get_tracer("fairlead"))
        finally:
            tracing.finish(provider)

    @contextlib.contextmanager
    def below(self, name: str, environment: Mapping[str, str]) -> Iterator[None]:
        """The process's own span, below `TRACEPARENT`."""
        carrier = {key: environment[key.upper()] for key in ("traceparent", "tracestate") if key.upper() in environment}
        with self._span(name, {}, SpanKind.INTERNAL, _PROPAGATOR.extract(carrier, Context())):
            yield

    @contextlib.contextmanager
    def stage(self, name: str, attributes: Attributes) -> Iterator[None]:
        with self._span(name, attributes, SpanKind.INTERNAL):
            yield

    @contextlib.contextmanager
    def call(self, method: str, url: str) -> Iterator[Mapping[str, str]]:
        """The headers are W3C's `traceparent` and `tracestate`. The exporter's own requests have no span."""
        if context.get_value(_SUPPRESS_INSTRUMENTATION_KEY):
            yield {}
            return
        parts = urlsplit(url)
        known = {"http.request.method": method, "server.address": parts.hostname, "server.port": parts.port}
        attributes: Any = {key: value for key, value in known.items() if value is not None}
        parent = None if trace.get_current_span().get_span_context().is_valid else self._running
        with self._tracer.start_as_current_span(method, parent, SpanKind.CLIENT, attributes | {"url.path": parts.path}):
            headers: dict[str, str] = {}
            _PROPAGATOR.inject(headers)
            yield headers

    @contextlib.contextmanager
    def _span(self, name: str, attributes: Attributes, kind: SpanKind, parent: Context | None = None) -> Iterator[None]:
        before = self._running
        with self._tracer.start_as_current_span(name, parent, kind, dict(attributes)):
            self._running = context.get_current()
            try:
                yield
            finally:
                self._running = before


@contextlib.contextmanager
def _requests_traced() -> Iterator[None]:
    """Makes `requests`, by which MLflow's client speaks, call as `stages.call` does."""
    import requests

    from fairlead_service.observability import stages

    send = requests.Session.send

    def traced(self: requests.Session, request: requests.PreparedRequest, **arguments: Any) -> requests.Response:
        with stages.call(request.method or "", request.url or "") as headers:
            request.headers.update(headers)
            return send(self, request, **arguments)

    requests.Session.send = traced  # type: ignore[method-assign]
    try:
        yield
    finally:
        requests.Session.send = send  # type: ignore[method-assign]
