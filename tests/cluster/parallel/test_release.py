"""What people do with the installed release by Helm alone."""

from tests.cluster.models import Models
from tools.cluster import Cluster
from tools.up import NAMESPACE, RELEASE


def test_helm_test_asks_for_a_prediction(cluster: Cluster, models: Models) -> None:
    run_id = models.train("logistic_regression", load=True, plots=False)["run_id"]
    said = cluster.helm("test", RELEASE, "--namespace", NAMESPACE, "--logs", "--timeout", "3m")
    lines = [line for line in said.splitlines() if line.startswith(("ok", "--", "FAILED"))]
    assert [line for line in lines if line.startswith("ok") and run_id in line], said
    assert "/predict of" in lines[-1], said
