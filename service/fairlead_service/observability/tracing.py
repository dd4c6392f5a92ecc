"""Spans, when an OTLP endpoint is set in OpenTelemetry's own variables; nothing, and nothing imported, otherwise.

Who calls it: the middleware (a span a request), `/predict`, and the jobs (a span a child, which gets its parent in
`TRACEPARENT`). Sampling is decided at the first span from the caller's `traceparent`, else by `OTEL_TRACES_SAMPLER`
and `OTEL_TRACES_SAMPLER_ARG`, else every request is sampled.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from fairlead_service.observability.sampling import Sampling, exported, not_sampled

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

_sampled: ContextVar[bool | None] = ContextVar("sampled", default=None)
"""Whether the current request has a span; None outside of requests."""
_CLOSE_SECONDS: Final = 2.0
"""How long the end of a process waits for a backend to take its last spans."""


class Tracing:
    """One application's tracer. Without a provider every span is a no-op that carries no context."""

    def __init__(self, provider: "TracerProvider | None", sampling: Sampling) -> None:
        self._provider = provider
        self._sampling = sampling
        self._tracer = provider.get_tracer("fairlead") if provider is not None else trace.NoOpTracer()

    @property
    def enabled(self) -> bool:
        return self._provider is not None

    def recording(self) -> bool:
        """Whether the current request has a span. Cheap."""
        return self._provider is not None and _sampled.get() is True

    def span(self, name: str, attributes: Mapping[str, str | int]) -> AbstractContextManager[trace.Span]:
        """A span below the current one, none in a request that has none; exceptions that leave it are recorded."""
        if self._provider is None or _sampled.get() is False:
            return _nothing()
        return self._tracer.start_as_current_span(name, attributes=dict(attributes))

    def sample(self, parent: bytes | None) -> bool:
        """Whether the HTTP request that begins gets spans, by its `traceparent`. Decided before any is made."""
        if self._provider is None:
            return False
        sampled = self._sampling.decide(parent)
        _sampled.set(sampled)
        return sampled

    def request_span(
        self, name: str, headers: Mapping[bytes, bytes], attributes: Mapping[str, str | int]
    ) -> AbstractContextManager[trace.Span]:
        """The server span of a sampled HTTP request, below the caller's `traceparent` if there is one."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        return self._tracer.start_as_current_span(
            name,
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=trace.SpanKind.SERVER,
            attributes=dict(attributes),
            record_exception=False,
        )

    def child_environment(self) -> dict[str, str]:
        """`TRACEPARENT` and `TRACESTATE` for a process that works for the current span, or for a request without."""
        if self._provider is None:
            return {}
        if not trace.get_current_span().get_span_context().is_valid:
            return {"TRACEPARENT": not_sampled()}
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        return {key.upper(): value for key, value in carrier.items()}

    def close(self) -> None:
        """Sends what is left, for 2 s at most."""
        if self._provider is not None:
            finish(self._provider)


def from_environment(service: str, processor: "SpanProcessor | None" = None) -> Tracing:
    """Tracing as OpenTelemetry's variables say; `processor` takes the exporter's place in tests."""
    if processor is None and not exported(os.environ):
        return Tracing(None, Sampling.from_environment({}))
    name = os.environ.get("OTEL_SERVICE_NAME", service)
    return Tracing(provider(name, processor), Sampling.from_environment(os.environ))


def provider(service: str, processor: "SpanProcessor | None" = None) -> "TracerProvider":
    """Of spans that are sent from a thread of its own. It samples all: `Sampling` has decided before."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    from fairlead_service.observability.exporter import LateExporter

    made = TracerProvider(
        sampler=ALWAYS_ON, resource=Resource.create({"service.name": service}), shutdown_on_exit=False
    )
    made.add_span_processor(processor if processor is not None else BatchSpanProcessor(LateExporter()))
    return made


def finish(of: "TracerProvider") -> None:
    """Sends the spans that are left, for 2 s at most; OpenTelemetry itself would wait longer."""
    sending = threading.Thread(target=of.shutdown, name="last-spans", daemon=True)
    sending.start()
    sending.join(_CLOSE_SECONDS)


@contextmanager
def _nothing() -> Iterator[trace.Span]:
    yield trace.INVALID_SPAN
