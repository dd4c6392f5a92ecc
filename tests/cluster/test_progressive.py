"""What may happen in the middle of a canary: people, other models, and parts that fail. Users notice none of it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlflow
import pytest

from tests.cluster.steps import OWNED_KINDS, OWNER_LABEL, Models, Namespace
from tools.cluster import Cluster
from tools.up import MONITORING, NAMESPACE, PROMETHEUS

LONG = {"strategy": "Canary", "steps": [0, 50], "stepSeconds": 3600, "minRequests": 20}
SHORT = LONG | {"stepSeconds": 15, "steps": [0, 20, 50], "progressDeadlineSeconds": 180}


def deploy(namespace: Namespace, name: str, run_id: str, rollout: dict[str, Any], **spec: Any) -> None:
    namespace.deploy(name, run_id, rollout=rollout, **spec)


def on_trial(namespace: Namespace, models: Models, name: str, rollout: dict[str, Any]) -> None:
    """A canary that has reached its first step with traffic."""
    deploy(namespace, name, models.good, rollout)
    namespace.await_(name, "UpToDate")
    deploy(namespace, name, models.better, rollout)
    namespace.await_(name, "{.status.candidate.weightPercent}=50")


def version(models: Models, name: str, **more: Any) -> str:
    return str(models.train("logistic_regression", model_name=name, **more)["run_id"])


def tags(models: Models, name: str, number: str) -> dict[str, str]:
    with models.tracking():
        found: dict[str, str] = mlflow.MlflowClient().get_model_version(name, number).tags
    return found


def test_somebody_promotes_it(namespace: Namespace, models: Models) -> None:
    on_trial(namespace, models, "promoted", LONG)
    namespace.kubectl("annotate", "modeldeployment", "promoted", f"fairlead.dev/promote={models.better}")
    namespace.await_("promoted", "UpToDate")
    assert namespace.get("promoted")["status"]["serving"]["runID"] == models.better


def test_somebody_aborts_it_and_suspending_freezes_it(namespace: Namespace, models: Models) -> None:
    on_trial(namespace, models, "aborted", LONG)
    deploy(namespace, "aborted", models.better, LONG, suspend=True)
    namespace.await_("aborted", '{.status.conditions[?(@.type=="UpToDate")].reason}=Suspended')
    assert namespace.get("aborted")["status"]["candidate"]["weightPercent"] == 50
    deploy(namespace, "aborted", models.better, LONG)
    namespace.await_("aborted", "{.status.candidate.weightPercent}=50")

    namespace.kubectl("annotate", "modeldeployment", "aborted", f"fairlead.dev/abort={models.better}")
    namespace.await_("aborted", "Stalled")
    status = namespace.get("aborted")["status"]
    assert (status["rejected"][0]["reason"], status["serving"]["runID"]) == ("Aborted", models.good)


def test_deleted_in_the_middle_nothing_is_left(namespace: Namespace, models: Models) -> None:
    on_trial(namespace, models, "gone", LONG)
    namespace.kubectl("delete", "modeldeployment", "gone", "--timeout=60s")
    selector = f"--selector={OWNER_LABEL}=gone"
    for kind in OWNED_KINDS.split(","):
        namespace.kubectl("wait", "--for=delete", kind, selector, "--timeout=60s")
    assert not namespace.kubectl("get", OWNED_KINDS, selector, "--output=name").strip()


@contextmanager
def without_prometheus(cluster: Cluster) -> Iterator[None]:
    """While the context lasts; afterwards it is ready again."""

    def scale(replicas: int) -> None:
        change = f'{{"spec": {{"replicas": {replicas}}}}}'
        cluster.kubectl("patch", "prometheus", PROMETHEUS, "-n", MONITORING, "--type=merge", "-p", change)
        pods = ["pod", "-n", MONITORING, "--selector=app.kubernetes.io/name=prometheus", "--timeout=120s"]
        if replicas:
            cluster.kubectl("wait", "--for=create", *pods)
        cluster.kubectl("wait", "--for=condition=Ready" if replicas else "--for=delete", *pods)

    scale(0)
    try:
        yield
    finally:
        scale(1)


def test_without_prometheus_it_waits_and_says_so(cluster: Cluster, namespace: Namespace, models: Models) -> None:
    deploy(namespace, "blind", models.good, SHORT)
    namespace.await_("blind", "UpToDate")
    with without_prometheus(cluster):
        deploy(namespace, "blind", models.better, SHORT)
        namespace.await_("blind", '{.status.conditions[?(@.type=="UpToDate")].reason}=AnalysisUnavailable')
        status = namespace.get("blind")["status"]
        assert (status["candidate"]["step"], status.get("rejected", [])) == (1, [])
        assert "Prometheus" in namespace.condition("blind", "UpToDate")["message"]
    namespace.await_("blind", "UpToDate", timeout=180)
    assert namespace.get("blind")["status"]["serving"]["runID"] == models.better


def kill_at_each_step(cluster: Cluster, namespace: Namespace, name: str, until: Callable[[], bool]) -> list[int]:
    """Kills the operator whenever the canary has begun another step; returns the steps."""
    seen: list[int] = []
    while not until():
        candidate = namespace.get(name)["status"].get("candidate") or {}
        step = candidate.get("step")
        if step is not None and step not in seen:
            selector = "--selector=app.kubernetes.io/component=operator"
            cluster.kubectl("delete", "pod", "-n", NAMESPACE, selector, "--force", "--grace-period=0")
            seen.append(step)
    return seen


def test_an_operator_killed_at_every_step_loses_nothing(
    cluster: Cluster, namespace: Namespace, models: Models, example_body: str
) -> None:
    deploy(namespace, "killed", models.good, SHORT)
    namespace.await_("killed", "UpToDate")
    done = threading.Event()
    steps: list[int] = []
    with namespace.watch("killed") as recording, namespace.load("killed", models.better, example_body, rate=60) as load:
        deploy(namespace, "killed", models.better, SHORT)
        killer = threading.Thread(
            target=lambda: steps.extend(kill_at_each_step(cluster, namespace, "killed", done.is_set))
        )
        killer.start()
        try:
            namespace.await_("killed", f"{{.status.serving.runID}}={models.better}", timeout=240)
        finally:
            done.set()
            killer.join()
        result = load.result()
    assert result["failures"] == 0, result["examples"]
    assert steps == [0, 1, 2]
    assert recording.ready() == {"True"}


def test_an_alias_that_moves_on_in_the_middle_takes_the_trial_along(namespace: Namespace, models: Models) -> None:
    name = f"moving-{namespace.name}"
    first = version(models, name, alias="champion")
    second, third = version(models, name), version(models, name)
    spec = {"model": {"uri": f"models:/{name}@champion"}}
    for resource in ("one", "two"):
        deploy(namespace, resource, first, LONG, **spec)
        namespace.kubectl("annotate", "modeldeployment", resource, "fairlead.dev/promote=3")
        namespace.await_(resource, "UpToDate")
    with models.tracking():
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", "2")
    namespace.await_("one", f"{{.status.candidate.runID}}={second}")
    namespace.await_("one", "{.status.candidate.weightPercent}=50")
    with models.tracking():
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", "3")
    for resource in ("one", "two"):
        namespace.await_(resource, f"{{.status.serving.runID}}={third}", timeout=240)
    served = {entry["runID"] for entry in namespace.get("one")["status"]["history"]}
    assert second not in served
    place = f"fairlead.{namespace.name}.one"
    assert tags(models, name, "3")[place] == "Serving"
    assert tags(models, name, "1")[place] == "Replaced"


def test_a_version_that_was_taken_back_says_so_in_mlflow_and_is_not_tried_again(
    namespace: Namespace, models: Models
) -> None:
    name = f"wrong-{namespace.name}"
    version(models, name, alias="champion")
    labels = ["malignant" if label == "benign" else "benign" for label in models.data[1]]
    wrong = version(models, name, target=labels)
    rollout = SHORT | {"steps": [0], "maxDisagreementPercent": "5", "failureThreshold": 1}
    deploy(namespace, "verdict", wrong, rollout, model={"uri": f"models:/{name}@champion"})
    namespace.await_("verdict", "UpToDate")
    with models.tracking():
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", "2")
    namespace.await_("verdict", "Stalled", timeout=180)
    told = tags(models, name, "2")[f"fairlead.{namespace.name}.verdict"]
    assert told.startswith("RolledBack: AnalysisFailed")
    assert "disagreement" in told
    namespace.kubectl("annotate", "modeldeployment", "verdict", "example.com/touched=yes")
    assert namespace.get("verdict")["status"].get("candidate") is None


def test_an_update_waits_for_approval_where_the_policy_is_manual(namespace: Namespace, models: Models) -> None:
    name = f"manual-{namespace.name}"
    first = version(models, name, alias="champion")
    model = {"uri": f"models:/{name}@champion", "updatePolicy": "Manual"}
    deploy(namespace, "manual", first, {"strategy": "Rolling"}, model=model)
    namespace.await_("manual", "UpToDate")
    second = version(models, name, alias="champion")
    namespace.await_("manual", '{.status.conditions[?(@.type=="UpToDate")].reason}=UpdateAvailable')
    command = namespace.condition("manual", "UpToDate")["message"].partition("kubectl ")[2]
    assert namespace.get("manual")["status"]["serving"]["runID"] == first
    namespace.cluster.kubectl(*command.split())
    namespace.await_("manual", f"{{.status.serving.runID}}={second}")


@pytest.mark.parametrize("times", [20])
def test_twenty_roll_outs_in_a_row_lose_no_request(
    namespace: Namespace, models: Models, example_body: str, times: int
) -> None:
    runs = (models.good, models.better)
    namespace.deploy("often", runs[0])
    namespace.await_("often", "UpToDate")
    with namespace.load("often", "none", example_body, rate=60, limit_seconds=600) as load:
        for number in range(1, times + 1):
            namespace.deploy("often", runs[number % 2])
            namespace.await_("often", f"{{.status.serving.runID}}={runs[number % 2]}")
        result = load.stop()
    assert result["failures"] == 0, result["examples"]
    history = namespace.get("often")["status"]["history"]
    assert [entry["verdict"] for entry in history] == ["Replaced"] * 10, "bounded by historyLimit"
