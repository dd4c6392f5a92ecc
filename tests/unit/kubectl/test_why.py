"""`kubectl fairlead why`: what is most likely wrong, from plain objects."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_kubectl import advice, status
from fairlead_kubectl.why import diagnose
from fairlead_operator.api import Reason
from tests.unit.kubectl.samples import (
    condition,
    crashed,
    ended,
    operator,
    pod,
    ready_pod,
    resource,
    snapshot,
    stalled,
    waiting,
)

PULL = "failed to pull image registry.example.org/none"
TOLD = json.dumps({"reason": "ModelCorrupt", "message": "model.skops: zip is cut off", "run_id": "b" * 32})
ROLLING = resource(
    condition("Ready", "False", "Starting"), condition("UpToDate", "False", "RolloutInProgress", "0 of 2 pods answer")
)


def test_a_model_that_serves_is_well() -> None:
    found = diagnose(snapshot(resource(), ready_pod()))
    assert (found.cause.health, found.cause.steps) == ("ok", ())
    assert {link.state for link in found.chain} == {"ok"}


@pytest.mark.parametrize(
    ("reason", "known"), [("FailedMount", "volume"), ("FailedCreatePodSandBox", "A pod does not start")]
)
def test_events_say_why_a_pod_does_not_start_that_says_nothing_itself(reason: str, known: str) -> None:
    about = {"kind": "Pod", "name": "fraud-1"}
    event = {"type": "Warning", "reason": reason, "message": 'secret "tls" not found', "involvedObject": about}
    normal = {"type": "Normal", "reason": "Pulled", "message": "pulled", "involvedObject": about}
    found = diagnose(snapshot(ROLLING, pod(), events=(event, normal)))
    assert (found.cause.health, found.cause.reason) == ("unhealthy", reason)
    assert known in found.cause.likely
    assert found.cause.evidence == 'pod fraud-1: secret "tls" not found'
    of_another = event | {"involvedObject": about | {"name": "fraud-0"}}
    assert diagnose(snapshot(ROLLING, pod(), events=(of_another,))).cause.health == "waiting"


@pytest.mark.parametrize(
    ("one", "reason", "evidence"),
    [
        (pod(waiting("server", "ImagePullBackOff", PULL)), "ImagePullBackOff", PULL),
        (
            pod(
                phase="Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "Insufficient cpu",
                    }
                ],
            ),
            "Unschedulable",
            "Insufficient cpu",
        ),
        (pod(waiting("server", "PodInitializing"), loaders=(ended("loader", TOLD),)), "ModelCorrupt", "cut off"),
        (
            pod(crashed(137, "", "OOMKilled")),
            "OOMKilled",
            "more memory than its limit",
        ),
        (
            pod(crashed(1, "one\nValueError: two")),
            "ContainerFailed",
            "ValueError: two",
        ),
        (
            pod(waiting("server", "CreateContainerConfigError", 'secret "x" not found')),
            "CreateContainerConfigError",
            "x",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pods_say_why_a_rollout_does_not_go_on(one: dict[str, Any], reason: str, evidence: str) -> None:
    found = diagnose(snapshot(ROLLING, one))
    assert (found.cause.health, found.cause.reason) == ("unhealthy", reason)
    assert "pod fraud-1: " in found.cause.evidence
    assert evidence in found.cause.evidence
    assert found.cause.steps
    assert any(link.depth == 3 and link.text.startswith(reason) for link in found.chain)


def test_pods_of_what_was_tried_before_do_not_mislead() -> None:
    """The old template's pods may still be there, and fail for another reason."""
    before = pod(waiting("server", "ErrImagePull", "no such image"), labels={"fairlead.dev/revision": "old"})
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "Insufficient cpu",
    }
    now = pod(conditions=[unschedulable], labels={"fairlead.dev/revision": "new"})
    md = resource(condition("UpToDate", "False", "RolloutInProgress"), candidate={"runID": "a", "revision": "new"})
    for pods in ((before, now), (now, before)):
        assert diagnose(snapshot(md, *pods)).cause.reason == "Unschedulable"


def test_a_rollout_without_trouble_is_waited_for() -> None:
    found = diagnose(snapshot(ROLLING, pod(waiting("server", "PodInitializing"))))
    assert (found.cause.health, found.cause.reason) == ("waiting", "RolloutInProgress")


