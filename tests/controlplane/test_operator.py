"""The operator as a process on a real control plane. Pods do not run here: a kubelet made of patches plays them."""

import signal

import pytest

from fairlead_operator.api import UNSEEN
from tests.controlplane.cluster import (
    OWNED,
    OWNER_LABEL,
    RUN_LABEL,
    Api,
    Kubelet,
    Object,
    Operator,
    Registry,
    condition,
    md,
    path,
    rights,
    settled,
    up_to_date,
)
from tests.controlplane.conftest import RULES
from tools.localcluster.controlplane import ControlPlane


def deploy(api: Api, namespace: str, name: str, run_id: str, **spec: object) -> Object:
    api.create("md", md(namespace, name, run_id, **spec))
    return api.wait("md", namespace, name, up_to_date)


def pod_uids(api: Api, namespace: str, name: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in api.list("pod", namespace, f"{OWNER_LABEL}={name}")}


def test_a_model_is_rolled_out_and_nothing_is_written_to_the_resource(
    api: Api, operator: Operator, registry: Registry, namespace: str, plane: ControlPlane
) -> None:
    run_id = registry.run()

    resource = deploy(api, namespace, "fraud", run_id)

    status = resource["status"]
    assert status["serving"]["runID"] == run_id
    assert status["serving"]["image"] == "predictor:1"
    assert status["url"] == f"http://fraud.{namespace}.svc:8000"
    assert status["readyReplicas"] >= 1
    assert {entry["type"] for entry in status["conditions"]} == {"Ready", "ModelResolved", "UpToDate"}
    assert "finalizers" not in resource["metadata"]
    assert "annotations" not in resource["metadata"]
    managers = {
        (entry["manager"], entry["operation"], entry.get("subresource"))
        for entry in resource["metadata"]["managedFields"]
    }
    assert ("fairlead", "Apply", "status") in managers
    assert len(managers) == 2, "only the creator and our status own fields"
    for kind in OWNED:
        child = api.get(kind, namespace, "fraud")
        assert child is not None
        assert child["metadata"]["ownerReferences"][0]["uid"] == resource["metadata"]["uid"]
    header, line = plane.kubectl("get", "md", "-n", namespace).splitlines()
    assert header.split() == ["NAME", "READY", "MODEL", "VERSION", "RUN", "REPLICAS", "STEP", "WEIGHT", "REASON", "AGE"]
    assert run_id in line


def test_a_bad_run_is_taken_back_and_a_good_one_recovers(
    api: Api, operator: Operator, registry: Registry, kubelet: Kubelet, namespace: str
) -> None:
    good, bad, better = registry.run(), registry.run(), registry.run()
    kubelet.fates[bad] = {"reason": "ModelCorrupt", "message": "model.skops is truncated"}
    deploy(api, namespace, "fraud", good)
    before = pod_uids(api, namespace, "fraud")

    api.patch("md", namespace, "fraud", {"spec": {"model": {"runID": bad}}})
    resource = api.wait("md", namespace, "fraud", lambda found: condition(found, "Stalled"))

    status = resource["status"]
    assert condition(resource, "UpToDate")["reason"] == "ModelCorrupt"
    assert "model.skops is truncated" in condition(resource, "UpToDate")["message"]
    assert condition(resource, "Ready")["status"] == "True"
    assert status["serving"]["runID"] == good
    assert status["rejected"][0]["runID"] == bad
    assert status["lastFailure"]["reason"] == "ModelCorrupt"
    assert status["lastFailure"]["pod"].startswith("fraud-")
    assert status["observedGeneration"] == resource["metadata"]["generation"]
    api.wait("deployment", namespace, "fraud", settled)
    assert pod_uids(api, namespace, "fraud") == before
    warnings = [event for event in api.list("event", namespace) if event["reason"] == "ModelRejected"]
    assert warnings
    assert "truncated" in warnings[0]["message"]

    api.patch("md", namespace, "fraud", {"spec": {"model": {"runID": better}}})
    resource = api.wait("md", namespace, "fraud", up_to_date)
    assert resource["status"]["serving"]["runID"] == better
    assert condition(resource, "Stalled") == {}


