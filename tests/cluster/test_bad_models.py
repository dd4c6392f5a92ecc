"""A bad model never takes the place of a good one, and says on the resource why."""

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.steps import Models, Namespace, new_namespace

SPOILT: dict[str, tuple[Callable[[Models], str], str, str]] = {
    "no such run": (Models.missing, "ModelNotFound", "0123456789abcdef"),
    "run without a model": (Models.without_model, "ModelNotFound", "model"),
    "truncated artifact": (Models.truncated, "ModelCorrupt", "model.skops"),
    "pickle": (Models.pickled, "ModelRefused", "pickle"),
    "another scikit-learn": (Models.of_another_version, "VersionMismatch", "0.24.2"),
}


@pytest.fixture(scope="module")
def deployed(models: Models) -> Iterator[Namespace]:
    """One ModelDeployment for all cases: each has to recover from the one before without any manual step."""
    with new_namespace(models.cluster, f"t-{secrets.token_hex(4)}") as namespace:
        namespace.deploy("guarded", models.good)
        namespace.await_("guarded", "UpToDate")
        yield namespace


@pytest.mark.parametrize("case", SPOILT)
def test_old_pods_serve_on_and_a_good_run_recovers(deployed: Namespace, models: Models, case: str) -> None:
    spoil, reason, text = SPOILT[case]
    serving = deployed.get("guarded")["status"]["serving"]["runID"]
    before = deployed.serving_uids("guarded", serving)
    bad = spoil(models)

    with deployed.watch("guarded") as recording:
        deployed.deploy("guarded", bad)
        deployed.await_("guarded", "UpToDate=False")
        deployed.await_("guarded", "Stalled")

    status = deployed.get("guarded")["status"]
    assert status["serving"]["runID"] == serving
    assert status["observedGeneration"] == deployed.get("guarded")["metadata"]["generation"]
    assert deployed.condition("guarded", "UpToDate")["reason"] == reason
    assert text in deployed.condition("guarded", "UpToDate")["message"]
    assert deployed.serving_uids("guarded", serving) == before, "pods that served were touched"
    assert any(event["type"] == "Warning" and text in event["message"] for event in deployed.events("guarded"))
    assert recording.ready() == {"True"}
    recording.assert_honest()

    recovered = models.better if serving == models.good else models.good
    deployed.deploy("guarded", recovered)
    deployed.await_("guarded", "UpToDate")
    assert deployed.get("guarded")["status"]["serving"]["runID"] == recovered
    assert deployed.condition("guarded", "Stalled") is None


def test_a_loaders_exception_is_on_the_resource(deployed: Namespace, models: Models) -> None:
    bad = models.truncated()

    deployed.deploy("guarded", bad)
    deployed.await_("guarded", f"{{.status.lastFailure.runID}}={bad}")

    failure = deployed.get("guarded")["status"]["lastFailure"]
    assert failure["reason"] == "ModelCorrupt"
    assert failure["pod"].startswith("guarded-")
    assert "model.skops" in failure["message"]
    assert "Traceback" not in failure["message"]


def test_pickle_serves_when_it_is_allowed(deployed: Namespace, models: Models) -> None:
    run_id = models.pickled()

    deployed.deploy("trusting", run_id, model={"runID": run_id, "allowPickle": True}, replicas=1)

    deployed.await_("trusting", "UpToDate")


def test_a_first_model_that_is_bad_stalls_without_a_retry_loop(deployed: Namespace, models: Models) -> None:
    deployed.deploy("first", models.pickled(), replicas=1)
    deployed.await_("first", "Stalled")
    deployed.kubectl("wait", "--for=delete", "pod", "--selector=fairlead.dev/model-deployment=first", "--timeout=60s")

    assert deployed.condition("first", "Ready")["status"] == "False"
    assert deployed.condition("first", "Ready")["reason"] == "ModelRefused"

    deployed.deploy("first", models.good, replicas=1)
    deployed.await_("first", "UpToDate")
