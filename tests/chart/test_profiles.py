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

from tests.chart.rendering import CHART, PROFILES, ROOT, STACK, Helm, Manifest, find_helm, identity, render, strict

KUBERNETES_VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
OTHERS = {
    "ServiceMonitor": "servicemonitor.json",
    "PodMonitor": "podmonitor.json",
    "PrometheusRule": "prometheusrule.json",
}
"""Schemas of the prometheus-operator's CRDs, v0.93.1, descriptions left out."""


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


@pytest.mark.parametrize("chart", [CHART, STACK], ids=lambda path: path.name)
def test_lint_is_clean(each_helm: Helm, chart: Path, tmp_path: Path) -> None:
    copy = tmp_path / chart.name
    _copy_without_dependencies(chart, copy)
    done = each_helm.run("lint", "--strict", "--kube-version", "1.37.2", str(copy))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


def _copy_without_dependencies(chart: Path, to: Path) -> None:
    for path in chart.rglob("*"):
        inside = path.relative_to(chart)
        if path.is_file() and inside.parts[0] not in ("charts", "Chart.lock"):
            (to / inside).parent.mkdir(parents=True, exist_ok=True)
            (to / inside).write_bytes(path.read_bytes())
    metadata = yaml.safe_load((to / "Chart.yaml").read_text())
    metadata.pop("dependencies", None)
    (to / "Chart.yaml").write_text(yaml.safe_dump(metadata))


def test_the_stack_renders_the_data_source_that_exemplars_point_to(each_helm: Helm, tmp_path: Path) -> None:
    copy = tmp_path / "fairlead-stack"
    _copy_without_dependencies(STACK, copy)
    (config_map,) = each_helm.template(copy, release="monitoring", namespace="monitoring")
    assert config_map["metadata"]["labels"]["grafana_datasource"] == "1"
    (source,) = yaml.safe_load(config_map["data"]["jaeger.yaml"])["datasources"]
    sidecar = yaml.safe_load((STACK / "values.yaml").read_text())["kube-prometheus-stack"]["grafana"]["sidecar"]
    assert source["uid"] == sidecar["datasources"]["exemplarTraceIdDestinations"]["datasourceUid"]
    assert source["url"] == "http://jaeger.monitoring.svc:16686"
    assert sidecar["datasources"]["searchNamespace"] == "ALL"
    assert each_helm.template(copy, "--set", "datasources.jaeger.enabled=false") == []
    (elsewhere,) = each_helm.template(copy, "--set", "datasources.jaeger.url=http://tempo.example:3200")
    assert "url: http://tempo.example:3200" in elsewhere["data"]["jaeger.yaml"]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """The stack's own templates, without the charts that cannot be fetched here."""
    copy = tmp_path / "fairlead-stack"
    _copy_without_dependencies(STACK, copy)
    return copy


def test_each_tracing_mode_renders_what_takes_the_traces(each_helm: Helm, stack: Path) -> None:
    def render_mode(mode: str, *more: str) -> dict[str, Manifest]:
        settings = ["--set", f"tracing.mode={mode},jaeger.enabled=false", *more]
        made = each_helm.template(stack, *settings, release="monitoring", namespace="monitoring")
        return {manifest["kind"]: manifest for manifest in made}

    collector = render_mode("otel-operator")
    config = collector["OpenTelemetryCollector"]["spec"]["config"]
    (pipeline,) = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= config[kind].keys()
    assert set(config["service"]["extensions"]) == config["extensions"].keys()
    assert "http://traces-collector.monitoring.svc:16686" in collector["ConfigMap"]["data"]["jaeger.yaml"]

    legacy = render_mode("jaeger-operator")
    assert legacy["Jaeger"]["metadata"]["labels"]["fairlead.dev/legacy"] == "true"
    assert "http://traces-query.monitoring.svc:16686" in legacy["ConfigMap"]["data"]["jaeger.yaml"]

    elsewhere = render_mode("external", "--set", "datasources.jaeger.url=https://tempo.example")
    assert elsewhere.keys() == {"ConfigMap"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("jaeger.enabled=false", "set tracing.mode to external"),
        ("tracing.mode=otel-operator", "set jaeger.enabled to false"),
        ("tracing.mode=external,jaeger.enabled=false", "set datasources.jaeger.url"),
        ("tracing.mode=zipkin", "tracing"),
    ],
)
def test_tracing_values_that_contradict_each_other_are_refused(
    helm: Helm, stack: Path, settings: str, said: str
) -> None:
    refused = helm.refused(stack, "--set", settings)
    assert refused.returncode != 0
    assert said in refused.stderr


@pytest.mark.parametrize("profile", ["trial", "production"])
def test_the_profiles_of_the_stack_render_and_set_only_what_the_stack_knows(
    helm: Helm, stack: Path, profile: str
) -> None:
    file = STACK / f"values-{profile}.yaml"
    assert helm.template(stack, "--values", str(file))
    values = yaml.safe_load((STACK / "values.yaml").read_text())
    assert yaml.safe_load(file.read_text()).keys() <= values.keys()


def test_the_stack_pins_every_dependency_and_can_switch_each_off() -> None:
    values = yaml.safe_load((STACK / "values.yaml").read_text())
    readme = (STACK / "README.md").read_text()
    for dependency in yaml.safe_load((STACK / "Chart.yaml").read_text())["dependencies"]:
        name, version = dependency["name"], dependency["version"]
        assert version.replace(".", "").isdigit(), f"{name}: {version} is a range"
        assert dependency["condition"] == f"{name}.enabled"
        assert isinstance(values[name]["enabled"], bool)
        assert f"| {name} | {version} | {'yes' if values[name]['enabled'] else 'no'} |" in readme


def test_the_dashboards_folder_annotation_is_the_one_the_stack_looks_for(helm: Helm) -> None:
    sidecar = yaml.safe_load((STACK / "values.yaml").read_text())["kube-prometheus-stack"]["grafana"]["sidecar"]
    config_map = next(one for one in render(helm, "monitoring") if one["kind"] == "ConfigMap")
    assert sidecar["dashboards"]["folderAnnotation"] in config_map["metadata"]["annotations"]
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"


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
