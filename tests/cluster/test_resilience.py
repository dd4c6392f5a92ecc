"""Faults around a roll-out, hand edits, upgrades and deletion on the real cluster."""

import json
import random

from tests.cluster.steps import OWNED_KINDS, OWNER_LABEL, Models, Namespace, Release, restart_apiserver, without_mlflow
from tools.cluster import Cluster
from tools.up import NAMESPACE

OPERATOR = "deployment/fairlead-operator"
EDIT_SERVICE = [{"op": "replace", "path": "/spec/ports/0/port", "value": 9999}]
EDIT_DEPLOYMENT = [{"op": "replace", "path": "/spec/revisionHistoryLimit", "value": 17}]


def test_a_roll_out_survives_the_death_of_the_operator(cluster: Cluster, namespace: Namespace, models: Models) -> None:
    namespace.deploy("killed", models.good)
    namespace.await_("killed", "UpToDate")
    chance = random.Random(7)

    with namespace.watch("killed") as recording:
        for target in (models.better, models.good, models.better):
            namespace.deploy("killed", target)
            for _ in range(2):
                reached = len(recording.states) + chance.randrange(3)
                recording.await_states(reached, 5)
                selector = "--selector=app.kubernetes.io/component=operator"
                cluster.kubectl("delete", "pod", "-n", NAMESPACE, selector, "--force", "--grace-period=0")
            namespace.await_("killed", f"{{.status.serving.runID}}={target}")
            namespace.await_("killed", "UpToDate")

    recording.assert_honest()
    assert recording.ready() == {"True"}
    cluster.kubectl("rollout", "status", "-n", NAMESPACE, OPERATOR, "--timeout=60s")


def test_mlflow_down_touches_nothing_that_serves(cluster: Cluster, namespace: Namespace, models: Models) -> None:
    first, second = models.good, str(models.train("logistic_regression")["run_id"])  # one the operator never met
    namespace.deploy("alone", first)
    namespace.await_("alone", "UpToDate")
    before = namespace.serving_uids("alone", first)
    with namespace.watch("alone") as recording:
        with without_mlflow(cluster):
            namespace.deploy("alone", second)
            namespace.await_("alone", "ModelResolved=Unknown")
            assert namespace.condition("alone", "ModelResolved")["reason"] == "TrackingServerUnavailable"
            assert namespace.serving_uids("alone", first) == before
        namespace.await_("alone", f"{{.status.serving.runID}}={second}", timeout=180)
    assert recording.ready() == {"True"}


def test_hand_edits_are_put_back_foreign_fields_left(cluster: Cluster, namespace: Namespace, models: Models) -> None:
    namespace.deploy("edited", models.good, replicas=None)
    namespace.await_("edited", "UpToDate")

    namespace.kubectl("annotate", "deployment/edited", "sidecar.example.com/inject=true")
    namespace.kubectl("scale", "deployment/edited", "--replicas=2")
    namespace.kubectl("patch", "service/edited", "--type=json", "-p", json.dumps(EDIT_SERVICE))
    namespace.kubectl("patch", "deployment/edited", "--type=json", "-p", json.dumps(EDIT_DEPLOYMENT))

    namespace.kubectl("wait", "--for=jsonpath={.spec.ports[0].port}=8000", "service/edited", "--timeout=30s")
    namespace.kubectl("wait", "--for=jsonpath={.spec.revisionHistoryLimit}=2", "deployment/edited", "--timeout=30s")
    namespace.kubectl("wait", "--for=jsonpath={.status.availableReplicas}=2", "deployment/edited", "--timeout=60s")
    deployment = cluster.get("deployment", "edited", namespace.name)
    assert deployment["metadata"]["annotations"]["sidecar.example.com/inject"] == "true"
    assert deployment["spec"]["replicas"] == 2

    namespace.kubectl("delete", "service", "edited")
    namespace.kubectl("wait", "--for=create", "service/edited", "--timeout=30s")


def test_deletion_takes_everything_along(namespace: Namespace, models: Models) -> None:
    namespace.deploy("gone", models.good)
    namespace.await_("gone", "UpToDate")

    namespace.kubectl("delete", "modeldeployment", "gone", "--timeout=20s")

    selector = f"--selector={OWNER_LABEL}=gone"
    for kind in OWNED_KINDS.split(","):
        namespace.kubectl("wait", "--for=delete", kind, selector, "--timeout=60s")
    assert not namespace.kubectl("get", OWNED_KINDS, selector, "--output=name").strip()


def test_without_the_operator_deletion_does_not_hang(
    cluster: Cluster, release: Release, namespace: Namespace, models: Models
) -> None:
    namespace.deploy("orphan", models.good, replicas=1)
    namespace.await_("orphan", "UpToDate")
    try:
        cluster.kubectl("delete", "-n", NAMESPACE, OPERATOR, "--cascade=foreground")
        namespace.kubectl("delete", "modeldeployment", "orphan", "--timeout=20s")
        namespace.kubectl("wait", "--for=delete", "deployment/orphan", "--timeout=60s")
    finally:
        release.upgrade()


def test_upgrading_the_operator_touches_no_pod(release: Release, namespace: Namespace, models: Models) -> None:
    namespace.deploy("kept", models.good)
    namespace.await_("kept", "UpToDate")
    before = namespace.serving_uids("kept", models.good)
    try:
        release.upgrade(
            "operator.podAnnotations.upgraded=yes",
            "operator.extraEnv[0].name=FAIRLEAD_OPERATOR_PREDICTOR_IMAGE",
            "operator.extraEnv[0].value=fairlead-service:of-the-next-release",
        )
        namespace.kubectl("annotate", "modeldeployment/kept", "test.example.com/poke=1")
        namespace.deploy("new", models.better, replicas=1, suspend=True)
        namespace.await_("new", "{.status.observedGeneration}=1")
        assert namespace.serving_uids("kept", models.good) == before
    finally:
        release.upgrade()
    assert namespace.serving_uids("kept", models.good) == before


def test_an_apiserver_restart_is_only_a_pause(cluster: Cluster, namespace: Namespace, models: Models) -> None:
    namespace.deploy("paused", models.good)
    namespace.await_("paused", "UpToDate")
    before = namespace.serving_uids("paused", models.good)

    restart_apiserver(cluster)

    assert namespace.serving_uids("paused", models.good) == before
    namespace.deploy("paused", models.better)
    namespace.await_("paused", f"{{.status.serving.runID}}={models.better}")
