"""What Prometheus and Jaeger have seen, by their own query APIs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx

from tools.cluster import Cluster
from tools.up import JAEGER, MONITORING, PROMETHEUS

T = TypeVar("T")
SPAN_KIND_CLIENT = 3
PATIENCE = 90.0
"""Seconds: a few scrapes, the exporter's batch, a round of the HPA."""


def eventually(ask: Callable[[], T], accept: Callable[[T], bool] = bool, seconds: float = PATIENCE) -> T:
    """The first accepted answer; AssertionError with the last one when time is up."""
    deadline = time.monotonic() + seconds
    while not accept(answer := ask()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still: {answer}"
        time.sleep(0.5)  # neither of them gives a sign when it has something new
    return answer


@dataclass(frozen=True)
class Prometheus:
    url: str

    def get(self, path: str, **parameters: str | float) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10).raise_for_status().json()
        return answer["data"]

    def value(self, query: str) -> float:
        """Of the one series that the query gives; 0 if it gives none."""
        result = self.get("query", query=query)["result"]
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else 0.0

    def targets(self, pools: str) -> list[Any]:
        """Active targets of the scrape pools (`podMonitor/NAMESPACE/NAME/0`) that begin so."""
        found = self.get("targets", state="active")["activeTargets"]
        return [target for target in found if target["scrapePool"].startswith(pools)]


@dataclass(frozen=True)
class Span:
    """As OTLP has it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty: the trace begins here."""
    is_call: bool
    """To another server (kind `client`)."""
    attributes: dict[str, str]


@dataclass(frozen=True)
class Jaeger:
    url: str

    def spans(self, trace_id: str) -> list[Span]:
        """Spans of a trace; none if Jaeger has no such trace."""
        answer = httpx.get(f"{self.url}/api/v3/traces/{trace_id}", timeout=10)
        return [] if answer.status_code == 404 else _spans(answer)

    def traces(self, service: str, operation: str, limit: int = 20) -> list[Span]:
        """Spans of the newest traces of the last hour that have such a span."""
        now = datetime.now(UTC)
        asked: dict[str, str | int] = {
            "query.service_name": service,
            "query.operation_name": operation,
            "query.start_time_min": (now - timedelta(hours=1)).isoformat(),
            "query.start_time_max": now.isoformat(),
            "query.num_traces": limit,
        }
        answer = httpx.get(f"{self.url}/api/v3/traces", params=asked, timeout=10)
        return [] if answer.status_code == 404 else _spans(answer)


def _spans(answer: httpx.Response) -> list[Span]:
    return [
        Span(
            _attributes(resource["resource"]).get("service.name", ""),
            span["name"],
            span["traceId"],
            span["spanId"],
            span.get("parentSpanId", ""),
            span.get("kind") == SPAN_KIND_CLIENT,
            _attributes(span),
        )
        for resource in answer.raise_for_status().json()["result"]["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _attributes(about: Any) -> dict[str, str]:
    """Each value is said with its type, of which there is one."""
    return {one["key"]: str(next(iter(one["value"].values()), "")) for one in about.get("attributes", [])}


@contextmanager
def prometheus(cluster: Cluster) -> Iterator[Prometheus]:
    with cluster.port_forward(MONITORING, f"service/{PROMETHEUS}", 9090) as url:
        yield Prometheus(url)


@contextmanager
def jaeger(cluster: Cluster) -> Iterator[Jaeger]:
    with cluster.port_forward(MONITORING, f"service/{JAEGER}", 16686) as url:
        yield Jaeger(url)
