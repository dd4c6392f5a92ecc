"""PromQL over the pods' metrics: what a model is scaled and judged by.

Every query is one series, and 0 where there is nothing to measure: a metric that is missing keeps an autoscaler from
scaling in, and NaN is not a number to compare with. Names of resources and namespaces need no escaping.
"""

import re
from typing import Final

from fairlead_operator import api, contract
from fairlead_operator.api import ModelDeployment
from fairlead_operator.desired import naming

PATHS: Final = "|".join(re.sub(r"[{}]", lambda brace: f"[{brace[0]}]", path) for path in contract.INFERENCE_PATHS)
"""Regular expression for the label `path` of predictions."""
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


def _track_label() -> str:
    """As the chart's PodMonitor calls it."""
    return api.TRACK_LABEL.partition("/")[2]