def test_what_the_operator_knows_comes_before_pods_that_are_gone() -> None:
    found = diagnose(snapshot(stalled("VersionMismatch", "scikit-learn 0.24.2"), ready_pod()))
    assert (found.cause.reason, found.cause.evidence) == ("VersionMismatch", "scikit-learn 0.24.2")


def test_a_deadline_tells_of_the_pods_it_waited_for() -> None:
    message = "only 0 of 2 pods answered within 120 s; server: ImagePullBackOff: Back-off pulling image"
    found = diagnose(snapshot(stalled("ProgressDeadlineExceeded", message), ready_pod()))
    assert "image" in found.cause.likely
    assert found.cause.evidence == message


def test_a_quota_is_named() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: exceeded quota: small"}
    deployment = {"metadata": {"name": "fraud"}, "spec": {"replicas": 1}, "status": {"conditions": [refused]}}
    found = diagnose(snapshot(ROLLING, deployments=(deployment,)))
    assert "quota" in found.cause.likely
    assert "small" in found.cause.evidence


@pytest.mark.parametrize(
    ("operators", "health", "reason"),
    [
        ((), "unhealthy", "OperatorMissing"),
        ((operator(0),), "unhealthy", "OperatorMissing"),
        ((operator(1),), "waiting", "NotObserved"),
        (None, "waiting", "NotObserved"),
    ],
)
def test_a_change_that_nobody_saw(operators: Any, health: str, reason: str) -> None:
    unseen = resource(metadata={"generation": 3})
    found = diagnose(snapshot(unseen, operators=operators))
    assert (found.cause.health, found.cause.reason) == (health, reason)


def test_what_waits_for_a_person_is_no_illness() -> None:
    for reason in ("UpdateAvailable", "Suspended"):
        assert diagnose(snapshot(stalled(reason, "…"), ready_pod())).cause.health == "attention"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_of_the_operator_is_known(reason: Reason) -> None:
    assert reason in advice.TABLE or reason in advice.WELL | advice.PROGRESS
    if reason in advice.TABLE:
        assert advice.find(reason, "a message"), "an advice without a condition must come last"


def test_commands_name_what_they_are_about() -> None:
    found = diagnose(snapshot(ROLLING, pod(waiting("server", "CrashLoopBackOff"))))
    commands = [step.command for step in found.cause.steps]
    assert "kubectl logs fraud-1 --namespace ml --container server --previous" in commands
    assert not any("<" in command for command in commands)


REASONS = st.sampled_from([str(reason) for reason in Reason] + ["Odd", ""])
CONDITIONS = st.lists(
    st.builds(
        condition,
        st.sampled_from(["Ready", "UpToDate", "ModelResolved", "Autoscaled", "DataDrift", "Stalled"]),
        st.sampled_from(["True", "False", "Unknown"]),
        REASONS,
        st.text(max_size=20),
    ),
    max_size=6,
)
CONTAINERS = st.one_of(
    st.builds(waiting, st.just("server"), st.sampled_from(["PodInitializing", "CrashLoopBackOff", "Odd"]), st.text()),
    st.builds(ended, st.just("server"), st.one_of(st.text(max_size=20), st.just(TOLD)), st.integers(0, 2)),
    st.just({"name": "server", "state": {"running": {}}}),
    st.just({"name": "server"}),
)
PODS = st.lists(st.builds(lambda one, two: pod(one, loaders=(two,)), CONTAINERS, CONTAINERS), max_size=3)


@given(CONDITIONS, PODS, st.booleans())
def test_whatever_the_cluster_says_there_is_an_answer(conditions: Any, pods: Any, looked: bool) -> None:
    md = resource(metadata={"generation": 2 if looked else 3})
    md["status"]["conditions"] = conditions
    found = diagnose(snapshot(md, *pods))
    assert found.cause.likely
    assert json.dumps(found.to_json())
    assert json.dumps(status.document(snapshot(md, *pods)))
    met = {one["type"]: one["status"] for one in reversed(conditions)}
    if found.cause.health == "ok":
        assert (met.get("UpToDate"), met.get("Ready")) == ("True", "True")


@given(CONDITIONS, PODS)
def test_a_resource_without_status_is_no_error(conditions: Any, pods: Any) -> None:
    bare = {"metadata": {"name": "fraud"}, "spec": {"model": {"uri": "models:/fraud/1"}}}
    assert diagnose(snapshot(bare, *pods)).cause.health in ("waiting", "unhealthy")
