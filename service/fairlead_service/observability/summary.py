"""The figures of `/metrics/summary`, from samples of Prometheus's metrics. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from prometheus_client.samples import Sample

from fairlead_service import contract

QUIET: Final = ("/health", "/v2/health", "/ping", contract.METRICS_PATH)
"""Starts of the paths of probes and scrapes, which are no requests of users."""

Samples = Sequence[Sample]


def figures(samples: Mapping[str, Samples]) -> dict[str, Any]:
    """Of the families by their names."""
    durations = samples["http_request_duration_seconds"]
    answered = [sample for sample in durations if _right(sample)]
    calls, rows = (_value(samples["prediction_batch_size"], suffix) for suffix in ("_count", "_sum"))
    requests: list[dict[str, Any]] = [
        {**sample.labels, "status": int(sample.labels["status"]), "count": int(sample.value)}
        for sample in samples["http_requests"]
        if sample.name.endswith("_total")
    ]
    return {
        "requests": requests,
        **_errors([request for request in requests if not request["path"].startswith(QUIET)]),
        "predictions": {
            "requests": int(_value(answered, "_count")),
            "model_calls": int(calls),
            "rows": int(rows),
            "rows_per_call": round(rows / calls, 3) if calls else None,
            "request_milliseconds": _milliseconds(answered),
            "model_call_milliseconds": _milliseconds(samples["prediction_time_seconds"]),
        },
        "trainings": _outcomes(samples["training_time_seconds"]),
        "loads": _outcomes(samples["model_load_seconds"]),
    }


def quantile(bounds: Sequence[float], cumulative: Sequence[float], q: float) -> float | None:
    """Estimates a quantile as Prometheus's histogram_quantile does: linear within the bucket it falls into.

    `bounds` are the buckets' upper bounds, the last one infinite; `cumulative` the counts at or below them.
    Returns None without observations, and the last finite bound when the quantile lies above it.
    """
    if not cumulative or cumulative[-1] == 0:
        return None
    rank = q * cumulative[-1]
    index = next(i for i, count in enumerate(cumulative) if count >= rank)
    if index == len(bounds) - 1:
        return bounds[-2]
    low, below = (bounds[index - 1], cumulative[index - 1]) if index else (0.0, 0.0)
    inside = cumulative[index] - below
    return bounds[index] if inside == 0 else low + (bounds[index] - low) * (rank - below) / inside


def _right(sample: Sample) -> bool:
    """Whether it is of predictions that were answered."""
    return sample.labels["path"] in contract.INFERENCE_PATHS and sample.labels["status"] == "200"


def _errors(requests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    answered = sum(request["count"] for request in requests)
    by_status: Counter[int] = Counter()
    for request in requests:
        if request["status"] >= 400 or request["status"] == 0:
            by_status[request["status"]] += request["count"]
    count = by_status.total()
    return {
        "answered": answered,
        "errors": {
            "count": count,
            "share": round(count / answered, 6) if answered else None,
            "by_status": [{"status": status, "count": number} for status, number in sorted(by_status.items())],
        },
    }


def _milliseconds(samples: Samples) -> dict[str, float | None]:
    buckets: dict[float, float] = {}
    for sample in samples:
        if sample.name.endswith("_bucket"):
            bound = float(sample.labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + sample.value
    bounds = sorted(buckets)
    counts = [buckets[bound] for bound in bounds]
    number = _value(samples, "_count")
    seconds = {"mean": _value(samples, "_sum") / number if number else None} | {
        f"p{100 * q:.0f}": quantile(bounds, counts, q) for q in (0.5, 0.95, 0.99)
    }
    return {name: None if value is None else round(value * 1000, 3) for name, value in seconds.items()}


def _outcomes(samples: Samples) -> list[dict[str, Any]]:
    """One for each combination of labels."""
    counts = [sample for sample in samples if sample.name.endswith("_count")]
    sums = [sample.value for sample in samples if sample.name.endswith("_sum")]
    return [
        {**sample.labels, "count": int(sample.value), "mean_seconds": round(total / sample.value, 3)}
        for sample, total in zip(counts, sums, strict=True)
        if sample.value
    ]


def _value(samples: Iterable[Sample], suffix: str) -> float:
    return float(sum(sample.value for sample in samples if sample.name.endswith(suffix)))
