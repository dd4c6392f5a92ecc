"""The PrometheusRule of a model with `spec.slo`: burn-rate alerts, and what the dashboard draws as its promises.

Multi-window, multi-burn-rate alerts as in Google's SRE Workbook, chapter 5: a budget of errors for 30 days, and alerts
when it burns so fast that it matters, over a long window (it matters) and a short one (it still goes on). Two kinds of
error: predictions that fail, and predictions that are late.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from fairlead_operator import contract
from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import naming, signals
from fairlead_operator.desired.surroundings import Surroundings
from fairlead_operator.spec import ServiceLevel

PROMETHEUS_RULE: Final = "PrometheusRule"
RATE: Final = "5m"
RECORDED_SECONDS: Final = 60
"""Between two samples of what is recorded."""
LATE_BUDGET: Final = Decimal("0.05")
"""`latencyMilliseconds` is a 95th percentile."""
MIN_BAD: Final = 5
"""Bad predictions in the long window below which nobody is told: of three requests in a night, one is no outage."""
LATENCY: Final = "fairlead:slo_latency_seconds"
SUCCESS: Final = "fairlead:slo_success_ratio"


@dataclass(frozen=True)
class Burn:
    """A pair of windows; `factor` 1 would spend the budget of 30 days in 30 days."""

    factor: Decimal
    long: str
    short: str
    severity: str
    """critical wakes somebody up, warning is for the next working day."""


BURNS: Final = (
    Burn(Decimal("14.4"), "1h", "5m", "critical"),
    Burn(Decimal(6), "6h", "30m", "critical"),
    Burn(Decimal(3), "1d", "2h", "warning"),
    Burn(Decimal(1), "3d", "6h", "warning"),
)


@dataclass(frozen=True)
class _Objective:
    alert: str
    total: str
    """Series with the rate of all predictions that count, and of the bad ones among them."""
    bad: str
    budget: Decimal
    what: str
    promise: str


def build(md: ModelDeployment, slo: ServiceLevel, around: Surroundings) -> Manifest | None:
    """None where nothing is promised."""
    objectives, records = [], []
    if slo.success_percent is not None:
        objectives.append(_failing(slo.success_percent))
        records += [*_failure_rates(md), (SUCCESS, f"vector({_number(Decimal(slo.success_percent) / 100)})")]
    if slo.latency_milliseconds is not None:
        records.append((LATENCY, f"vector({_number(Decimal(slo.latency_milliseconds) / 1000)})"))
        bound = bucket(slo.latency_milliseconds)
        if bound is not None:
            objectives.append(_late(slo.latency_milliseconds, bound))
            records += _lateness_rates(md, bound)
    if not records:
        return None
    labels = {"namespace": md.metadata.namespace, "model_deployment": naming.child_name(md.metadata.name)}
    recording = [{"record": name, "expr": expression, "labels": dict(labels)} for name, expression in records]
    alerting = {
        severity: [
            _alert(md, objective, burn, around)
            for objective in objectives
            for burn in BURNS
            if burn.severity == severity
        ]
        for severity in ("critical", "warning")
    }
    metadata = naming.metadata(md)
    metadata["labels"] = {**around.monitoring_labels, **metadata["labels"]}
    group = f"fairlead.{md.metadata.namespace}.{metadata['name']}"
    groups: list[Manifest] = [
        {"name": group, "interval": f"{RECORDED_SECONDS}s", "rules": [*recording, *alerting["critical"]]}
    ]
    if alerting["warning"]:  # sums over days, which need not be looked at every minute
        groups.append({"name": f"{group}.days", "interval": "5m", "rules": alerting["warning"]})
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": PROMETHEUS_RULE,
        "metadata": metadata,
        "spec": {"groups": groups},
    }


def bucket(milliseconds: int) -> float | None:
    """The histogram's smallest bound that is no less: what lies between the two cannot be told apart."""
    return next((bound for bound in contract.LATENCY_MILLISECONDS if bound >= milliseconds), None)


def threshold(budget: Decimal, factor: Decimal) -> Decimal:
    """The share of bad predictions that spends the budget `factor` times too fast. Where that is more than there can
    be (a budget of 10 %, 14 times), nine tenths of the way from the budget to everything still alerts."""
    return min(factor * budget, Decimal("0.9") + budget / 10)


