"""Spans, when an OTLP endpoint is set in OpenTelemetry's own variables; nothing, and nothing imported, otherwise.

Who calls it: the middleware (a span a request), `/predict`, and the jobs (a span a child, which gets its parent in
`TRACEPARENT`). Sampling is decided at the first span from the caller's `traceparent`, else by `OTEL_TRACES_SAMPLER`
and `OTEL_TRACES_SAMPLER_ARG`, else every request is sampled.
"""

import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
_sampled: ContextVar[bool | None] = ContextVar("sampled", default=None)
"""Whether the current request has a span; None outside of requests."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which requests get a span, as OpenTelemetry's samplers decide it, but before anything is allocated."""

    ratio: float
    """Of requests whose caller did not decide."""
    parent_based: bool
    """Whether the caller's decision counts."""

    def decide(self, parent: bytes | None) -> bool:
        if parent is not None and self.parent_based:
            match = _TRACEPARENT.fullmatch(parent)
            if match is not None:
                return bool(int(match[2], 16) & 1)
        return self.ratio >= 1 or random.random() < self.ratio

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Sampling":
        """Of `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`; everything that has no parent if they are not set
        or not one of the standard names."""
        name = environment.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").strip().lower()
        kind = name.removeprefix("parentbased_")
        try:
            argument = float(environment.get("OTEL_TRACES_SAMPLER_ARG", "1"))
        except ValueError:
            argument = 1.0
        ratio = {"always_off": 0.0, "traceidratio": min(max(argument, 0.0), 1.0)}.get(kind, 1.0)
        return cls(ratio, parent_based=name.startswith("parentbased_"))


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


def trace_id_of(parent: bytes | None) -> str | None:
    """The trace id in a `traceparent` header, if it is one: for the log lines of requests that have no span."""
    match = _TRACEPARENT.fullmatch(parent) if parent is not None else None
    return match[1].decode() if match is not None else None


def from_environment(service: str, processor: "SpanProcessor | None" = None) -> Tracing:
    """Tracing as OpenTelemetry's variables say; `processor` takes the exporter's place in tests."""
    wanted = processor is not None or any(os.environ.get(name) for name in _ENDPOINTS)
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Tracing(None, Sampling.from_environment({}))
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    from fairlead_service.observability.exporter import LateExporter

    name = os.environ.get("OTEL_SERVICE_NAME", service)
    resource = Resource.create({"service.name": name})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)  # decided by Sampling
    provider.add_span_processor(processor if processor is not None else BatchSpanProcessor(LateExporter()))
    return Tracing(provider, Sampling.from_environment(os.environ))


@contextmanager
def _nothing() -> Iterator[trace.Span]:
    yield trace.INVALID_SPAN
