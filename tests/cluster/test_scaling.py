"""Models scaled by KEDA on what the real Prometheus sees, and told so where that is not possible."""

import json
import os
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Final

import pytest

from tests.cluster import spoilt
from tests.cluster.observed import Prometheus, eventually, prometheus
from tests.cluster.steps import Data, Models, Namespace

SCALED: Final = {"minReplicas": 1, "maxReplicas": 6, "inFlightRequestsPerPod": 1}
SLO_MILLISECONDS: Final = 400
SMALL: Final = {"requests": {"cpu": "50m"}, "limits": {"cpu": "200m"}}
"""Of a pod that takes half a second for its answers when it alone has all the load."""
RATE: Final = 40
STEADY_SECONDS: Final = float(os.environ.get("FAIRLEAD_STEADY_SECONDS", "60"))
"""How long the load is steady. Pods may go again after a minute and a half (`tools.up`). Whether fewer are enough shows
only when they are fewer, so in five minutes one may be taken and given back."""


def deployed(namespace: Namespace, name: str) -> Any:
    return namespace.cluster.get("deployment", name, namespace.name)


def replicas(namespace: Namespace, name: str) -> int:
    return int(deployed(namespace, name)["spec"]["replicas"])


def p95(asked: Prometheus, namespace: Namespace) -> float:
    """Milliseconds, of the last half minute."""
    answers = f'namespace="{namespace.name}",path="/predict",status="200"'
    buckets = f"sum by (le) (rate(http_request_duration_seconds_bucket{{{answers}}}[30s]))"
    return 1000 * asked.value(f"histogram_quantile(0.95, {buckets}) or vector(0)")


def watched(ask: Callable[[], int], seconds: float) -> list[int]:
    """All numbers seen in that time, one a second."""
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        found.append(ask())
        time.sleep(1)  # what is observed is a time in which nothing should change
    return found


def returned(numbers: list[int]) -> list[tuple[int, int]]:
    """Where a number rises that has fallen before: fewer pods were not enough, and that could have been known."""
    changes = [(before, after) for before, after in pairwise(numbers) if before != after]
    fallen = [at for at, (before, after) in enumerate(changes) if after < before]
    return [(before, after) for before, after in changes[fallen[0] :] if after > before] if fallen else []


@pytest.mark.timeout(STEADY_SECONDS + 1500)  # as long as all that it waits for may take together
def test_pods_come_with_the_load_bear_a_canary_and_go_with_it(namespace: Namespace, models: Models, data: Data) -> None:
    first, second = models.logged(spoilt.busy), models.logged(spoilt.busy)
    bodies = [json.dumps({"features": [row]}) for row in data[0][:20]]

    def deploy(run_id: str) -> None:
        namespace.deploy(
            "scaled",
            run_id,
            model={"runID": run_id, "allowPickle": True},
            autoscaling=SCALED,
            replicas=None,
            resources=SMALL,
            slo={"latencyMilliseconds": SLO_MILLISECONDS},
            rollout={"strategy": "Canary", "steps": [0, 50], "stepSeconds": 15, "minRequests": 20},
        )

    deploy(first)
    namespace.await_("scaled", "UpToDate")
    assert replicas(namespace, "scaled") == 1

    limit = int(STEADY_SECONDS) + 600
    with (
        prometheus(namespace.cluster) as asked,
        namespace.load("scaled", "none", *bodies, rate=RATE, limit_seconds=limit) as load,
    ):
        grown = eventually(lambda: replicas(namespace, "scaled"), lambda found: found >= 2, seconds=180)
        namespace.kubectl("rollout", "status", "deployment/scaled", "--timeout=120s")
        good_latency = partial(
            eventually, lambda: p95(asked, namespace), lambda found: 0 < found <= SLO_MILLISECONDS, seconds=180
        )
        good_latency()

        steady = watched(lambda: replicas(namespace, "scaled"), STEADY_SECONDS)
        assert len(returned(steady)) <= STEADY_SECONDS // 300, "pods went and came back under a load that stayed"
        good_latency()

        deploy(second)
        namespace.await_("scaled", "{.status.candidate.weightPercent}=50", timeout=180)
        trial = deployed(namespace, "scaled-canary")["spec"]["replicas"]
        assert trial > SCALED["minReplicas"], "half of the traffic takes as many pods as the load has called for"
        namespace.await_("scaled", f"{{.status.serving.runID}}={second}", timeout=240)
        result = load.stop()

    assert 2 <= grown <= SCALED["maxReplicas"]
    assert result["failures"] == 0, result["examples"]
    assert set(result["runs"]) == {first, second}
    eventually(lambda: replicas(namespace, "scaled"), lambda found: found == 1, seconds=300)
    assert "replicas" not in namespace.get("scaled")["spec"]


def test_a_cluster_without_the_adapter_is_told_how_to_get_it_and_serves(namespace: Namespace, models: Models) -> None:
    scaled = SCALED | {"engine": "HPA"}
    namespace.deploy("adapted", models.good, autoscaling=scaled, replicas=None)
    namespace.await_("adapted", "Ready")
    conditions = eventually(
        lambda: [found for found in namespace.get("adapted")["status"]["conditions"]],
        lambda found: any(one["reason"] == "AutoscalerMissing" for one in found),
    )
    message = next(one["message"] for one in conditions if one["reason"] == "AutoscalerMissing")
    assert "prometheus-adapter" in message
    assert "helm" in message
