"""Histograms for the path of every prediction: an observation is one bisection and two additions, a quarter of what
prometheus_client's own cost, with their locks and their walk over the buckets. They are exported by its collectors.

Only the event loop's thread observes; a scrape reads in the same thread.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

_Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class Series:
    """Observations of one combination of labels."""

    __slots__ = ("_bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Per bucket, not cumulative; the last is above all bounds."""
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}
        """The last one of each bucket."""

    def observe(self, value: float, trace_id: str | None = None) -> None:
        bucket = bisect_left(self._bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if trace_id is not None:
            self.exemplars[bucket] = Exemplar({"trace_id": trace_id}, value, time.time())


class Histograms:
    """A collector of one histogram with labels. `counter`: the name and help of a counter of the same observations."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        counter: tuple[str, str] | None = None,
    ) -> None:
        self._name: Final = name
        self._documentation: Final = documentation
        self._labels: Final = tuple(labels)
        self._bounds: Final = tuple(bounds)
        self._counter: Final = counter
        self._series: dict[tuple[str, ...], Series] = {}
        if not labels:
            self.labels()

    def labels(self, *values: str) -> Series:
        """The series of these label values, made at their first use."""
        return self._series.setdefault(values, Series(self._bounds))

    def collect(self) -> Iterator[Metric]:
        histogram = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, series in self._series.items():
            histogram.add_metric(values, self._buckets(series), series.total)
        yield histogram
        if self._counter is not None:
            name, documentation = self._counter
            counter = CounterMetricFamily(name, documentation, labels=self._labels)
            for values, series in self._series.items():
                last = max(series.exemplars.values(), key=lambda exemplar: exemplar.timestamp or 0.0, default=None)
                counter.add_metric(values, sum(series.counts), exemplar=last)
            yield counter

    def _buckets(self, series: Series) -> list[_Bucket]:
        buckets: list[_Bucket] = []
        cumulative = 0
        for index, bound in enumerate((*self._bounds, float("inf"))):
            cumulative += series.counts[index]
            name, exemplar = floatToGoString(bound), series.exemplars.get(index)  # type: ignore[no-untyped-call]
            buckets.append((name, cumulative) if exemplar is None else (name, cumulative, exemplar))
        return buckets
