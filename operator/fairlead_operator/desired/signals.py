"""PromQL over the pods' metrics: what a model is scaled and judged by.

Every query of one model is one series, and 0 where there is nothing to measure: a metric that is missing keeps an
autoscaler from scaling in, and NaN is not a number to compare with. Names of resources and namespaces need no escaping.
"""

import re
from typing import Final

from fairlead_operator import api, contract
from fairlead_operator.api import ModelDeployment
from fairlead_operator.desired import naming

PATHS: Final = "|".join(re.sub(r"[{}]", lambda brace: f"[{brace[0]}]", path) for path in contract.INFERENCE_PATHS)
"""Regular expression for the label `path` of predictions."""
FAILED: Final = "5..|429"
"""Regular expression for the label `status` of predictions that failed for their users. A pod with too much to do
refuses with 429, which no request is to blame for."""
MIN_REQUESTS: Final = 20
"""Of fewer, one slow request would be the 95th percentile."""


def in_flight(md: ModelDeployment, seconds: int) -> str:
    """Requests in flight on the stable pods together, averaged over `seconds`: what their autoscaler shares out among
    them. A canary's pods take their part of the traffic off them and are sized by the operator itself.

    The greater of two measures. Seconds spent answering per second are exact (Little's law) and see the shortest
    requests; the gauge is a sample at each scrape, but sees requests that do not end.
    """
    # Pods of a Prometheus whose scrapes do not add the label count too.
    stable = f'{pods(md)},{_track_label()}!="{api.CANDIDATE}"'
    sampled = f"sum(avg_over_time({contract.METRIC_IN_FLIGHT}{{{stable}}}[{seconds}s]))"
    counted = f'sum(rate({contract.METRIC_DURATION}_sum{{{stable},path=~"{PATHS}"}}[{seconds}s]))'
    either = f'label_replace({sampled}, "by", "sample", "", "") or label_replace({counted}, "by", "count", "", "")'
    return f"max({either}) or vector(0)"


def p95_milliseconds(md: ModelDeployment, seconds: int) -> str:
    """95th percentile of the time to answer a prediction, over all pods behind the Service, in milliseconds: what takes
    metrics for autoscaling keeps thousandths of a number, and 2.9 ms in seconds would be 2 of them."""
    buckets = f"sum by (le) (rate({contract.METRIC_DURATION}_bucket{{{answers(md)}}}[{seconds}s]))"
    enough = f"sum(rate({contract.METRIC_DURATION}_count{{{answers(md)}}}[{seconds}s])) * {seconds} >= {MIN_REQUESTS}"
    return f"1000 * histogram_quantile(0.95, {buckets}) and ({enough}) or vector(0)"


def pods(md: ModelDeployment) -> str:
    """Label matchers of all pods of this resource, and of what is recorded about it."""
    return f'namespace="{md.metadata.namespace}",model_deployment="{naming.child_name(md.metadata.name)}"'


def answers(md: ModelDeployment) -> str:
    """Label matchers of the predictions that were made. What is refused as wrong is answered too quickly to count, and
    what failed is the business of the success rate."""
    return f'{pods(md)},path=~"{PATHS}",status="200"'


def drift(over: float, named: int) -> str:
    """Drift of every model that is measured, in one answer: the label `part` says what a sample is. `worst` is the
    highest index of a model; only where that is above `over` there are its highest ones by name (`feature`, at most
    `named`; `predictions`) and how many rows they stand on (`rows`), so that a thousand healthy models are a thousand
    samples. Candidates are no part of it."""
    serving = f'{_track_label()}!="{api.CANDIDATE}"'
    features, predictions = contract.METRIC_FEATURE_DRIFT, contract.METRIC_PREDICTION_DRIFT
    by = "by (namespace, model_deployment)"
    worst = f'max {by} ({{__name__=~"{features}|{predictions}",{serving}}})'
    of_features = f"max by (namespace, model_deployment, feature) ({features}{{{serving}}})"
    parts = {
        "worst": worst,
        "feature": f"topk {by} ({named}, {of_features} > {over})",
        "predictions": f"max {by} ({predictions}{{{serving}}}) > {over}",
        "rows": f"min {by} ({contract.METRIC_DRIFT_ROWS}{{{serving}}}) and {worst} > {over}",
    }
    return " or ".join(f'label_replace({query}, "part", "{part}", "", "")' for part, query in parts.items())


def _track_label() -> str:
    """As the chart's PodMonitor calls it."""
    return api.TRACK_LABEL.partition("/")[2]
