"""Autoscalers on a real API server, with and without the kinds they are made of. KEDA itself does not run here: its
CustomResourceDefinition is what the operator meets."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.controlplane.cluster import Api, Object, Operator, Registry, condition, md, settled, up_to_date
from tools.localcluster.controlplane import ControlPlane

SCHEMAS = Path(__file__).parents[1] / "chart/schemas"
SCALED = {"minReplicas": 2, "maxReplicas": 5}
MEASUREMENTS = 200
SLO = {"latencyMilliseconds": 250, "successPercent": "99.5"}


@contextmanager
def defined(plane: ControlPlane, group: str, version: str, kind: str, schema: str) -> Iterator[None]:
    """A kind of somebody else's, for a while, with the schema of its own CustomResourceDefinition."""
    plural = f"{kind.lower()}s"
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": json.loads((SCHEMAS / schema).read_text())},
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
    }
    plane.kubectl("create", "-f", "-", stdin=json.dumps(definition))
    plane.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=120s")
    try:
        yield
    finally:
        plane.kubectl("delete", "crd", f"{plural}.{group}", "--ignore-not-found", "--timeout=120s")


@pytest.fixture
def quick(api: Api, operator: Operator, registry: Registry, namespace: str) -> Iterator[Operator]:
    """The operator, looking again at everything every two seconds, and knowing where Prometheus is."""
    before = dict(operator.settings)
    operator.restart(RESYNC_SECONDS="2", PROMETHEUS_URL="http://prometheus.monitoring.svc:9090")
    yield operator
    operator.settings = before
    operator.restart()
    api.create("md", md(namespace, "after", registry.run()))
    api.wait("md", namespace, "after", up_to_date)  # it watches again, and would hear a signal


def is_(kind: str, status: str) -> object:
    return lambda found: condition(found, kind).get("status") == status