def _failing(success_percent: str) -> _Objective:
    return _Objective(
        "ModelErrorBudgetBurn",
        "fairlead:slo_requests:rate5m",
        "fairlead:slo_errors:rate5m",
        1 - Decimal(success_percent) / 100,
        "fail",
        f"{success_percent} % succeed",
    )


def _late(milliseconds: int, bound: float) -> _Objective:
    told = "" if bound == milliseconds else f" (counted from {bound:g} ms on, the histogram's next bound)"
    return _Objective(
        "ModelLatencyBudgetBurn",
        "fairlead:slo_answered:rate5m",
        "fairlead:slo_late:rate5m",
        LATE_BUDGET,
        f"take longer than {milliseconds} ms{told}",
        f"95 % are answered within {milliseconds} ms",
    )


def _failure_rates(md: ModelDeployment) -> list[tuple[str, str]]:
    """Recorded, so that three days are sums over two series and not over every pod's. What is refused as wrong (other
    4xx) is the caller's doing."""
    predictions = f'{signals.pods(md)},path=~"{signals.PATHS}"'

    def rate(more: str) -> str:
        return f"sum(rate({contract.METRIC_REQUESTS}{{{predictions}{more}}}[{RATE}])) or vector(0)"

    failed = f',status=~"{signals.FAILED}"'
    return [("fairlead:slo_requests:rate5m", rate("")), ("fairlead:slo_errors:rate5m", rate(failed))]


def _lateness_rates(md: ModelDeployment, bound: float) -> list[tuple[str, str]]:
    total = f"sum(rate({contract.METRIC_DURATION}_count{{{signals.answers(md)}}}[{RATE}]))"
    # A whole number of seconds is written `1` or `1.0`, depending on who scraped it.
    le = 'le=~"' + f"{bound / 1000:g}".replace(".", "[.]") + '([.]0)?"'
    within = f"sum(rate({contract.METRIC_DURATION}_bucket{{{signals.answers(md)},{le}}}[{RATE}]))"
    return [
        ("fairlead:slo_answered:rate5m", f"{total} or vector(0)"),
        ("fairlead:slo_late:rate5m", f"{total} - {within} or vector(0)"),
    ]


def _alert(md: ModelDeployment, objective: _Objective, burn: Burn, around: Surroundings) -> Manifest:
    where = signals.pods(md)
    limit = _number(threshold(objective.budget, burn.factor))

    def share(window: str) -> str:
        return (
            f"sum_over_time({objective.bad}{{{where}}}[{window}])"
            f" / sum_over_time({objective.total}{{{where}}}[{window}]) > {limit}"
        )

    some = f"sum_over_time({objective.bad}{{{where}}}[{burn.long}]) * {RECORDED_SECONDS} >= {MIN_BAD}"
    name = f"{md.metadata.namespace}/{md.metadata.name}"
    return {
        "alert": objective.alert,
        "expr": f"{share(burn.long)} and {share(burn.short)} and {some}",
        "labels": {
            "namespace": md.metadata.namespace,
            "modeldeployment": md.metadata.name,
            "severity": burn.severity,
            "window": burn.long,
        },
        "annotations": {
            "summary": f"{{{{ $value | humanizePercentage }}}} of the predictions of {name} {objective.what}.",
            "description": (
                f"Over the last {burn.long} and {burn.short}, more than {_percent(limit)} % did; promised is that "
                f"{objective.promise}. {_outlook(objective.budget, burn)}"
            ),
            "runbook_url": f"{around.runbook_url}/{objective.alert}.md",
        },
    }


def _outlook(budget: Decimal, burn: Burn) -> str:
    if not budget:
        return "There is no budget for errors."
    days = math.ceil(30 / burn.factor)
    return f"At this rate the errors of 30 days are spent in {days} day{'s' if days > 1 else ''}."


def _percent(limit: str) -> str:
    return _number(Decimal(limit) * 100)


def _number(value: Decimal) -> str:
    """Without an exponent, without zeros at the end."""
    return format(value.normalize(), "f")
