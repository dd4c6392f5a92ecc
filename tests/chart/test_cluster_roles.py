"""Whoever may view or edit a namespace may view or edit its ModelDeployments."""

from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, ROOT, Helm, Manifest, render

CRD = yaml.safe_load((ROOT / "manifests/crd.yaml").read_text())
PLURAL = CRD["spec"]["names"]["plural"]
READ = {"get", "list", "watch"}
WRITE = {"create", "delete", "deletecollection", "patch", "update"}


def aggregated(manifests: list[Manifest], role: str) -> dict[str, set[str]]:
    """Verbs per resource that the cluster's role gets from this chart."""
    verbs: dict[str, set[str]] = {}
    for manifest in manifests:
        labels = manifest["metadata"].get("labels", {})
        if manifest["kind"] == "ClusterRole" and labels.get(f"rbac.authorization.k8s.io/aggregate-to-{role}") == "true":
            for rule in manifest["rules"]:
                assert rule["apiGroups"] == [CRD["spec"]["group"]]
                for resource in rule["resources"]:
                    verbs.setdefault(resource, set()).update(rule["verbs"])
    return verbs


@pytest.fixture(scope="module")
def default(helm: Helm) -> Any:
    return render(helm, "default")


def test_who_views_a_namespace_reads_its_models(default: list[Manifest]) -> None:
    subresources = CRD["spec"]["versions"][0]["subresources"]
    readable = {PLURAL, *(f"{PLURAL}/{name}" for name in subresources)}
    assert aggregated(default, "view") == dict.fromkeys(readable, READ)


@pytest.mark.parametrize("role", ["edit", "admin"])
def test_who_edits_a_namespace_edits_and_scales_its_models(default: list[Manifest], role: str) -> None:
    verbs = aggregated(default, role)
    assert verbs[PLURAL] == READ | WRITE
    assert verbs[f"{PLURAL}/scale"] == READ | {"patch", "update"}
    assert verbs[f"{PLURAL}/status"] == READ, "the operator alone writes it"


def test_the_operators_own_role_is_aggregated_into_none(default: list[Manifest]) -> None:
    names = {one["metadata"]["name"] for one in default if one["kind"] == "ClusterRole"}
    assert names == {"fairlead-operator", "fairlead-modeldeployments-view", "fairlead-modeldeployments-edit"}


def test_it_can_be_switched_off(helm: Helm) -> None:
    manifests = helm.template(CHART, "--set", "rbac.aggregateClusterRoles=false")
    assert [one["metadata"]["name"] for one in manifests if one["kind"] == "ClusterRole"] == ["fairlead-operator"]
