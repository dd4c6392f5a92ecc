"""Models that are swapped in running pods: no pod is restarted, no request fails, and what is recorded serves."""

from typing import Any

from tests.cluster.observed import eventually
from tests.cluster.steps import Models, Namespace

SWAP = {"strategy": "HotSwap", "progressDeadlineSeconds": 120}


def uids(namespace: Namespace, name: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in namespace.pods(name) if "deletionTimestamp" not in pod["metadata"]}


def swapped(namespace: Namespace, name: str, run_id: str) -> None:
    namespace.deploy(name, run_id, rollout=SWAP)
    namespace.await_(name, f"{{.status.serving.runID}}={run_id}")
    namespace.await_(name, "UpToDate")


def test_pods_swap_under_load_and_a_new_pod_has_the_right_model(
    namespace: Namespace, models: Models, example_body: str
) -> None:
    swapped(namespace, "swapped", models.good)
    before = uids(namespace, "swapped")
    assert len(before) == 2
    with namespace.load("swapped", models.better, example_body, rate=60) as load:
        swapped(namespace, "swapped", models.better)
        result = load.result()
    assert result["failures"] == 0, result["examples"]
    assert set(result["runs"]) == {models.good, models.better}
    assert uids(namespace, "swapped") == before, "a pod was restarted"

    victim = namespace.pods("swapped")[0]["metadata"]["name"]
    namespace.kubectl("delete", "pod", victim)
    namespace.kubectl("rollout", "status", "deployment/swapped", "--timeout=120s")
    with namespace.load("swapped", models.better, example_body, rate=60) as load:
        again: Any = load.result()
    assert set(again["runs"]) == {models.better}


def test_a_bad_model_is_taken_back_and_the_old_one_serves_on(namespace: Namespace, models: Models) -> None:
    swapped(namespace, "guarded", models.good)
    before = uids(namespace, "guarded")
    bad = models.truncated()
    namespace.deploy("guarded", bad, rollout=SWAP)
    namespace.await_("guarded", "Stalled")
    status = namespace.get("guarded")["status"]
    assert status["serving"]["runID"] == models.good
    assert (status["rejected"][0]["runID"], status["rejected"][0]["reason"]) == (bad, "ModelCorrupt")
    assert uids(namespace, "guarded") == before
    swapped(namespace, "guarded", models.better)
    eventually(lambda: namespace.get("guarded")["status"].get("rejected", []), lambda found: not found)
