"""What autoscalers and alerts are made from, beside the resource itself. Pods do not depend on any of it."""

from dataclasses import dataclass, field
from typing import Final, Literal

Engine = Literal["KEDA", "HPA"]

RUNBOOKS: Final = "https://github.com/fairlead-dev/fairlead/blob/main/docs/runbooks"


@dataclass(frozen=True)
class Surroundings:
    """The part of the operator's settings that says how models are measured and scaled."""

    prometheus_url: str | None = None
    """As KEDA reaches it."""
    autoscaling_engine: Engine = "KEDA"
    """For resources that name none."""
    scaling_window_seconds: int = 60
    """The signals are averages over so long. Four scrapes are the least that makes sense."""
    scaling_poll_seconds: int = 30
    scale_up_window_seconds: int = 0
    scale_down_window_seconds: int = 300
    scale_down_period_seconds: int = 60
    monitoring_labels: dict[str, str] = field(default_factory=dict)
    """Of PrometheusRules, for a Prometheus that selects by label."""
    runbook_url: str = RUNBOOKS
