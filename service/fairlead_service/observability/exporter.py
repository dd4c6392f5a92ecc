"""OpenTelemetry's exporter, not before there is something to export: its imports take a tenth of the server's start and
of its memory. The thread that sends spans makes it, so no request waits for it.

A backend that is away is one warning, and one line when it is back: OpenTelemetry's own would be some for each batch.
"""

import logging
import os
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from fairlead_service.observability import logs
from fairlead_service.observability.sampling import address, shown

_TALKATIVE: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.sdk._shared_internal",
    "urllib3.connectionpool",
)


class LateExporter(SpanExporter):
    """OTLP over HTTP, as OpenTelemetry's variables say."""

    def __init__(self) -> None:
        self._address = address(os.environ)
        self._exporter: SpanExporter | None = None
        self._heard = _Heard()
        self._lost = 0
        """Spans since the backend last took some."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._made().export(spans)
        except Exception as error:  # an endpoint that is none, say
            self._heard.last = f"{type(error).__name__}: {error}"
            result = SpanExportResult.FAILURE
        self._tell(result is SpanExportResult.SUCCESS, len(spans))
        return result

    def shutdown(self) -> None:
        if self._exporter is not None:
            self._exporter.shutdown()

    def _made(self) -> SpanExporter:
        if self._exporter is None:
            for name in _TALKATIVE:
                logging.getLogger(name).addFilter(self._heard)
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._exporter = OTLPSpanExporter(endpoint=self._address)
        return self._exporter

    def _tell(self, taken: bool, count: int) -> None:
        if taken and self._lost:
            logs.event("log", f"spans are exported again; {self._lost} were lost")
        if not taken and not self._lost:
            why = f"{self._heard.last}; " if self._heard.last else ""
            what = f"spans can't be exported to {shown(self._address)} and are lost: {why}not said again until it works"
            logs.event("log", what, logging.WARNING)
        self._lost = 0 if taken else self._lost + count


class _Heard(logging.Filter):
    """Keeps what loggers say to itself."""

    last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.last = record.getMessage()
        return False
