"""The stack is rendered, packaged and installed with its dependencies, and its settings reach them."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import STACK, Helm, Manifest, identity, pick, render

VALUES: dict[str, Any] = yaml.safe_load((STACK / "values.yaml").read_text())
DEPENDENCIES: list[dict[str, str]] = yaml.safe_load((STACK / "Chart.yaml").read_text())["dependencies"]
EVERYTHING = ",".join(f"{one['condition']}=true" for one in DEPENDENCIES)
FILES = {path.stem: ("--values", str(path)) for path in sorted(STACK.glob("values-*.yaml"))} | {"values": ()}


def installed(helm: Helm, chart: Path, *options: str, release: str = "monitoring") -> list[Manifest]:
    """What the stack renders, that of its dependencies included."""
    return helm.template(chart, *options, release=release, namespace="monitoring")


def own(manifests: list[Manifest]) -> list[Manifest]:
    """What the stack's own templates render."""
    return [
        one for one in manifests if one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") == "fairlead"
    ]


def reached(manifests: list[Manifest], dependency: str) -> Any:
    """The values that a dependency is rendered with."""
    return json.loads(pick(manifests, "ConfigMap", f"values-of-{dependency}")["data"]["values"])


def notes(helm: Helm, chart: Path, *options: str, release: str = "monitoring", namespace: str = "monitoring") -> str:
    """What an installation prints last."""
    done = helm.run("install", release, str(chart), "--namespace", namespace, "--dry-run=client", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_the_stack_renders_the_dependencies_that_are_on(each_helm: Helm, stack: Path) -> None:
    def on(*options: str) -> set[str]:
        names = {one["metadata"]["name"] for one in installed(each_helm, stack, *options)}
        return {one["name"] for one in DEPENDENCIES if f"values-of-{one['name']}" in names}

    assert on() == {name for name, value in VALUES.items() if value.get("enabled")}
    assert on("--set", EVERYTHING) == {one["name"] for one in DEPENDENCIES}
    off = EVERYTHING.replace("true", "false")
    assert on("--set", f"{off},tracing.mode=external,datasources.jaeger.enabled=false") == set()


def test_the_package_has_the_dependencies_and_can_be_installed(each_helm: Helm, stack: Path, tmp_path: Path) -> None:
    done = each_helm.run("package", str(stack), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("fairlead-stack-*.tgz")
    with tarfile.open(archive) as tar:
        inside = {name.split("/")[2] for name in tar.getnames() if name.startswith("fairlead-stack/charts/")}
    assert inside == {one["name"] for one in DEPENDENCIES}
    assert [identity(one) for one in installed(each_helm, archive)] == [
        identity(one) for one in installed(each_helm, stack)
    ]


def test_an_installation_loads_the_dependencies(helm: Helm, stack: Path, tmp_path: Path) -> None:
    """`helm install` compares Chart.yaml with the archives that it has loaded, which `helm template` does as well."""
    assert "service/monitoring-grafana" in notes(helm, stack)
    shutil.copytree(stack, tmp_path / "hidden")
    (tmp_path / "hidden/.helmignore").write_text("*.tgz\n")
    done = helm.run("install", "monitoring", str(tmp_path / "hidden"), "--dry-run=client")
    assert "missing in charts/ directory: kube-prometheus-stack" in done.stderr


def test_lint_is_clean(each_helm: Helm, stack: Path) -> None:
    done = each_helm.run("lint", "--strict", "--kube-version", "1.37.2", str(stack))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


def test_the_data_source_is_the_one_that_exemplars_point_to(each_helm: Helm, stack: Path) -> None:
    (config_map,) = own(installed(each_helm, stack))
    assert config_map["metadata"]["labels"]["grafana_datasource"] == "1"
    (source,) = yaml.safe_load(config_map["data"]["jaeger.yaml"])["datasources"]
    sidecar = VALUES["kube-prometheus-stack"]["grafana"]["sidecar"]
    assert source["uid"] == sidecar["datasources"]["exemplarTraceIdDestinations"]["datasourceUid"]
    assert source["url"] == "http://jaeger.monitoring.svc:16686"
    assert sidecar["datasources"]["searchNamespace"] == "ALL"
    assert own(installed(each_helm, stack, "--set", "datasources.jaeger.enabled=false")) == []
    (elsewhere,) = own(installed(each_helm, stack, "--set", "datasources.jaeger.url=http://tempo.example:3200"))
    assert "url: http://tempo.example:3200" in elsewhere["data"]["jaeger.yaml"]


def test_each_tracing_mode_renders_what_receives_the_traces(each_helm: Helm, stack: Path) -> None:
    def render_mode(mode: str, *more: str) -> dict[str, Manifest]:
        settings = ["--set", f"tracing.mode={mode},jaeger.enabled=false", *more]
        return {one["kind"]: one for one in own(installed(each_helm, stack, *settings))}

    limits = ("--set", "jaeger.jaeger.resources.limits.memory=1Gi")
    traces = ("--set", "jaeger.userconfig.extensions.jaeger_storage.backends.traces.memory.max_traces=5")
    collector = render_mode("otel-operator", *limits, *traces, "--set", "global.imageRegistry=registry.example")
    spec = collector["OpenTelemetryCollector"]["spec"]
    assert spec["config"]["extensions"]["jaeger_storage"]["backends"]["traces"]["memory"] == {"max_traces": 5}
    assert spec["resources"]["limits"] == {"memory": "1Gi"}
    assert spec["image"] == f"registry.example/{VALUES['tracing']['image']}"
    assert "http://traces-collector.monitoring.svc:16686" in collector["ConfigMap"]["data"]["jaeger.yaml"]

    legacy = render_mode("jaeger-operator", *limits, *traces)
    assert legacy["Jaeger"]["metadata"]["labels"]["fairlead.dev/legacy"] == "true"
    assert legacy["Jaeger"]["spec"]["storage"]["options"]["memory"] == {"max-traces": 5}
    assert legacy["Jaeger"]["spec"]["resources"]["limits"] == {"memory": "1Gi"}
    assert "http://traces-query.monitoring.svc:16686" in legacy["ConfigMap"]["data"]["jaeger.yaml"]

    elsewhere = render_mode("external", "--set", "datasources.jaeger.url=https://tempo.example")
    assert elsewhere.keys() == {"ConfigMap"}


def test_jaeger_has_limits_and_a_configuration_that_is_whole(helm: Helm, stack: Path) -> None:
    jaeger = reached(installed(helm, stack), "jaeger")
    assert jaeger["jaeger"]["resources"]["limits"] == {"memory": "512Mi"}
    config = jaeger["userconfig"]
    (pipeline,) = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= config[kind].keys()
    assert set(config["service"]["extensions"]) == config["extensions"].keys()
    stores = config["extensions"]["jaeger_storage"]["backends"]
    assert stores["traces"]["memory"]["max_traces"] == 20000
    assert config["extensions"]["jaeger_query"]["storage"]["traces"] in stores
    assert config["exporters"]["jaeger_storage_exporter"]["trace_storage"] in stores


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("jaeger.enabled=false", "set tracing.mode to external"),
        ("tracing.mode=otel-operator", "set jaeger.enabled to false"),
        ("tracing.mode=external,jaeger.enabled=false", "set datasources.jaeger.url"),
        ("tracing.mode=zipkin", "tracing"),
        ("tracing.maxTraces=5", "additional properties 'maxTraces' not allowed"),
        (
            "prometheus-adapter.enabled=true,kube-prometheus-stack.fullnameOverride=prom",
            "Prometheus of this release is at http://prom-prometheus.monitoring.svc:9090: set that address",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(helm: Helm, stack: Path, settings: str, said: str) -> None:
    refused = helm.refused(stack, "--set", settings, release="monitoring", namespace="monitoring")
    assert refused.returncode != 0
    assert said in refused.stderr


@pytest.mark.parametrize("name", FILES)
def test_profiles_reach_the_dependencies_and_fit_together(helm: Helm, stack: Path, name: str) -> None:
    manifests = installed(helm, stack, *FILES[name])
    prometheus = reached(manifests, "kube-prometheus-stack")
    if (prometheus["grafana"].get("persistence") or {}).get("enabled"):
        assert prometheus["grafana"]["deploymentStrategy"] == {"type": "Recreate"}, "or an upgrade waits for the volume"
    if prometheus["prometheus"]["prometheusSpec"].get("replicas", 1) > 1:
        assert prometheus["prometheus"]["service"]["sessionAffinity"] == "ClientIP"
    assert reached(manifests, "jaeger")["jaeger"]["resources"]["limits"]
    if name != "values":
        assert yaml.safe_load((STACK / f"{name}.yaml").read_text()).keys() <= VALUES.keys()


def test_the_production_profile_has_two_of_each_and_volumes(helm: Helm, stack: Path) -> None:
    prometheus = reached(installed(helm, stack, *FILES["values-production"]), "kube-prometheus-stack")
    assert prometheus["prometheus"]["prometheusSpec"]["replicas"] == 2
    assert prometheus["grafana"]["persistence"]["enabled"]


def test_the_stack_pins_every_dependency_and_can_switch_each_off() -> None:
    readme = (STACK / "README.md").read_text()
    for dependency in DEPENDENCIES:
        name, version = dependency["name"], dependency["version"]
        assert version.replace(".", "").isdigit(), f"{name}: {version} is a range"
        assert dependency["condition"] == f"{name}.enabled"
        assert isinstance(VALUES[name]["enabled"], bool)
        assert f"| {name} | {version} | {'yes' if VALUES[name]['enabled'] else 'no'} |" in readme


def test_dashboards_are_labelled_and_put_into_a_folder_as_the_stack_looks_for_them(helm: Helm) -> None:
    sidecar = VALUES["kube-prometheus-stack"]["grafana"]["sidecar"]
    config_map = next(one for one in render(helm, "monitoring") if one["kind"] == "ConfigMap")
    assert config_map["metadata"]["annotations"][sidecar["dashboards"]["folderAnnotation"]] == "Fairlead"
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.parametrize(
    ("release", "namespace", "more", "service"),
    [
        ("monitoring", "monitoring", (), "monitoring-kube-prometheus-prometheus.monitoring.svc:9090"),
        ("obs", "observability", (), "obs-kube-prometheus-stack-prometheus.observability.svc:9090"),
        ("kube-prometheus-stack", "m", (), "kube-prometheus-stack-prometheus.m.svc:9090"),
        ("m", "m", ("fullnameOverride=prom", "prometheus.service.port=80"), "prom-prometheus.m.svc:80"),
    ],
)
def test_notes_have_the_address_of_prometheus(
    helm: Helm, stack: Path, release: str, namespace: str, more: tuple[str, ...], service: str
) -> None:
    options = [part for one in more for part in ("--set", f"kube-prometheus-stack.{one}")]
    printed = notes(helm, stack, *options, release=release, namespace=namespace)
    assert f"--set operator.prometheus.url=http://{service}" in printed
    name, _, _ = service.partition(".")
    manifests = helm.template(stack, *options, release=release, namespace=namespace)
    (port,) = pick(manifests, "Service", name)["spec"]["ports"]
    assert service.endswith(f":{port['port']}")


def test_notes_without_prometheus_say_what_is_missing(helm: Helm, stack: Path) -> None:
    printed = notes(helm, stack, "--set", "kube-prometheus-stack.enabled=false")
    assert "operator.prometheus.url=" not in printed
    assert "set operator.prometheus.url to the address of yours" in printed
    assert "grafana" not in printed


def test_notes_choose_the_engine_that_is_installed(helm: Helm, stack: Path) -> None:
    adapter = "prometheus-adapter.enabled=true,keda.enabled=false"
    assert "operator.autoscaling.engine=HPA" in notes(helm, stack, "--set", adapter)
    assert "autoscaling" not in notes(helm, stack)
