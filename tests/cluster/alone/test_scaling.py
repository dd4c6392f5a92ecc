"""Models are scaled by KEDA and on prometheus-adapter's metrics, by what the real Prometheus sees."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, Final

import pytest

from tests.cluster import bad_models
from tests.cluster.models import Data, Models
from tests.cluster.namespaces import Namespace
from tests.cluster.queries import Prometheus, eventually, prometheus
from tools.cluster import LOCAL_CONTEXT, ROOT, Cluster
from tools.localcluster.stack.adapter import API_SERVICE, MARKS
from tools.up import MONITORING, tool

SCALED: Final = {"minReplicas": 1, "maxReplicas": 4, "inFlightRequestsPerPod": 1}
SLO_MILLISECONDS: Final = 400
SMALL: Final = {"requests": {"cpu": "50m"}, "limits": {"cpu": "200m"}}
"""Of a pod that takes half a second for its answers when it alone has all the load."""
RATE: Final = 40
STEADY_SECONDS: Final = float(os.environ.get("FAIRLEAD_STEADY_SECONDS", "20"))
"""How long the load is steady. Pods may go again after half a minute (`tools.up`). Whether fewer are enough shows only
when they are fewer, so in five minutes one may be taken and given back."""


def deployed(namespace: Namespace, name: str) -> Any:
    return namespace.cluster.get("deployment", name, namespace.name)


def replicas(namespace: Namespace, name: str) -> int:
    return int(deployed(namespace, name)["spec"]["replicas"])


def p95(asked: Prometheus, namespace: Namespace) -> float:
    """Milliseconds, of the last quarter of a minute."""
    answers = f'namespace="{namespace.name}",path="/predict",status="200"'
    buckets = f"sum by (le) (rate(http_request_duration_seconds_bucket{{{answers}}}[15s]))"
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


def deploy(namespace: Namespace, name: str, run_id: str, engine: str = "KEDA", **spec: Any) -> None:
    """A model that is scaled, and busy enough to need it."""
    namespace.deploy(
        name,
        run_id,
        model={"runID": run_id, "allowPickle": True},
        autoscaling=SCALED | {"engine": engine},
        replicas=None,
        resources=SMALL,
        slo={"latencyMilliseconds": SLO_MILLISECONDS},
        **spec,
    )


def bodies(data: Data) -> list[str]:
    return [json.dumps({"features": [row]}) for row in data[0][:20]]


@pytest.mark.timeout(STEADY_SECONDS + 1500)  # as long as all that it waits for may take together
def test_pods_come_with_the_load_bear_a_canary_and_go_with_it(namespace: Namespace, models: Models, data: Data) -> None:
    first, second = models.logged(bad_models.busy), models.logged(bad_models.busy, "-again")
    rollout = {"strategy": "Canary", "steps": [0, 50], "stepSeconds": 6, "minRequests": 20}
    deploy(namespace, "scaled", first, rollout=rollout)
    namespace.await_("scaled", "UpToDate")
    assert replicas(namespace, "scaled") == 1

    limit = int(STEADY_SECONDS) + 600
    with (
        prometheus(namespace.cluster) as asked,
        namespace.load("scaled", "none", *bodies(data), rate=RATE, limit_seconds=limit) as load,
    ):
        grown = eventually(lambda: replicas(namespace, "scaled"), lambda found: found >= 2, seconds=180)
        namespace.kubectl("rollout", "status", "deployment/scaled", "--timeout=240s")
        good_latency = partial(
            eventually, lambda: p95(asked, namespace), lambda found: 0 < found <= SLO_MILLISECONDS, seconds=180
        )
        good_latency()

        steady = watched(lambda: replicas(namespace, "scaled"), STEADY_SECONDS)
        assert len(returned(steady)) <= STEADY_SECONDS // 300, "pods went and came back under a load that stayed"
        good_latency()

        deploy(namespace, "scaled", second, rollout=rollout)
        namespace.await_("scaled", "{.status.candidate.weightPercent}=50")
        trial = deployed(namespace, "scaled-canary")["spec"]["replicas"]
        assert trial > SCALED["minReplicas"], "half of the traffic takes as many pods as the load has called for"
        namespace.await_("scaled", f"{{.status.serving.runID}}={second}")
        result = load.stop()

    assert 2 <= grown <= SCALED["maxReplicas"]
    assert result["failures"] == 0, result["examples"]
    assert set(result["runs"]) == {first, second}
    eventually(lambda: replicas(namespace, "scaled"), lambda found: found == 1, seconds=300)
    assert "replicas" not in namespace.get("scaled")["spec"]


@pytest.fixture
def adapter(cluster: Cluster) -> Iterator[None]:
    """prometheus-adapter beside KEDA, for a while: other tests want a cluster without it."""
    local = cluster.kubectl("config", "current-context").strip() == LOCAL_CONTEXT

    def released(enabled: str) -> None:
        chart, setting = str(ROOT / "charts/fairlead-stack"), f"prometheus-adapter.enabled={enabled}"
        cluster.helm("upgrade", MONITORING, chart, "-n", MONITORING, "--reuse-values", "--set", setting, "--wait")

    if local:
        subprocess.run(tool("tools.localcluster", "stack", "--adapter"), cwd=ROOT, check=True)
    else:
        released("true")
    cluster.kubectl("wait", "--for=condition=Available", f"apiservice/{API_SERVICE}", "--timeout=120s")
    yield
    if local:
        cluster.kubectl("delete", "apiservice", API_SERVICE)  # first: without its pods, no namespace could be deleted
        kinds = "deployments,services,configmaps,serviceaccounts,rolebindings,clusterrolebindings,clusterroles"
        named = ",".join(f"{key}={MARKS[key]}" for key in ("app.kubernetes.io/name", "app.kubernetes.io/part-of"))
        cluster.kubectl("delete", kinds, "--all-namespaces", "--selector", named)
    else:
        released("false")


@pytest.mark.timeout(1800)  # on a new machine prometheus-adapter is built first
@pytest.mark.usefixtures("adapter")
def test_the_engine_hpa_scales_on_the_adapters_metrics(namespace: Namespace, models: Models, data: Data) -> None:
    deploy(namespace, "custom", models.logged(bad_models.busy), engine="HPA")
    namespace.await_("custom", "UpToDate")
    namespace.await_("custom", "Autoscaled")
    with (
        prometheus(namespace.cluster) as asked,
        namespace.load("custom", "none", *bodies(data), rate=RATE, limit_seconds=600) as load,
    ):
        grown = eventually(lambda: replicas(namespace, "custom"), lambda found: found >= 2, seconds=180)
        namespace.kubectl("rollout", "status", "deployment/custom", "--timeout=240s")
        eventually(lambda: p95(asked, namespace), lambda found: 0 < found <= SLO_MILLISECONDS, seconds=180)
        result = load.stop()
        most = replicas(namespace, "custom")
    assert 2 <= grown <= most <= SCALED["maxReplicas"]
    assert result["failures"] == 0, result["examples"]

    eventually(lambda: replicas(namespace, "custom"), lambda found: found < most, seconds=300)
    status = namespace.cluster.get("horizontalpodautoscaler", "custom", namespace.name)["status"]
    assert {one["type"] for one in status["currentMetrics"]} == {"Pods", "Object"}
    assert {one["type"]: one["status"] for one in status["conditions"]}["ScalingActive"] == "True"
    assert "replicas" not in namespace.get("custom")["spec"]
