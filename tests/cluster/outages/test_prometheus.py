"""Prometheus goes away in the middle of a canary and comes back."""

from tests.cluster.disruptions import without_prometheus
from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace
from tools.cluster import Cluster

ROLLOUT = {"strategy": "Canary", "steps": [0, 50], "stepSeconds": 6, "minRequests": 20, "progressDeadlineSeconds": 180}


def test_a_canary_waits_says_so_and_goes_on(cluster: Cluster, namespace: Namespace, models: Models) -> None:
    namespace.deploy("blind", models.good, rollout=ROLLOUT)
    namespace.await_("blind", "UpToDate")
    with without_prometheus(cluster):
        namespace.deploy("blind", models.better, rollout=ROLLOUT)
        namespace.await_("blind", '{.status.conditions[?(@.type=="UpToDate")].reason}=AnalysisUnavailable')
        status = namespace.get("blind")["status"]
        assert (status["candidate"]["step"], status.get("rejected", [])) == (1, [])
        assert "Prometheus" in namespace.condition("blind", "UpToDate")["message"]
    namespace.await_("blind", "UpToDate")
    assert namespace.get("blind")["status"]["serving"]["runID"] == models.better
