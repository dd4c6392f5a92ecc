"""What Prometheus and Jaeger have seen, by their own query APIs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from tools.cluster import Cluster
from tools.up import JAEGER, MONITORING, PROMETHEUS

T = TypeVar("T")
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
class Jaeger:
    url: str

    def spans(self, trace_id: str) -> list[Any]:
        """Spans of a trace, each with its `process`; none if Jaeger has no such trace."""
        answer = httpx.get(f"{self.url}/api/traces/{trace_id}", timeout=10)
        if answer.status_code == 404:
            return []
        (trace,) = answer.raise_for_status().json()["data"]
        return _spans(trace)

    def traces(self, service: str, operation: str, limit: int = 20) -> list[list[Any]]:
        """The newest traces with such a span, each as its spans."""
        query: dict[str, str | int] = {"service": service, "operation": operation, "limit": limit, "lookback": "1h"}
        answer = httpx.get(f"{self.url}/api/traces", params=query, timeout=10).raise_for_status()
        return [_spans(trace) for trace in answer.json()["data"]]


def _spans(trace: Any) -> list[Any]:
    return [span | {"process": trace["processes"][span["processID"]]} for span in trace["spans"]]


@contextmanager
def prometheus(cluster: Cluster) -> Iterator[Prometheus]:
    with cluster.port_forward(MONITORING, f"service/{PROMETHEUS}", 9090) as url:
        yield Prometheus(url)


@contextmanager
def jaeger(cluster: Cluster) -> Iterator[Jaeger]:
    with cluster.port_forward(MONITORING, f"service/{JAEGER}", 16686) as url:
        yield Jaeger(url)