def test_a_missed_deadline_goes_back_too(
    api: Api, operator: Operator, registry: Registry, kubelet: Kubelet, namespace: str
) -> None:
    good, slow = registry.run(), registry.run()
    kubelet.fates[slow] = None
    deploy(api, namespace, "fraud", good, rollout={"progressDeadlineSeconds": 5})

    api.patch("md", namespace, "fraud", {"spec": {"model": {"runID": slow}}})
    resource = api.wait("md", namespace, "fraud", lambda found: condition(found, "Stalled"))

    assert condition(resource, "UpToDate")["reason"] == "ProgressDeadlineExceeded"
    assert "no nodes available" in condition(resource, "UpToDate")["message"]
    template = api.wait(
        "deployment",
        namespace,
        "fraud",
        lambda found: found and found["spec"]["template"]["metadata"]["labels"][RUN_LABEL] == good,
    )
    assert template["spec"]["replicas"] == 2


def test_a_model_that_is_not_there_changes_nothing(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    good, empty = registry.run(), registry.run(model=None)
    deploy(api, namespace, "fraud", good)

    for missing in ("0123456789abcdef" * 2, empty):
        api.patch("md", namespace, "fraud", {"spec": {"model": {"runID": missing}}})
        resource = api.wait(
            "md", namespace, "fraud", lambda found, run=missing: run in condition(found, "ModelResolved")["message"]
        )
        assert condition(resource, "ModelResolved")["reason"] == "ModelNotFound"
        assert condition(resource, "Ready")["status"] == "True"
        assert resource["status"]["serving"]["runID"] == good


def test_an_alias_is_followed(api: Api, operator: Operator, registry: Registry, namespace: str) -> None:
    name = f"model-{namespace}"
    first, second = registry.run(), registry.run()
    registry.alias(name, "champion", registry.version(name, first))
    resource = deploy(api, namespace, "fraud", "", model={"uri": f"models:/{name}@champion"})
    assert resource["status"]["serving"]["modelVersion"] == "1"

    registry.alias(name, "champion", registry.version(name, second))
    resource = api.wait("md", namespace, "fraud", lambda found: found and found["status"]["serving"]["runID"] == second)

    assert resource["status"]["serving"]["alias"] == "champion"
    assert resource["status"]["history"][0]["runID"] == first


def test_hand_edits_are_put_back_and_foreign_fields_left(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    deploy(api, namespace, "fraud", registry.run(), replicas=None)

    api.patch("deployment", namespace, "fraud", {"metadata": {"annotations": {"example.com/mine": "yes"}}})
    api.patch("deployment", namespace, "fraud", {"spec": {"replicas": 3}}, "scale")
    api.patch("deployment", namespace, "fraud", {"spec": {"revisionHistoryLimit": 17}})
    api.patch("service", namespace, "fraud", {"spec": {"ports": [{"port": 9999, "name": "http"}]}})
    api.patch("service", namespace, "fraud", {"metadata": {"labels": {OWNER_LABEL: None}}})

    api.wait("service", namespace, "fraud", lambda found: found and found["spec"]["ports"][0]["port"] == 8000)
    api.wait("service", namespace, "fraud", lambda found: found and OWNER_LABEL in found["metadata"]["labels"])
    limit = "revisionHistoryLimit"
    live = api.wait("deployment", namespace, "fraud", lambda found: found and found["spec"][limit] == 2)
    assert live["spec"]["replicas"] == 3
    assert live["metadata"]["annotations"]["example.com/mine"] == "yes"
    for kind in OWNED:
        uid = (api.get(kind, namespace, "fraud") or {})["metadata"]["uid"]
        api.delete(kind, namespace, "fraud")
        api.wait(kind, namespace, "fraud", lambda found, gone=uid: found and found["metadata"]["uid"] != gone)


def test_scaling_the_resource_scales_the_pods(
    api: Api, operator: Operator, registry: Registry, namespace: str, plane: ControlPlane
) -> None:
    deploy(api, namespace, "fraud", registry.run())
    before = pod_uids(api, namespace, "fraud")

    plane.kubectl("scale", "md/fraud", "--replicas=3", "-n", namespace)

    api.wait("md", namespace, "fraud", lambda found: found and found["status"].get("readyReplicas") == 3)
    assert before < pod_uids(api, namespace, "fraud")
    scale = api.request("GET", path("md", namespace, "fraud") + "/scale")
    assert f"{OWNER_LABEL}=fraud" in scale["status"]["selector"]


def test_a_budget_comes_and_goes_with_the_second_replica(
    api: Api, operator: Operator, registry: Registry, namespace: str, plane: ControlPlane
) -> None:
    deploy(api, namespace, "fraud", registry.run(), replicas=1)
    assert api.get("pdb", namespace, "fraud") is None

    plane.kubectl("scale", "md/fraud", "--replicas=2", "-n", namespace)
    api.wait("pdb", namespace, "fraud", bool)
    plane.kubectl("scale", "md/fraud", "--replicas=1", "-n", namespace)
    api.wait("pdb", namespace, "fraud", lambda found: found is None)


FOREIGN: dict[str, Object] = {
    "service": {"ports": [{"port": 8000, "name": "http"}]},
    "pdb": {"maxUnavailable": 1},
    "netpol": {"podSelector": {}},
    "deployment": {
        "selector": {"matchLabels": {"theirs": "yes"}},
        "template": {
            "metadata": {"labels": {"theirs": "yes"}},
            "spec": {"containers": [{"name": "x", "image": "theirs:1"}]},
        },
    },
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_belongs_to_somebody_else_is_not_taken(
    api: Api, operator: Operator, registry: Registry, namespace: str, kind: str
) -> None:
    api.create(kind, {"metadata": {"name": "fraud", "namespace": namespace}, "spec": FOREIGN[kind]})
    before = api.wait(kind, namespace, "fraud", bool)

    api.create("md", md(namespace, "fraud", registry.run()))
    resource = api.wait("md", namespace, "fraud", lambda found: condition(found, "Stalled"))

    assert condition(resource, "UpToDate")["reason"] == "NameConflict"
    assert "belongs to somebody else" in condition(resource, "UpToDate")["message"]
    live = api.get(kind, namespace, "fraud")
    assert live is not None
    assert (live["spec"], live["metadata"].get("labels")) == (before["spec"], before["metadata"].get("labels"))
    assert "ownerReferences" not in live["metadata"]
    others = [other for other in OWNED if other != kind]
    assert all(api.get(other, namespace, "fraud") for other in others), "the others are made"


def test_what_the_api_server_refuses_is_told(api: Api, operator: Operator, registry: Registry, namespace: str) -> None:
    resources = {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}

    api.create("md", md(namespace, "fraud", registry.run(), resources=resources))
    resource = api.wait("md", namespace, "fraud", lambda found: condition(found, "Stalled"))

    assert condition(resource, "UpToDate")["reason"] == "InvalidSpec"
    assert "must be less than or equal to cpu limit" in condition(resource, "UpToDate")["message"]


def test_deletion_takes_everything_along_even_without_the_operator(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    for name in ("first", "second"):
        deploy(api, namespace, name, registry.run())
    api.delete("md", namespace, "first")
    api.wait("md", namespace, "first", lambda found: found is None)
    operator.stop(signal.SIGKILL)
    try:
        api.delete("md", namespace, "second")
        api.wait("md", namespace, "second", lambda found: found is None)
        for name in ("first", "second"):
            for kind in OWNED:
                api.wait(kind, namespace, name, lambda found: found is None)
    finally:
        operator.start()
    assert api.list("pod", namespace, OWNER_LABEL) == []


def test_a_restart_and_another_default_image_touch_no_pod(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    deploy(api, namespace, "kept", registry.run())
    kept = api.get("deployment", namespace, "kept")
    before = pod_uids(api, namespace, "kept")
    try:
        operator.restart(PREDICTOR_IMAGE="predictor:2")
        new = deploy(api, namespace, "new", registry.run(), replicas=1)
        assert new["status"]["serving"]["image"] == "predictor:2"
        assert api.get("deployment", namespace, "kept") == kept, "the restart's applies changed something"
        assert pod_uids(api, namespace, "kept") == before
    finally:
        operator.restart(signal.SIGKILL, PREDICTOR_IMAGE="predictor:1")


def test_it_may_do_only_what_it_does(plane: ControlPlane, operator: Operator) -> None:
    def may(verb: str, what: str, *more: str) -> bool:
        subject = "--as=system:serviceaccount:kube-system:operator"
        return plane.kubectl("auth", "can-i", verb, what, subject, *more, check=False).strip() == "yes"

    assert may("patch", "modeldeployments.fairlead.dev", "--subresource=status")
    assert not may("patch", "modeldeployments.fairlead.dev")
    assert not may("get", "secrets")
    assert not may("create", "pods")
    assert may("delete", "deployments.apps")
    assert may("patch", "pods", "--subresource=status")
    assert not may("delete", "pods")
    assert not may("patch", "pods")
    assert not may("delete", "modeldeployments.fairlead.dev")
    assert '"Forbidden"' not in operator.log.read_text()


def test_a_role_in_one_namespace_is_enough(
    api: Api, operator: Operator, registry: Registry, namespace: str, plane: ControlPlane
) -> None:
    log = plane.directory / "namespaced.log"
    narrow = Operator(rights(plane, RULES, namespace), registry.url, log)
    operator.stop()
    try:
        narrow.start(WATCH_NAMESPACES=namespace)
        api.create("md", md("default", "elsewhere", registry.run()))
        deploy(api, namespace, "fraud", registry.run())
        elsewhere = api.get("md", "default", "elsewhere")
        assert elsewhere is not None
        assert elsewhere["status"] == {"observedGeneration": UNSEEN}
        assert narrow.stop() == 0
    finally:
        api.delete("md", "default", "elsewhere")
        operator.start()


def test_suspended_changes_no_pod(api: Api, operator: Operator, registry: Registry, namespace: str) -> None:
    first, second = registry.run(), registry.run()
    deploy(api, namespace, "fraud", first)
    before = api.wait("deployment", namespace, "fraud", settled)

    api.patch("md", namespace, "fraud", {"spec": {"suspend": True, "model": {"runID": second}}})
    resource = api.wait(
        "md", namespace, "fraud", lambda found: condition(found, "UpToDate").get("reason") == "Suspended"
    )

    assert condition(resource, "UpToDate")["status"] == "False"
    assert condition(resource, "Ready")["status"] == "True"
    live = api.get("deployment", namespace, "fraud")
    assert live is not None
    assert live["spec"] == before["spec"]
    api.patch("md", namespace, "fraud", {"spec": {"suspend": False}})
    assert api.wait("md", namespace, "fraud", up_to_date)["status"]["serving"]["runID"] == second


def test_it_survives_a_restart_of_the_api_server(
    api: Api, operator: Operator, registry: Registry, namespace: str, plane: ControlPlane
) -> None:
    first, second = registry.run(), registry.run()
    deploy(api, namespace, "fraud", first)

    plane.restart_apiserver()
    api.patch("md", namespace, "fraud", {"spec": {"model": {"runID": second}}})

    resource = api.wait("md", namespace, "fraud", up_to_date)
    assert resource["status"]["serving"]["runID"] == second
