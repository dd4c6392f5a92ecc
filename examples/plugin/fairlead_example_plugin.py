"""A support vector machine to train by `POST /train`, and a metric that says what its mistakes cost."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fairlead_service.training import hyperparameters as checked
from fairlead_service.training.algorithms import Algorithm
from fairlead_service.training.metrics import Metric, Scored

GAIN_OF_A_HIT = 10.0
COST_OF_A_FALSE_ALARM = 1.0


def _build(hyperparameters: Mapping[str, Any], random_state: int) -> Pipeline:
    classifier = checked.from_class(SVC, hyperparameters, random_state)
    return Pipeline([("scale", StandardScaler()), ("classify", classifier)])


def _profit(found: Scored) -> float | None:
    """For two classes, of which the second is what is looked for; of more it is not defined."""
    if found.classes is None or len(found.classes) != 2:
        return None
    wanted = found.classes[1]
    alarms = found.predicted == wanted
    hits = np.count_nonzero(alarms & (found.y == wanted))
    false_alarms = np.count_nonzero(alarms) - hits
    return float(GAIN_OF_A_HIT * hits - COST_OF_A_FALSE_ALARM * false_alarms) / len(found.y)


svc = Algorithm(
    name="svc",
    build=_build,
    task="classification",
    description="sklearn.svm.SVC behind a StandardScaler; hyperparameters are those of SVC",
    schema=lambda: checked.schema(SVC),
)
profit = Metric(
    name="profit",
    task="classification",
    compute=_profit,
    description=f"Per row: {GAIN_OF_A_HIT:g} for each hit, -{COST_OF_A_FALSE_ALARM:g} for each false alarm",
)
