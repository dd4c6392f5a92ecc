"""Where one Prometheus has several clusters, by the label `cluster`, the alerts of each are about that one."""

from pathlib import Path
from typing import Any

import pytest

from tests.chart.promtool import History
from tests.chart.rendering import Helm
from tests.chart.test_alerts_release import OPERATOR, PREDICTORS, WELL, predictions, problem, rule, trainings

FIRING = 'count by (alertname, cluster) (ALERTS{alertstate="firing"})'
ILL: dict[str, dict[str, str]] = {
    "ModelNoReadyPods": problem("Ready", "NoReadyPods", "1x120"),
    "FairleadScrapeMissing": {f'up{{{PREDICTORS},namespace="ml",pod="fraud-2"}}': "0x120"},
    "FairleadMLflowUnreachable": {f"fairlead_registry_up{{{OPERATOR}}}": "0x120"},
    "FairleadOperatorNotReconciling": {f"fairlead_queue_oldest_seconds{{{OPERATOR}}}": "900x120"},
    "PredictionQueueSaturated": predictions("429", "0+600x120"),
    "TrainingFailed": trainings("failed", "0+1x120") | trainings("succeeded", "0x120"),
}
"""What fires each of them in the second cluster, while all is well in the first."""


def of(cluster: str, series: dict[str, str]) -> dict[str, str]:
    return {f'{name.removesuffix("}")},cluster="{cluster}"}}': values for name, values in series.items()}


@pytest.fixture(scope="module")
def groups(helm: Helm) -> Any:
    return rule(helm)["spec"]["groups"]


@pytest.mark.parametrize("alert", ILL)
def test_an_alert_is_of_one_cluster(groups: Any, tmp_path: Path, alert: str) -> None:
    well = WELL | trainings("succeeded", "0+1x120") | predictions("200", "0+600x120")
    expected = {f'{{alertname="{alert}",cluster="second"}}': 1.0}
    History(of("first", well) | of("second", well | ILL[alert])).expect(FIRING, "60m", expected).check(tmp_path, groups)
