"""The API server restarts, which breaks every watch."""

from tests.cluster.disruptions import restart_apiserver
from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace
from tools.cluster import Cluster


def test_no_pod_is_touched_and_the_next_run_is_rolled_out(
    cluster: Cluster, namespace: Namespace, models: Models
) -> None:
    namespace.deploy("paused", models.good)
    namespace.await_("paused", "UpToDate")
    before = namespace.serving_uids("paused", models.good)

    restart_apiserver(cluster)

    assert namespace.serving_uids("paused", models.good) == before
    namespace.deploy("paused", models.better)
    namespace.await_("paused", f"{{.status.serving.runID}}={models.better}")
