"""What the API server refuses, and what pods cannot say themselves, is on the resource; what is removed is gone."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.cluster import (
    OWNER_LABEL,
    Api,
    Kubelet,
    Object,
    Operator,
    Registry,
    await_true,
    condition,
    md,
    path,
    rights,
    up_to_date,
)
from tests.controlplane.conftest import RULES
from tools.localcluster.controlplane import ControlPlane

LEASE = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/operator"
SCHEMALESS: dict[str, tuple[Object, str]] = {
    "unknown field": ({"nodeAffinity": {"foo": 1}}, "field not declared in schema"),
    "wrong type": (
        {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": "1", "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
                ]
            }
        },
        "weight",
    ),
}


def told(resource: Object | None) -> bool:
    return bool(
        resource
        and resource["status"].get("observedGeneration") == resource["metadata"]["generation"]
        and condition(resource, "Stalled")
    )


@pytest.mark.parametrize("case", SCHEMALESS)
@pytest.mark.parametrize("first", [True, False], ids=["new", "serving"])
def test_an_apply_that_the_schema_does_not_take_is_told(
    api: Api, operator: Operator, registry: Registry, namespace: str, case: str, first: bool
) -> None:
    affinity, words = SCHEMALESS[case]
    if first:
        api.create("md", md(namespace, "fraud", registry.run(), affinity=affinity))
    else:
        api.create("md", md(namespace, "fraud", registry.run()))
        api.wait("md", namespace, "fraud", up_to_date)
        before = api.get("deployment", namespace, "fraud")
        api.patch("md", namespace, "fraud", {"spec": {"affinity": affinity}})
    resource = api.wait("md", namespace, "fraud", told)

    found = condition(resource, "UpToDate")
    assert (found["status"], found["reason"]) == ("False", "InvalidSpec")
    assert words in found["message"]
    assert condition(resource, "Ready")["status"] == ("False" if first else "True")
    if not first:
        after = api.get("deployment", namespace, "fraud")
        assert after is not None
        assert before is not None
        assert after["spec"] == before["spec"], "nothing of it is applied"
    api.patch("md", namespace, "fraud", {"spec": {"affinity": None}})
    assert not condition(api.wait("md", namespace, "fraud", up_to_date), "Stalled")


def test_an_image_that_is_removed_from_the_spec_is_gone(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    def image(wanted: str) -> Any:
        return lambda found: found and found["spec"]["template"]["spec"]["containers"][0]["image"] == wanted

    api.create("md", md(namespace, "fraud", registry.run()))
    api.wait("md", namespace, "fraud", up_to_date)
    for broken in ("broken:1", "broken:2"):
        api.patch("md", namespace, "fraud", {"spec": {"image": broken}})
        api.wait("deployment", namespace, "fraud", image(broken))
        api.patch("md", namespace, "fraud", {"spec": {"image": None}})
        api.wait("deployment", namespace, "fraud", image("predictor:1"))
    resource = api.wait("md", namespace, "fraud", up_to_date)
    assert (resource["status"]["serving"]["image"], resource["status"]["serving"]["imageDefaulted"]) == (
        "predictor:1",
        True,
    )


def test_what_was_overwritten_once_does_not_stay_when_it_is_removed(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    """An edit that apply cannot put right is answered by a patch, whose fields must not become ours twice."""

    def ports(wanted: list[int]) -> Any:
        return lambda found: found and [port["port"] for port in found["spec"]["ports"]] == wanted

    api.create("md", md(namespace, "fraud", registry.run(), tls={"secretName": "tls"}))
    service = api.wait("service", namespace, "fraud", ports([8000, 8443]))
    edited = [dict(port) for port in service["spec"]["ports"]]
    edited[0]["port"] = 9999
    api.patch("service", namespace, "fraud", {"spec": {"ports": edited}})
    api.wait("service", namespace, "fraud", ports([8000, 8443]))

    api.patch("md", namespace, "fraud", {"spec": {"tls": None}})
    service = api.wait("service", namespace, "fraud", ports([8000]))
    ours = {entry["operation"] for entry in service["metadata"]["managedFields"] if entry["manager"] == "fairlead"}
    assert ours == {"Apply"}


@pytest.fixture
def node(api: Api, namespace: str) -> Iterator[str]:
    """A node that takes no pods by itself. Those that are bound to one that does not exist are soon deleted."""
    name = f"node-of-{namespace}"
    api.request("POST", "/api/v1/nodes", json={"metadata": {"name": name}, "spec": {"unschedulable": True}})
    yield name
    api.request("DELETE", f"/api/v1/nodes/{name}")


def test_an_event_says_why_a_pod_does_not_start(
    api: Api, operator: Operator, registry: Registry, kubelet: Kubelet, namespace: str, node: str
) -> None:
    run_id, words = registry.run(), 'MountVolume.SetUp failed for volume "tls" : secret "tls" not found'
    kubelet.fates[run_id] = None
    api.create("md", md(namespace, "fraud", run_id, replicas=1, tls={"secretName": "tls"}))
    await_true(lambda: api.list("pod", namespace, OWNER_LABEL), "no pod is made")
    (pod,) = api.list("pod", namespace, OWNER_LABEL)
    about = {"kind": "Pod", "apiVersion": "v1"} | {key: pod["metadata"][key] for key in ("name", "namespace", "uid")}
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": about["name"]},
        "target": {"name": node},
    }
    api.request("POST", path("pod", namespace, about["name"]) + "/binding", json=binding)
    # The scheduler's Event, of the very second perhaps, has microseconds; a kubelet's has none, and comes again.
    later = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "metadata": {"name": "mount", "namespace": namespace},
        "involvedObject": about,
        "type": "Warning",
        "reason": "FailedMount",
        "message": words,
        "lastTimestamp": later,
    }
    api.create("event", event)
    resource = api.wait(
        "md", namespace, "fraud", lambda found: words in condition(found, "UpToDate").get("message", "")
    )
    assert "0 of 1 pods answer; FailedMount" in condition(resource, "UpToDate")["message"]


def test_a_service_of_somebody_else_is_no_way_to_the_model(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    foreign = {
        "metadata": {"name": "fraud", "namespace": namespace},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}},
    }
    api.create("service", foreign)
    api.create("md", md(namespace, "fraud", registry.run()))
    resource = api.wait("md", namespace, "fraud", lambda found: (found or {}).get("status", {}).get("readyReplicas"))
    assert condition(resource, "Ready")["status"] == "False"
    assert condition(resource, "UpToDate")["reason"] == "NameConflict"
    assert "url" not in resource["status"]


@pytest.fixture
def pair(
    plane: ControlPlane, operator: Operator, registry: Registry, namespace: str, tmp_path: Path
) -> Iterator[list[Operator]]:
    """Two replicas, each its own process; the tier's own operator rests meanwhile."""
    operator.stop()
    kubeconfig = rights(plane, RULES, namespace)
    account = f"kube-system:operator-{namespace}"
    plane.kubectl("create", "role", "lease", "--namespace", namespace, "--verb=create", "--resource=leases")
    plane.kubectl(
        "create", "role", "lease-own", "--namespace", namespace,
        "--verb=get,update", "--resource=leases", "--resource-name=operator",
    )  # fmt: skip
    for role in ("lease", "lease-own"):
        plane.kubectl(
            "create", "rolebinding", role, "--namespace", namespace, f"--role={role}", f"--serviceaccount={account}"
        )
    replicas = [Operator(kubeconfig, registry.url, tmp_path / f"{number}.log") for number in range(2)]
    try:
        for replica in replicas:
            replica.start(LEASE_NAME="operator", LEASE_NAMESPACE=namespace, WATCH_NAMESPACES=namespace)
        yield replicas
    finally:
        for replica in replicas:
            if replica.process is not None and replica.process.poll() is None:
                replica.stop()
        operator.start()


