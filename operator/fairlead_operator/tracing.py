"""Traces of what the operator does, when an OTLP endpoint is set in OpenTelemetry's own variables; nothing, and nothing
imported, otherwise.

A trace is one piece of work, such as a reconcile, with a span for each call to somebody else. Work that calls nobody
has no trace: at rest nothing is sent. Sampling is OpenTelemetry's, by `OTEL_TRACES_SAMPLER` and its `_ARG`; spans wait
in a bounded queue, which a thread of its own sends.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span, Tracer

SERVICE: Final = "fairlead-operator"
CLOSE_SECONDS: Final = 3.0
"""For what is left at the end; a backend that is away must not hold up the process."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_MAX_TEXT: Final = 200


class _Work:
    """A root span that is begun by the first call below it."""

    def __init__(self, tracer: "Tracer", name: str, attributes: Mapping[str, str]) -> None:
        self._tracer, self._name, self._attributes = tracer, name, attributes
        self._since = time.time_ns()
        self.span: Span | None = None
        self.ended = False

    def below(self, parent: "Span | None", name: str, attributes: Mapping[str, str]) -> "Span":
        """A new span below `parent`, or below the root."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, set_span_in_context

        if self.span is None:
            self.span = self._tracer.start_span(
                self._name, Context(), attributes=dict(self._attributes), start_time=self._since
            )
        return self._tracer.start_span(name, set_span_in_context(parent or self.span), SpanKind.CLIENT, attributes)

    def end(self, error: BaseException | None) -> None:
        self.ended = True
        if self.span is not None:
            self.span.set_attribute("result", "ok" if error is None else "error")
            _end(self.span, error)


_provider: "TracerProvider | None" = None
_work: ContextVar[_Work | None] = ContextVar("work", default=None)
_call: ContextVar["Span | None"] = ContextVar("call", default=None)


def configure(environment: Mapping[str, str], processor: "SpanProcessor | None" = None) -> None:
    """Once, at start; `processor` takes the exporter's place in tests."""
    global _provider
    wanted = processor is not None or any(environment.get(name) for name in _ENDPOINTS)
    if not wanted or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from fairlead_operator.exporter import LateExporter

    resource = Resource.create({"service.name": environment.get("OTEL_SERVICE_NAME", SERVICE)})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(processor or BatchSpanProcessor(LateExporter()))


def close() -> None:
    """Sends what is left, if the backend takes it soon."""
    global _provider
    if _provider is not None:
        last = threading.Thread(target=_provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(CLOSE_SECONDS)
    _provider = None


def work(what: str, namespace: str, name: str) -> AbstractContextManager[None]:
    """A trace of what is done for a ModelDeployment, if anything is called in it; an exception that leaves it is its
    error."""
    if _provider is None:
        return nullcontext()
    return _working(_Work(_provider.get_tracer("fairlead"), what, {"namespace": namespace, "name": name}))


def call(name: str, attributes: Mapping[str, str] | None = None) -> AbstractContextManager[None]:
    """A span of the present work, none outside of any."""
    work = _work.get()
    return nullcontext() if work is None or work.ended else _calling(work, name, attributes or {})


def identity() -> dict[str, str]:
    """`trace_id` and `span_id` of the present span, for log lines; empty if there is none, or nobody keeps it."""
    span = _present()
    if span is None or not span.get_span_context().trace_flags.sampled:
        return {}
    context = span.get_span_context()
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def headers() -> dict[str, str]:
    """W3C `traceparent` of the present span, for whom it calls."""
    span = _present()
    if span is None:
        return {}
    context = span.get_span_context()
    return {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"}


def _present() -> "Span | None":
    work = _work.get()
    return None if work is None or work.ended else _call.get() or work.span


@contextmanager
def _working(work: _Work) -> Iterator[None]:
    outer, call = _work.set(work), _call.set(None)
    try:
        yield
    except BaseException as error:
        work.end(error)
        raise
    else:
        work.end(None)
    finally:
        _call.reset(call)
        _work.reset(outer)


@contextmanager
def _calling(work: _Work, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
    span = work.below(_call.get(), name, attributes)
    outer = _call.set(span)
    try:
        yield
    except BaseException as error:
        _end(span, error)
        raise
    else:
        _end(span, None)
    finally:
        _call.reset(outer)


def _end(span: "Span", error: BaseException | None) -> None:
    if error is not None:
        from opentelemetry.trace import StatusCode

        span.set_attribute("error.type", type(error).__name__)
        span.set_status(StatusCode.ERROR, str(error)[:_MAX_TEXT])
    span.end()
