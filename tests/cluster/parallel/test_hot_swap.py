"""Another model in the same pods: swapped under load, taken back, kept as pods come and go, quick to return to."""

import json
from typing import Any

import httpx

from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace

SWAP = {"strategy": "HotSwap", "progressDeadlineSeconds": 300}


def deploy(namespace: Namespace, name: str, run_id: str, **spec: Any) -> None:
    namespace.deploy(name, run_id, rollout=SWAP, **spec)


def started(namespace: Namespace, name: str, run_id: str, **spec: Any) -> None:
    deploy(namespace, name, run_id, **spec)
    namespace.await_(name, "UpToDate")


def alive(namespace: Namespace, name: str) -> list[Any]:
    return [pod for pod in namespace.pods(name) if "deletionTimestamp" not in pod["metadata"]]


def lives(namespace: Namespace, name: str) -> set[tuple[str, int]]:
    """Pods, and how often their servers have been started again."""
    return {
        (pod["metadata"]["uid"], sum(found["restartCount"] for found in pod["status"]["containerStatuses"]))
        for pod in alive(namespace, name)
    }


def infos(namespace: Namespace, name: str) -> list[Any]:
    """What the pods themselves say they serve."""
    found = []
    for pod in alive(namespace, name):
        with namespace.cluster.port_forward(namespace.name, f"pod/{pod['metadata']['name']}") as url:
            found.append(httpx.get(f"{url}/model/info", timeout=10).raise_for_status().json())
    return found


def reported(namespace: Namespace, name: str) -> set[str]:
    return {info["run_id"] for info in infos(namespace, name)}


def recorded(namespace: Namespace, name: str) -> str:
    return str(json.loads(namespace.kubectl("get", "configmap", name, "-o", "json"))["data"]["FAIRLEAD_RUN_ID"])


def test_a_swap_under_load_loses_no_request_and_no_pod(namespace: Namespace, models: Models, example_body: str) -> None:
    started(namespace, "swapped", models.good)
    before = lives(namespace, "swapped")

    with namespace.watch("swapped") as recording, namespace.load("swapped", models.better, example_body) as load:
        deploy(namespace, "swapped", models.better)
        namespace.await_("swapped", "UpToDate")
        result = load.result()

    assert result["failures"] == 0, result["examples"]
    assert result["settled"], result
    assert result["sent"] > 200, "it was under load"
    assert set(result["runs"]) == {models.good, models.better}
    recording.assert_honest()
    assert recording.ready() == {"True"}
    assert lives(namespace, "swapped") == before
    assert reported(namespace, "swapped") == {models.better}
    assert recorded(namespace, "swapped") == models.better
    assert {"RolloutStarted", "RolloutCompleted"} <= {event["reason"] for event in namespace.events("swapped")}


def test_a_model_that_cannot_be_loaded_leaves_the_one_that_serves(
    namespace: Namespace, models: Models, example_body: str
) -> None:
    bad = models.truncated()
    started(namespace, "guarded", models.good)
    before = lives(namespace, "guarded")

    with namespace.watch("guarded") as recording, namespace.load("guarded", "none", example_body) as load:
        deploy(namespace, "guarded", bad)
        namespace.await_("guarded", "Stalled")
        result = load.stop()

    assert result["failures"] == 0, result["examples"]
    assert set(result["runs"]) == {models.good}
    assert recording.ready() == {"True"}
    status = namespace.get("guarded")["status"]
    assert status["serving"]["runID"] == models.good
    assert (status["rejected"][0]["runID"], status["rejected"][0]["reason"]) == (bad, "ModelCorrupt")
    assert status["lastFailure"]["pod"] in {pod["metadata"]["name"] for pod in namespace.pods("guarded")}
    assert "model.skops" in status["lastFailure"]["message"]
    assert lives(namespace, "guarded") == before
    assert reported(namespace, "guarded") == {models.good}
    assert recorded(namespace, "guarded") == models.good

    started(namespace, "guarded", models.better)
    assert not namespace.get("guarded")["status"].get("rejected")
    assert lives(namespace, "guarded") == before


def test_pods_that_are_deleted_or_restarted_come_back_with_what_serves(namespace: Namespace, models: Models) -> None:
    started(namespace, "lasting", models.good, replicas=2)
    started(namespace, "lasting", models.better, replicas=2)

    first, second = (pod["metadata"]["name"] for pod in alive(namespace, "lasting"))
    namespace.kubectl("delete", "pod", first, "--wait=true")
    namespace.kubectl("exec", second, "--container=server", "--", "python", "-c", "import os; os.kill(1, 15)")
    restarted = "jsonpath={.status.containerStatuses[0].restartCount}=1"
    namespace.kubectl("wait", f"--for={restarted}", f"pod/{second}", "--timeout=60s")
    namespace.kubectl("rollout", "status", "deployment/lasting", "--timeout=120s")

    assert reported(namespace, "lasting") == {models.better}
    status = namespace.get("lasting")["status"]
    assert status["serving"]["runID"] == models.better
    assert not status.get("rejected")
    assert namespace.condition("lasting", "UpToDate")["status"] == "True"


def test_going_back_takes_no_load(namespace: Namespace, models: Models) -> None:
    started(namespace, "returning", models.good)
    before, loaded = lives(namespace, "returning"), [info["loaded_at"] for info in infos(namespace, "returning")]
    started(namespace, "returning", models.better)

    deploy(namespace, "returning", models.good)
    namespace.await_("returning", f"{{.status.serving.runID}}={models.good}")
    namespace.await_("returning", "UpToDate")

    assert reported(namespace, "returning") == {models.good}
    assert sorted(info["loaded_at"] for info in infos(namespace, "returning")) == sorted(loaded), "it was loaded again"
    assert lives(namespace, "returning") == before


def test_another_environment_rolls_and_another_strategy_leaves_no_record(namespace: Namespace, models: Models) -> None:
    started(namespace, "changing", models.good)
    started(namespace, "changing", models.better)
    before = lives(namespace, "changing")

    started(namespace, "changing", models.better, env=[{"name": "A", "value": "1"}])
    assert not before & lives(namespace, "changing")
    assert reported(namespace, "changing") == {models.better}

    namespace.deploy("changing", models.better)
    namespace.await_("changing", "UpToDate")
    namespace.kubectl("wait", "--for=delete", "configmap/changing", "--timeout=60s")
    assert reported(namespace, "changing") == {models.better}