def leader(replicas: list[Operator]) -> Operator | None:
    leading = [one for one in replicas if one.process and one.process.poll() is None and one.metric("fairlead_leader")]
    assert len(leading) <= 1, "two lead"
    return leading[0] if leading else None


def test_another_replica_goes_on_where_a_leader_was_killed(
    api: Api, registry: Registry, namespace: str, pair: list[Operator]
) -> None:
    await_true(lambda: leader(pair) is not None, "nobody leads")
    first = leader(pair)
    assert first is not None
    (second,) = [one for one in pair if one is not first]
    canary = {"strategy": "Canary", "steps": [50], "stepSeconds": 3600}
    api.create("md", md(namespace, "fraud", registry.run(), rollout=canary))
    api.wait("md", namespace, "fraud", up_to_date)
    run_id = registry.run()
    api.patch("md", namespace, "fraud", {"spec": {"model": {"runID": run_id}}})
    before = api.wait(
        "md", namespace, "fraud", lambda found: (found or {})["status"].get("candidate", {}).get("stepAt")
    )
    assert second.metric("fairlead_kubernetes_writes_total") == 0

    first.stop(signal.SIGKILL)
    await_true(lambda: leader(pair) is second, "nobody takes over")
    candidate = api.get("md", namespace, "fraud")["status"]["candidate"]  # type: ignore[index]
    kept = ("runID", "step", "stepAt", "startedAt")
    assert {key: candidate[key] for key in kept} == {key: before["status"]["candidate"][key] for key in kept}
    api.patch("md", namespace, "fraud", {"metadata": {"annotations": {"fairlead.dev/promote": run_id}}})
    resource = api.wait("md", namespace, "fraud", up_to_date)
    assert resource["status"]["serving"]["runID"] == run_id
    assert [entry["verdict"] for entry in resource["status"]["history"]] == ["Replaced"]

    lease = api.request("GET", LEASE.format(namespace))
    assert lease["spec"]["leaseTransitions"] == 1
    assert second.stop() == 0
    assert api.request("GET", LEASE.format(namespace))["spec"]["holderIdentity"] == ""
    lines = [json.loads(line) for one in pair for line in one.log.read_text().splitlines()]
    assert not [line for line in lines if "exception" in line]
