"""Spans, when an OTLP endpoint is set in OpenTelemetry's own variables; nothing, and nothing imported, otherwise.

Who calls it: the middleware (a span a request), `/predict`, and the jobs (a span a child, which gets its parent in
`TRACEPARENT`). Sampling is decided at the first span from the caller's `traceparent`, else by `OTEL_TRACES_SAMPLER`
and `OTEL_TRACES_SAMPLER_ARG`, else every request is sampled.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracing:
    """One application's tracer. Without a provider every span is a no-op that carries no context."""

    def __init__(self, provider: "TracerProvider | None") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("fairlead") if provider is not None else trace.NoOpTracer()

    @property
    def enabled(self) -> bool:
        return self._provider is not None

    def span(self, name: str, attributes: Mapping[str, str | int]) -> AbstractContextManager[trace.Span]:
        """A span below the current one; exceptions that leave it are recorded."""
        if self._provider is None:
            return _nothing()
        return self._tracer.start_as_current_span(name, attributes=dict(attributes))

    def request_span(
        self, name: str, headers: Iterable[tuple[bytes, bytes]], attributes: Mapping[str, str | int]
    ) -> AbstractContextManager[trace.Span]:
        """The server span of an HTTP request, below the caller's `traceparent` if there is one."""
        if self._provider is None:
            return _nothing()
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {
            key.decode("latin-1"): value.decode("latin-1")
            for key, value in headers
            if key in (b"traceparent", b"tracestate")
        }
        return self._tracer.start_as_current_span(
            name,
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=trace.SpanKind.SERVER,
            attributes=dict(attributes),
            record_exception=False,
        )

    def child_environment(self) -> dict[str, str]:
        """`TRACEPARENT` and `TRACESTATE` for a process that works for the current span."""
        if self._provider is None:
            return {}
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        return {key.upper(): value for key, value in carrier.items()}

    def close(self) -> None:
        """Sends what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def sampled_trace_id() -> str | None:
    """The current trace's id if its spans are kept: what an exemplar may point to."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid and context.trace_flags.sampled else None


def from_environment(service: str, processor: "SpanProcessor | None" = None) -> Tracing:
    """Tracing as OpenTelemetry's variables say; `processor` takes the exporter's place in tests."""
    wanted = processor is not None or any(os.environ.get(name) for name in _ENDPOINTS)
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Tracing(None)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", service)
    provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    provider.add_span_processor(processor if processor is not None else BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


@contextmanager
def _nothing() -> Iterator[trace.Span]:
    yield trace.INVALID_SPAN
