"""A bad model never takes the place of a good one, and says on the resource why."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace, new_namespace
from tests.cluster.recordings import Recording

TOGETHER = pytest.mark.xdist_group("bad-models")


@dataclass(frozen=True)
class Case:
    make: Callable[[Models], str]
    reason: str
    text: str
    """Part of the message."""

    @property
    def name(self) -> str:
        return self.make.__name__.replace("_", "-")


CASES = (
    Case(Models.missing, "ModelNotFound", "0123456789abcdef"),
    Case(Models.without_model, "ModelNotFound", "model"),
    Case(Models.truncated, "ModelCorrupt", "model.skops"),
    Case(Models.pickled, "ModelRefused", "pickle"),
    Case(Models.of_another_version, "VersionMismatch", "0.24.2"),
)


@dataclass(frozen=True)
class Rejected:
    """One ModelDeployment that served a good run and was given a bad one."""

    namespace: Namespace
    run_id: str
    """The bad one."""
    before: set[str]
    """UIDs of the pods that served before."""
    recording: Recording


@pytest.fixture(scope="module")
def rejected(models: Models) -> Iterator[dict[str, Rejected]]:
    """All cases, deployed together: each is a ModelDeployment of its own."""
    with new_namespace(models.cluster, f"t-{secrets.token_hex(4)}") as namespace, ExitStack() as stack:
        for case in CASES:
            namespace.deploy(case.name, models.good)
        bad = {case.name: case.make(models) for case in CASES}
        for case in CASES:
            namespace.await_(case.name, "UpToDate")
        found = {
            case.name: Rejected(
                namespace,
                bad[case.name],
                namespace.serving_uids(case.name, models.good),
                stack.enter_context(namespace.watch(case.name)),
            )
            for case in CASES
        }
        for case in CASES:
            namespace.deploy(case.name, bad[case.name])
        for case in CASES:
            namespace.await_(case.name, "UpToDate=False")
            namespace.await_(case.name, "Stalled")
        yield found


@TOGETHER
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_old_pods_keep_serving_and_a_good_run_recovers(
    rejected: dict[str, Rejected], models: Models, case: Case
) -> None:
    found = rejected[case.name]
    namespace, resource = found.namespace, found.namespace.get(case.name)

    status = resource["status"]
    assert status["serving"]["runID"] == models.good
    assert status["observedGeneration"] == resource["metadata"]["generation"]
    condition = namespace.condition(case.name, "UpToDate")
    assert condition["reason"] == case.reason
    assert case.text in condition["message"]
    assert namespace.serving_uids(case.name, models.good) == found.before, "pods that served were touched"
    assert any(event["type"] == "Warning" and case.text in event["message"] for event in namespace.events(case.name))
    assert found.recording.ready() == {"True"}
    found.recording.assert_honest()

    namespace.deploy(case.name, models.better)
    namespace.await_(case.name, f"{{.status.serving.runID}}={models.better}")
    namespace.await_(case.name, "UpToDate")
    assert namespace.condition(case.name, "Stalled") is None


@TOGETHER
def test_the_exception_of_a_loader_is_on_the_resource(rejected: dict[str, Rejected]) -> None:
    found = rejected["truncated"]
    failures: list[Any] = [
        failure
        for state in found.recording.states
        if (failure := state["status"].get("lastFailure")) and failure["runID"] == found.run_id
    ]
    assert failures
    assert failures[0]["reason"] == "ModelCorrupt"
    assert failures[0]["pod"].startswith("truncated-")
    assert "model.skops" in failures[0]["message"]
    assert "Traceback" not in failures[0]["message"]


def test_a_first_model_that_is_bad_stalls_and_pickle_serves_when_it_is_allowed(
    namespace: Namespace, models: Models
) -> None:
    run_id = models.pickled()
    namespace.deploy("first", run_id)
    namespace.await_("first", "Stalled")
    selector = "--selector=fairlead.dev/model-deployment=first"
    namespace.kubectl("wait", "--for=delete", "pod", selector, "--timeout=60s")

    assert namespace.condition("first", "Ready")["status"] == "False"
    assert namespace.condition("first", "Ready")["reason"] == "ModelRefused"

    namespace.deploy("first", run_id, model={"runID": run_id, "allowPickle": True})
    namespace.await_("first", "UpToDate")


def test_a_model_that_its_pod_cannot_hold_is_refused_before_it_is_killed(namespace: Namespace, models: Models) -> None:
    """One that scikit-learn has to be loaded for; the same model, compiled, would fit."""
    model = {"runID": models.pickled(), "allowPickle": True}
    namespace.deploy("tight", "", model=model, resources={"limits": {"memory": "100Mi"}})
    namespace.await_("tight", '{.status.conditions[?(@.type=="UpToDate")].reason}=ModelRefused')
    message = namespace.condition("tight", "UpToDate")["message"]
    assert "this container may use 100Mi" in message
    assert "spec.resources" in message