def test_an_hpa_scales_and_the_lack_of_its_metrics_is_told(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    scaling = {**SCALED, "engine": "HPA"}
    created = md(namespace, "fraud", registry.run(), replicas=None, autoscaling=scaling, slo=SLO)
    api.create("md", created)

    resource = api.wait("md", namespace, "fraud", up_to_date)

    assert condition(resource, "Ready")["status"] == "True"
    scaled = condition(resource, "Autoscaled")
    assert (scaled["status"], scaled["reason"]) == ("False", "AutoscalerMissing")
    assert "prometheus-adapter.enabled=true" in scaled["message"]
    hpa = api.wait("hpa", namespace, "fraud", lambda found: found)
    assert hpa["metadata"]["ownerReferences"][0]["uid"] == resource["metadata"]["uid"]
    assert {metric["type"] for metric in hpa["spec"]["metrics"]} == {"Pods", "Object"}
    api.wait("deployment", namespace, "fraud", lambda found: found and found["spec"]["replicas"] == 2)
    api.wait("deployment", namespace, "fraud", settled)

    api.patch("md", namespace, "fraud", {"spec": {"autoscaling": None, "replicas": 1}})
    api.wait("hpa", namespace, "fraud", lambda found: found is None)
    api.wait("deployment", namespace, "fraud", lambda found: found and found["spec"]["replicas"] == 1)
    resource = api.wait("md", namespace, "fraud", lambda found: up_to_date(found) and not condition(found, "Stalled"))
    assert condition(resource, "Autoscaled") == {}


def test_what_an_autoscaler_measures_is_no_news(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    api.create("md", md(namespace, "fraud", registry.run(), replicas=2))
    api.wait("md", namespace, "fraud", up_to_date)
    labels = {"fairlead.dev/model-deployment": "fraud"}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "nobody"}
    foreign: Object = {"metadata": {"name": "keda-hpa-fraud", "namespace": namespace, "labels": labels}}
    api.create("hpa", foreign | {"spec": {"scaleTargetRef": target, "maxReplicas": 3}})
    api.wait("hpa", namespace, "keda-hpa-fraud", lambda found: found["status"].get("conditions"))

    api.patch("md", namespace, "fraud", {"spec": {"historyLimit": 7}})
    api.wait("md", namespace, "fraud", up_to_date)
    before = operator.metric("fairlead_reconciles_total")
    for replicas in range(MEASUREMENTS):
        api.patch("hpa", namespace, "keda-hpa-fraud", {"status": {"desiredReplicas": replicas}}, "status")
    api.patch("hpa", namespace, "keda-hpa-fraud", {"spec": {"maxReplicas": 4}})
    api.patch("md", namespace, "fraud", {"spec": {"historyLimit": 8}})
    api.wait("md", namespace, "fraud", up_to_date)
    assert operator.metric("fairlead_reconciles_total") - before < MEASUREMENTS / 4, "others have theirs"


def test_pods_stay_when_an_autoscaler_that_is_not_there_yet_gets_their_number(
    api: Api, operator: Operator, registry: Registry, namespace: str
) -> None:
    api.create("md", md(namespace, "fraud", registry.run(), replicas=3))
    api.wait("md", namespace, "fraud", up_to_date)
    version = api.list_one("deployment", namespace, "fraud")["metadata"]["resourceVersion"]

    api.patch("md", namespace, "fraud", {"spec": {"replicas": None, "autoscaling": SCALED}})
    api.wait("md", namespace, "fraud", lambda found: up_to_date(found) and condition(found, "Autoscaled"))

    seen = []
    for event in api.watch("deployment", namespace, "fraud", version, 2):
        seen.append(event["object"]["spec"]["replicas"])
    assert set(seen) == {3}
    live = api.get("deployment", namespace, "fraud")
    assert live is not None
    (ours,) = [
        entry
        for entry in live["metadata"]["managedFields"]
        if entry["manager"] == "fairlead" and entry["operation"] == "Apply"
    ]
    assert "f:replicas" not in ours["fieldsV1"]["f:spec"]


def test_keda_may_come_change_and_go(
    api: Api, quick: Operator, registry: Registry, namespace: str, plane: ControlPlane
) -> None:
    api.create("md", md(namespace, "fraud", registry.run(), replicas=None, autoscaling=SCALED, slo=SLO))
    resource = api.wait("md", namespace, "fraud", up_to_date)
    assert "helm install keda" in condition(resource, "Autoscaled")["message"]
    assert condition(resource, "Stalled")["reason"] == "AutoscalerMissing"

    with defined(plane, "keda.sh", "v1alpha1", "ScaledObject", "scaledobject.json"):
        quick.restart(RESYNC_SECONDS="600")  # a new process finds it at once; below, one finds it by itself
        resource = api.wait("md", namespace, "fraud", is_("Autoscaled", "True"))
        assert up_to_date(resource)
        assert condition(resource, "Stalled") == {}
        found = api.wait("scaledobject", namespace, "fraud", lambda found: found)
        assert found["metadata"]["ownerReferences"][0]["uid"] == resource["metadata"]["uid"]
        address = "http://prometheus.monitoring.svc:9090"
        assert {trigger["metadata"]["serverAddress"] for trigger in found["spec"]["triggers"]} == {address}

        _as_keda_does(api, namespace)  # and what is put right now was seen by a watch
        api.patch("scaledobject", namespace, "fraud", {"spec": {"maxReplicaCount": 50}})
        found = api.wait("scaledobject", namespace, "fraud", lambda found: found["spec"]["maxReplicaCount"] == 5)
        assert found["metadata"]["finalizers"] == ["finalizer.keda.sh"]
        assert found["metadata"]["labels"]["scaledobject.keda.sh/name"] == "fraud"
        api.patch("scaledobject", namespace, "fraud", {"metadata": {"finalizers": None}})

    api.patch("md", namespace, "fraud", {"spec": {"historyLimit": 3}})
    resource = api.wait("md", namespace, "fraud", is_("Autoscaled", "False"))
    assert condition(resource, "Ready")["status"] == "True"

    with defined(plane, "keda.sh", "v1alpha1", "ScaledObject", "scaledobject.json"):
        api.wait("md", namespace, "fraud", is_("Autoscaled", "True"))  # by itself, within a minute
        api.delete("scaledobject", namespace, "fraud")
        api.wait("scaledobject", namespace, "fraud", lambda found: found)
    assert quick.process is not None
    assert quick.process.poll() is None, "one process has seen it all"


def _as_keda_does(api: Api, namespace: str) -> None:
    """KEDA's own changes, which are none of the operator's business."""
    theirs = {"finalizers": ["finalizer.keda.sh"], "labels": {"scaledobject.keda.sh/name": "fraud"}}
    api.patch("scaledobject", namespace, "fraud", {"metadata": theirs})
    api.patch("scaledobject", namespace, "fraud", {"status": {"hpaName": "keda-hpa-fraud"}}, "status")
