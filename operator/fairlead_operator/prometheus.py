"""Asks Prometheus how some pods answered in a window. The only module that speaks its HTTP API."""

import asyncio
import math
import re
from collections.abc import Sequence
from typing import Any, Final

import httpx

from fairlead_operator import contract
from fairlead_operator.checks import Sample
from fairlead_operator.desired import signals

TIMEOUT_SECONDS: Final = 10.0
FAILED: Final = "5..|422"
"""Statuses that count as failures. 422 too: a model that refuses what the serving one takes is worse for its users;
what is wrong with both is no difference between them."""
_ESCAPED = re.compile(r'([\\"])')


class PrometheusError(Exception):
    """No answer, or none that can be judged by; the message says why, for people."""


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.AsyncClient(base_url=f"{self._url}/api/v1/", timeout=TIMEOUT_SECONDS)

    async def close(self) -> None:
        await self._client.aclose()

    async def sample(self, namespace: str, pods: Sequence[str], seconds: int) -> Sample:
        """The inference requests that these pods answered in the last `seconds`. No requests are 0 requests; pods that
        are not scraped raise PrometheusError, as does a Prometheus that does not answer."""
        where = f'namespace="{_text(namespace)}",pod=~"{_text("|".join(pods))}"'
        routes = f'{where},path=~"{signals.PATHS}"'
        window = f"[{seconds}s]"
        buckets = f"sum by (le) (increase({contract.METRIC_DURATION}_bucket{{{routes}}}{window}))"
        scraped, requests, failed, latency = await asyncio.gather(
            self._value(f"count(count_over_time({contract.METRIC_IN_FLIGHT}{{{where}}}{window}) > 1)"),
            self._value(f"sum(increase({contract.METRIC_REQUESTS}{{{routes}}}{window}))"),
            self._value(f'sum(increase({contract.METRIC_REQUESTS}{{{routes},status=~"{FAILED}"}}{window}))'),
            self._value(f"histogram_quantile(0.95, {buckets})"),
        )
        if not scraped:
            raise PrometheusError(
                f"Prometheus has not scraped {', '.join(pods)} twice in the last {seconds} s: is there a PodMonitor, "
                "and is stepSeconds at least twice its interval?"
            )
        return Sample(requests or 0.0, failed or 0.0, None if latency is None else 1000 * latency)

    async def _value(self, query: str) -> float | None:
        """The one value of an instant query; None for no series and for NaN."""
        try:
            answer = await self._client.post("query", data={"query": query})
            content: Any = answer.json()
            if content["status"] != "success":
                raise PrometheusError(f"Prometheus at {self._url} refuses {query}: {content.get('error')}")
            series = content["data"]["result"]
            value = float(series[0]["value"][1]) if series else math.nan
        except httpx.HTTPError as error:
            raise PrometheusError(f"Prometheus at {self._url} does not answer: {error!r}") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise PrometheusError(f"{self._url} does not answer as Prometheus does: {error!r}") from error
        return value if math.isfinite(value) else None


def _text(value: str) -> str:
    """As the inside of a PromQL string."""
    return _ESCAPED.sub(r"\\\1", value)
