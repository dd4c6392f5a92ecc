"""Asks Prometheus how some pods answered in a window, and how far models have drifted. The only module that speaks its
HTTP API."""

import asyncio
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import httpx

from fairlead_operator import contract, tracing
from fairlead_operator.checks import Sample
from fairlead_operator.desired import signals
from fairlead_operator.drift import NAMED, OVER_PSI, PREDICTIONS, Reading

TIMEOUT_SECONDS: Final = 10.0
FAILED: Final = f"{signals.FAILED}|422"
"""Statuses that count as failures. 422 too: a model that refuses what the serving one takes is worse for its users;
what is wrong with both is no difference between them."""
_ESCAPED = re.compile(r'([\\"])')


class PrometheusError(Exception):
    """No answer, or none that can be judged by; the message says why, for people."""


class Prometheus:
    def __init__(self, url: str, auth: tuple[str, str] | None = None) -> None:
        """`auth` is a user and a password."""
        self._url = url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=f"{self._url}/api/v1/", timeout=TIMEOUT_SECONDS, auth=httpx.BasicAuth(*auth) if auth else None
        )

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

    async def drift(self) -> dict[tuple[str, str], Reading]:
        """Of all models that are measured, by namespace and name of their children. Raises PrometheusError."""
        worst: dict[tuple[str, str], float] = {}
        rows: dict[tuple[str, str], int] = {}
        over: defaultdict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
        for labels, value in await self._vector(signals.drift(OVER_PSI, NAMED)):
            place = labels.get("namespace", ""), labels.get("model_deployment", "")
            match labels.get("part"):
                case "worst":
                    worst[place] = value
                case "rows":
                    rows[place] = int(value)
                case part:
                    over[place].append((labels.get("feature", part or PREDICTIONS), value))
        ordered = {place: tuple(sorted(found, key=lambda one: -one[1])) for place, found in over.items()}
        return {place: Reading(value, ordered.get(place, ()), rows.get(place)) for place, value in worst.items()}

    async def _value(self, query: str) -> float | None:
        """The one value of an instant query; None for no series and for NaN."""
        found = await self._vector(query)
        return found[0][1] if found else None

    async def _vector(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of an instant query, but for those that are no finite numbers."""
        try:
            with tracing.call("ask Prometheus"):
                answer = await self._client.post("query", data={"query": query})
            content: Any = answer.json()
            if content["status"] != "success":
                raise PrometheusError(f"Prometheus at {self._url} refuses {query}: {content.get('error')}")
            found = [(dict(one["metric"]), float(one["value"][1])) for one in content["data"]["result"]]
        except httpx.HTTPError as error:
            raise PrometheusError(f"Prometheus at {self._url} does not answer: {error!r}") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise PrometheusError(f"{self._url} does not answer as Prometheus does: {error!r}") from error
        return [(labels, value) for labels, value in found if math.isfinite(value)]


def _text(value: str) -> str:
    """As the inside of a PromQL string."""
    return _ESCAPED.sub(r"\\\1", value)
