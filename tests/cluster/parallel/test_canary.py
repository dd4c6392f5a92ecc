"""Canaries on the real cluster, judged by the real Prometheus: no user's request fails, whatever the model."""

import json
from typing import Any

import pytest

from tests.cluster import bad_models
from tests.cluster.models import Data, Fit, Models
from tests.cluster.namespaces import Namespace
from tests.cluster.queries import eventually, prometheus

STEPS = {"strategy": "Canary", "steps": [0, 50], "stepSeconds": 6, "minRequests": 20, "progressDeadlineSeconds": 300}
"""Steps as short as two scrapes allow."""
SLO = {"latencyMilliseconds": 100, "successPercent": "99"}
SMALL = {"requests": {"cpu": "10m"}, "limits": {"cpu": "300m"}}
"""Of every pod: enough for a good model, and too little for half of the load on `bad_models.busy`."""
ONE_CHANCE = {"failureThreshold": 1}
AGREEING = ONE_CHANCE | {"maxDisagreementPercent": "5"}


@pytest.fixture(scope="session")
def bodies(data: Data) -> list[str]:
    """Bodies of one row each, one in twenty of which `bad_models.refusing` has not seen."""
    rows = sorted(data[0])
    return [json.dumps({"features": [row]}) for row in rows[:: len(rows) // 40]]


def deploy(namespace: Namespace, name: str, run_id: str, **rollout: Any) -> None:
    model = {"runID": run_id, "allowPickle": True}
    namespace.deploy(name, run_id, model=model, slo=SLO, resources=SMALL, rollout=STEPS | rollout)


def started(namespace: Namespace, name: str, run_id: str, **rollout: Any) -> None:
    deploy(namespace, name, run_id, **rollout)
    namespace.await_(name, "UpToDate")


def test_a_better_model_is_promoted_step_by_step(namespace: Namespace, models: Models, bodies: list[str]) -> None:
    started(namespace, "better", models.good)

    with namespace.watch("better") as recording, namespace.load("better", models.better, *bodies, rate=60) as load:
        deploy(namespace, "better", models.better)
        namespace.await_("better", "UpToDate")
        result = load.result()

    assert result["failures"] == 0, result["examples"]
    assert set(result["runs"]) == {models.good, models.better}
    recording.assert_honest()
    assert recording.ready() == {"True"}
    trials = [found for state in recording.states if (found := state["status"].get("candidate"))]
    steps = [found["step"] for found in trials]
    assert sorted(set(steps)) == [0, 1]
    assert steps == sorted(steps)
    assert {found.get("weightPercent", 0) for found in trials if found["step"] == 0} == {0}
    assert any(found.get("weightPercent") == 50 for found in trials)
    assert {check["name"] for found in trials for check in found.get("checks", [])} == {"success", "latencyP95"}
    left = namespace.kubectl("get", "deployments,services", "--output=name").split()
    assert left == ["deployment.apps/better", "service/better"]
    reasons = {event["reason"] for event in namespace.events("better")}
    assert {"RolloutStarted", "CanaryStep", "CanaryPassed", "RolloutCompleted"} <= reasons


def await_requests(namespace: Namespace, count: int) -> None:
    """Until pods have answered so many, and kept rows of some: what is replayed must hold what the model refuses."""
    answered = f'sum(http_requests_total{{namespace="{namespace.name}",path="/predict"}})'
    with prometheus(namespace.cluster) as asked:
        eventually(lambda: asked.value(answered), lambda found: found >= count)


@pytest.mark.parametrize(
    ("serving", "fit", "check", "rollout"),
    [
        (bad_models.plain, bad_models.busy, "latencyP95", ONE_CHANCE),
        (bad_models.plain, bad_models.refusing, "success", ONE_CHANCE | {"replaySamples": 200, "minRequests": 200}),
        (bad_models.plain, bad_models.wrong, "disagreement", AGREEING),
        (
            bad_models.number,
            bad_models.number_too_large,
            "disagreement 20 %",
            ONE_CHANCE | {"maxDisagreementPercent": "5"},
        ),
    ],
    ids=["slow", "refusing", "wrong", "number"],
)
def test_a_worse_model_is_taken_back_and_no_request_fails(
    namespace: Namespace,
    models: Models,
    bodies: list[str],
    serving: Fit,
    fit: Fit,
    check: str,
    rollout: dict[str, Any],
) -> None:
    good, bad = models.logged(serving), models.logged(fit)
    started(namespace, "worse", good, **rollout)
    before = namespace.serving_uids("worse", good)

    with (
        namespace.watch("worse") as recording,
        namespace.load("worse", "none", *bodies, rate=60) as load,
    ):
        if "replaySamples" in rollout:
            await_requests(namespace, 900)
        deploy(namespace, "worse", bad, **rollout)
        namespace.await_("worse", "Stalled")
        result = load.stop()

    assert result["failures"] == 0, result["examples"]
    status = namespace.get("worse")["status"]
    assert status["serving"]["runID"] == good
    assert (status["rejected"][0]["runID"], status["rejected"][0]["reason"]) == (bad, "AnalysisFailed")
    assert check in status["rejected"][0]["message"]
    assert namespace.serving_uids("worse", good) == before, "pods that served were touched"
    assert recording.ready() == {"True"}
    described = namespace.kubectl("describe", "modeldeployment", "worse")
    assert "ModelRejected" in described
    assert check in described
    assert "AnalysisFailed" in namespace.kubectl("get", "modeldeployment", "worse")
    assert namespace.kubectl("get", "deployments", "--output=name").split() == ["deployment.apps/worse"]
