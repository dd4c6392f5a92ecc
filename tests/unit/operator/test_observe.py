"""Reading Deployments and pods, whole or in pieces."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.api import ADMITTED, Reason
from fairlead_operator.observe import MAX_MESSAGE, deployment_essentials, observe, pod_essentials

LABELS = {"fairlead.dev/run-id": "a" * 32, "fairlead.dev/revision": "r1"}
METADATA = {"name": "fraud-1", "labels": LABELS, "creationTimestamp": "2026-11-23T12:00:00Z"}


def ended(message: str, code: int = 1, at: str = "2026-11-23T12:00:01Z", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "finishedAt": at, "reason": reason}}


def pod(*statuses: dict[str, Any], conditions: Any = (), **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": METADATA | metadata,
        "status": {"conditions": list(conditions), "initContainerStatuses": list(statuses)},
    }


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no nodes"}


def waiting(reason: str, message: str) -> dict[str, Any]:
    return pod({"name": "loader", "state": {"waiting": {"reason": reason, "message": message}}})


def only(raw: dict[str, Any]) -> Any:
    return observe(None, [raw]).pods[0]


def test_the_loaders_words_are_taken_over() -> None:
    told = json.dumps({"reason": "VersionMismatch", "message": "trained with scikit-learn 0.24.2"})
    view = only(pod({"name": "loader", "state": ended(told)}))
    assert view.failure.reason is Reason.VERSION_MISMATCH
    assert view.failure.message == "trained with scikit-learn 0.24.2"
    assert view.final_failure == view.failure


@pytest.mark.parametrize("message", ["", "Killed", '{"reason": "Unheard"}', '{"reason": "ModelCorrupt"}', "[1]"])
def test_other_words_are_a_failure_that_may_pass(message: str) -> None:
    view = only(pod({"name": "loader", "state": {}, "lastState": ended(message, 137, reason="OOMKilled")}))
    assert view.failure.reason is Reason.LOAD_FAILED
    assert "OOMKilled" in view.failure.message
    assert view.final_failure is None


def test_a_loader_that_succeeded_is_no_failure() -> None:
    assert only(pod({"name": "loader", "state": ended("done", code=0)})).failure is None


def test_the_newest_of_two_failures_counts() -> None:
    loader = {"name": "loader", "lastState": ended("old", at="2026-11-23T12:00:01Z")}
    server = {"name": "server", "lastState": ended("new", at="2026-11-23T12:00:09Z")}
    assert "new" in only(pod(loader, server)).failure.message


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (waiting("ImagePullBackOff", "no such image"), "no such image"),
        (waiting("PodInitializing", ""), ""),
        (pod(conditions=[UNSCHEDULABLE]), "Unschedulable: no nodes"),
    ],
)
def test_why_a_pod_waits(raw: dict[str, Any], words: str) -> None:
    said = only(raw).waiting
    assert words in said
    assert bool(said) == bool(words)


def test_pods_that_are_going_away_do_not_count() -> None:
    going = pod(conditions=[{"type": "Ready", "status": "True"}], deletionTimestamp="2026-11-23T12:00:05Z")
    staying = pod(conditions=[{"type": "Ready", "status": "True"}])
    assert observe(None, [going, staying]).available("r1") == 1


def test_pods_that_swap_models_name_no_run_and_their_failures_do() -> None:
    labels = {"fairlead.dev/revision": "r1"}
    told = json.dumps({"reason": "ModelCorrupt", "message": "truncated", "run_id": "b" * 32})
    raw = pod({"name": "loader", "state": ended(told)}, labels=labels)
    raw["status"]["containerStatuses"] = [{"name": "server", "restartCount": 2}]
    view = only(raw)
    assert (view.swaps, view.restarts, view.failure.run_id) == (True, 2, "b" * 32)
    labelled = only(pod({"name": "server", "state": ended("Killed", 137)}))
    assert (labelled.swaps, labelled.restarts, labelled.failure.run_id) == (False, 0, "a" * 32)

    swapping = deployment()
    swapping["spec"]["template"] = {"metadata": {"labels": labels}}
    for found, expected in ((swapping, True), (deployment(), False), ({"metadata": {}}, False)):
        assert observe(found, []).swapping is expected
    assert observe(None, [raw]).swapping


def deployment(generation: int = 2, **status: int) -> dict[str, Any]:
    counts = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2} | status
    template = {"metadata": {"labels": LABELS}}
    return {"metadata": {"generation": generation}, "spec": {"replicas": 2, "template": template}, "status": counts}


@pytest.mark.parametrize(
    ("raw", "settled", "complete"),
    [
        (deployment(), True, True),
        (deployment(availableReplicas=1), True, False),
        (deployment(replicas=3), False, False),
        (deployment(updatedReplicas=1), False, False),
        (deployment(generation=3), False, False),
    ],
)
def test_a_deployment_is_complete_only_about_its_present_spec(raw: Any, settled: bool, complete: bool) -> None:
    view = observe(raw, []).deployment
    assert view is not None
    assert (view.settled, view.complete) == (settled, complete)


def test_pods_that_cannot_be_made_say_why() -> None:
    raw = deployment()
    raw["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]
    view = observe(raw, []).deployment
    assert view is not None
    assert view.error == "exceeded quota"


@given(st.text(max_size=5000))
def test_no_message_is_too_long_and_none_is_a_traceback(text: str) -> None:
    traceback = f'Traceback (most recent call last):\n  File "x"\n{text}'
    failure = only(pod({"name": "server", "lastState": ended(traceback)})).failure
    assert len(failure.message) <= MAX_MESSAGE
    assert "Traceback" not in failure.message or "Traceback" in text


# --- what is kept of objects ---

STATES = st.sampled_from(
    [
        {},
        {"running": {"startedAt": "2026-11-23T12:00:00Z"}},
        {"waiting": {"reason": "PodInitializing"}},
        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
        {"waiting": {}},
        ended("done", code=0),
        ended("broken"),
        ended(json.dumps({"reason": "ModelCorrupt", "message": "bits", "run_id": "b" * 32}), at="2026-11-23T12:00:09Z"),
    ]
)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["loader", "server"]), "state": STATES, "ready": st.booleans()},
        optional={"lastState": STATES, "restartCount": st.integers(0, 3), "started": st.booleans()},
    ),
    max_size=2,
)
CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Ready", "ContainersReady", "Initialized", "PodScheduled", ADMITTED]),
            "status": st.sampled_from(["True", "False", "Unknown"]),
        },
        optional={"reason": st.just("Unschedulable"), "message": st.text(max_size=5), "lastTransitionTime": st.text()},
    ),
    max_size=5,
    unique_by=lambda found: found["type"],
)
PODS = st.builds(
    lambda status, metadata: {"metadata": METADATA | metadata, "spec": {"nodeName": "one"}, "status": status},
    st.fixed_dictionaries(
        {},
        optional={
            "phase": st.just("Running"),
            "podIP": st.just("10.0.0.1"),
            "conditions": CONDITIONS,
            "initContainerStatuses": CONTAINERS,
            "containerStatuses": CONTAINERS,
        },
    ),
    st.fixed_dictionaries(
        {"namespace": st.just("ml")},
        optional={"deletionTimestamp": st.just("2026-11-23T12:00:00Z"), "annotations": st.just({"a": "b"})},
    ),
)
DEPLOYMENTS = st.builds(
    lambda status: {"metadata": METADATA | {"generation": 2}, "spec": {"replicas": 2}, "status": status},
    st.fixed_dictionaries(
        {},
        optional={
            "replicas": st.integers(0, 3),
            "updatedReplicas": st.integers(0, 3),
            "availableReplicas": st.integers(0, 3),
            "readyReplicas": st.integers(0, 3),
            "unavailableReplicas": st.integers(0, 3),
            "observedGeneration": st.integers(1, 3),
            "conditions": st.lists(
                st.fixed_dictionaries(
                    {
                        "type": st.sampled_from(["Progressing", "ReplicaFailure"]),
                        "status": st.sampled_from(["True", "False"]),
                    },
                    optional={"message": st.just("exceeded quota"), "lastUpdateTime": st.text()},
                ),
                max_size=2,
            ),
        },
    ),
)


@given(PODS, DEPLOYMENTS)
def test_what_is_kept_of_an_object_shows_all_that_the_object_does(pod: Any, deployment: Any) -> None:
    seen = observe(deployment, [pod])
    assert observe(deployment_essentials(deployment), [pod_essentials(pod)]) == seen
    assert deployment_essentials(deployment)["spec"] == deployment["spec"], "it is compared with what it should be"
    again = pod_essentials(pod_essentials(pod))
    assert again == pod_essentials(pod)


def test_a_pod_that_is_only_under_way_is_no_news() -> None:
    def status(**more: Any) -> dict[str, Any]:
        return {"metadata": METADATA | {"resourceVersion": "1"}, "status": more}

    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-23T12:00:00Z"}
    starting = {
        "name": "loader",
        "ready": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": "PodInitializing"}},
    }
    stages = [
        status(),
        status(phase="Pending", conditions=[scheduled]),
        status(phase="Pending", conditions=[scheduled], hostIP="10.0.0.1", initContainerStatuses=[starting]),
        status(initContainerStatuses=[starting | {"state": {"running": {"startedAt": "2026-11-23T12:00:00Z"}}}]),
    ]
    assert len({json.dumps(pod_essentials(stage)) for stage in stages}) == 1
