"""Every values profile renders, the same with both Helms, to objects every supported Kubernetes accepts."""

import functools
import importlib.resources
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import yaml

from tests.chart.rendering import CHART, PROFILES, ROOT, Helm, Manifest, find_helm, identity, render, strict

KUBERNETES_VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
OTHERS = {
    "ServiceMonitor": "servicemonitor.json",
    "PodMonitor": "podmonitor.json",
    "PrometheusRule": "prometheusrule.json",
    "HTTPRoute": "httproute.json",
}
"""Schemas of the prometheus-operator's CRDs, v0.93.1, descriptions left out; of HTTPRoute the part that we use."""


@functools.cache
def kubernetes_schema(version: str, kind: str, api_version: str) -> Any:
    """Validator of one kind: kubernetes-validate's strict schema. Its own function reads 2 MB a call; this once."""
    group, _, name = api_version.rpartition("/")
    prefix = f"{group.split('.')[0]}-{name}" if group else name
    directory = (
        importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    )
    schema = json.loads((directory / f"{kind.lower()}-{prefix}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> Any:
    directory = (
        importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    )
    definitions = json.loads((directory / "_definitions.json").read_text())
    return referencing.Resource.from_contents(definitions) @ referencing.Registry()


@functools.cache
def monitor_schema(kind: str) -> Any:
    schema = json.loads((Path(__file__).parent / "schemas" / OTHERS[kind]).read_text())
    return jsonschema.Draft202012Validator(strict(schema))


def problems(manifest: Manifest, version: str) -> list[str]:
    if manifest["kind"] in OTHERS:
        validator = monitor_schema(manifest["kind"])
    else:
        validator = kubernetes_schema(version, manifest["kind"], manifest["apiVersion"])
    return [f"{identity(manifest)}: {error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


@pytest.mark.parametrize("profile", PROFILES)
def test_both_helms_render_the_same(profile: str) -> None:
    assert render(find_helm(4), profile) == render(find_helm(3), profile)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_object_fits_the_schema(helm: Helm, profile: str, version: str) -> None:
    found = [problem for manifest in render(helm, profile) for problem in problems(manifest, version)]
    assert not found, "\n".join(found)


def test_the_schemas_do_find_mistakes(helm: Helm) -> None:
    deployment = next(one for one in render(helm, "default") if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    assert any("imagePullPolice" in problem for problem in problems(deployment, "1.37"))
    monitor = next(one for one in render(helm, "monitoring") if one["kind"] == "ServiceMonitor")
    monitor["spec"]["endpoints"][0]["intervall"] = "15s"
    assert any("intervall" in problem for problem in problems(monitor, "1.37"))


@pytest.mark.parametrize("profile", PROFILES)
def test_no_object_appears_twice(helm: Helm, profile: str) -> None:
    names = [identity(manifest) for manifest in render(helm, profile)]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_namespaced_object_names_its_namespace(helm: Helm, profile: str) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for manifest in render(helm, profile):
        assert ("namespace" in manifest["metadata"]) == (manifest["kind"] not in cluster_wide), identity(manifest)


@pytest.mark.parametrize("profile", PROFILES)
def test_no_model_and_nothing_of_a_model_is_in_the_release(helm: Helm, profile: str) -> None:
    """So that an upgrade of the chart touches no predictor."""
    for manifest in render(helm, profile):
        assert manifest["kind"] != "ModelDeployment"
        assert not any("model-deployment" in label for label in manifest["metadata"].get("labels", {}))


def test_everything_off_renders_nothing(helm: Helm) -> None:
    assert render(helm, "everything-off") == []


def test_lint_is_clean(each_helm: Helm) -> None:
    done = each_helm.run("lint", "--strict", "--kube-version", "1.37.2", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


def test_the_crd_in_the_chart_is_the_source_kept_on_uninstall(helm: Helm) -> None:
    source = yaml.safe_load((ROOT / "manifests/crd.yaml").read_text())
    rendered = next(one for one in render(helm, "default") if one["kind"] == "CustomResourceDefinition")
    assert rendered["spec"] == source["spec"]
    assert rendered["metadata"]["name"] == source["metadata"]["name"]
    assert rendered["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    (kept_not,) = (
        one for one in helm.template(CHART, "--set", "crds.keep=false") if one["kind"] == "CustomResourceDefinition"
    )
    assert "annotations" not in kept_not["metadata"]
