"""The stack's objects: valid, restricted, bound to each other, and called what the charts call them."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from tools import stack as command
from tools import up
from tools.localcluster import binaries
from tools.localcluster.paths import CHECKOUT
from tools.localcluster.stack import NAMESPACE, adapter, install, jaeger, keda, objects, prometheus
from tools.localcluster.stack.objects import Object

IMAGES = ("one:1", "two:2", "three:3")
PARTS = (*install.PARTS, install.ADAPTER)
OBJECTS = [
    objects.namespace(),
    *(one for part in PARTS for one in part.manifests(*IMAGES[: len(part.programs)])),
]
PROMETHEUS = next(one for one in OBJECTS if one["kind"] == "Prometheus")
BUILT_IN = {"system:auth-delegator", "extension-apiserver-authentication-reader"}


def of_kind(*kinds: str) -> list[Object]:
    return [one for one in OBJECTS if one["kind"] in kinds]


def name(one: Object) -> str:
    return str(one["metadata"]["name"])


@pytest.mark.parametrize("version", binaries.KUBERNETES_VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    for one in OBJECTS:
        if one is not PROMETHEUS:
            kubernetes_validate.validate(json.loads(json.dumps(one)), version.rpartition(".")[0], strict=True)


def test_every_object_is_there_once() -> None:
    keys = [(one["kind"], one["metadata"].get("namespace"), name(one)) for one in OBJECTS]
    assert len(keys) == len(set(keys))
    assert {namespace for _, namespace, _ in keys} == {None, NAMESPACE, "kube-system"}


def test_pods_meet_the_restricted_standard_that_the_namespace_enforces() -> None:
    assert objects.namespace()["metadata"]["labels"] == up.RESTRICTED
    for deployment in of_kind("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(volume.keys() & {"secret", "configMap", "emptyDir"} for volume in pod.get("volumes", []))
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["imagePullPolicy"] == "Never"
        assert container["resources"]["limits"]["memory"]
    assert PROMETHEUS["spec"]["securityContext"]["runAsNonRoot"] is True


def test_services_find_pods_that_listen() -> None:
    pods = [one["spec"]["template"] for one in of_kind("Deployment")]
    for service in of_kind("Service"):
        if name(service) == prometheus.NAME:
            continue  # its pods are the operator's to make; the cluster tier asks it
        selector = service["spec"]["selector"].items()
        (pod,) = [one for one in pods if selector <= one["metadata"]["labels"].items()]
        listening = [(port["name"], port["containerPort"]) for port in pod["spec"]["containers"][0]["ports"]]
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in {part for one in listening for part in one}, (name(service), port)


def test_prometheus_selects_everything_as_the_charts_settings_make_it() -> None:
    spec = PROMETHEUS["spec"]
    values = yaml.safe_load((CHECKOUT / "charts/fairlead-stack/values.yaml").read_text())
    theirs = values["kube-prometheus-stack"]["prometheus"]["prometheusSpec"]
    assert spec["enableFeatures"] == theirs["enableFeatures"]
    for kind in prometheus.SELECTED:
        assert theirs[f"{kind}SelectorNilUsesHelmValues"] is False
        assert spec[f"{kind}Selector"] == spec[f"{kind}NamespaceSelector"] == {}


def test_what_fairlead_is_pointed_at_is_there_under_that_name_and_port() -> None:
    services = {
        f"{name(one)}.{NAMESPACE}.svc": {port["port"] for port in one["spec"]["ports"]} for one in of_kind("Service")
    }
    ours = yaml.safe_load((CHECKOUT / "charts/fairlead/ci/monitoring-values.yaml").read_text())
    stack = yaml.safe_load((CHECKOUT / "charts/fairlead-stack/values.yaml").read_text())
    theirs = stack["prometheus-adapter"]["prometheus"]
    for endpoint in (ours["tracing"]["endpoint"], f"{theirs['url']}:{theirs['port']}"):
        url = urlsplit(endpoint)
        assert url.port in services[str(url.hostname)]
    assert up.TRACED["tracing"]["endpoint"] == ours["tracing"]["endpoint"]
    assert (up.MONITORING, up.PROMETHEUS, up.JAEGER) == (NAMESPACE, prometheus.NAME, jaeger.NAME)
    assert [name(one) for one in of_kind("APIService")] == [command.API_SERVICE, adapter.API_SERVICE]


def test_rights_are_bound_to_accounts_that_pods_use() -> None:
    accounts = {name(one) for one in of_kind("ServiceAccount")}
    roles = {name(one) for one in of_kind("Role", "ClusterRole")}
    for binding in of_kind("RoleBinding", "ClusterRoleBinding"):
        assert binding["roleRef"]["name"] in roles | BUILT_IN
        (subject,) = binding["subjects"]
        if subject["namespace"] == NAMESPACE:
            assert subject["name"] in accounts
    assert roles <= {one["roleRef"]["name"] for one in of_kind("RoleBinding", "ClusterRoleBinding")}
    pods = [one["spec"]["template"]["spec"] for one in of_kind("Deployment")]
    used = {pod.get("serviceAccountName") for pod in pods} | {PROMETHEUS["spec"]["serviceAccountName"]}
    assert used == accounts | {None}
    assert [pod["containers"][0]["name"] for pod in pods if pod.get("automountServiceAccountToken") is False] == [
        jaeger.NAME
    ]


def test_the_authority_is_kedas_to_write() -> None:
    """A `caBundle` of ours would be put back at every `make stack`, and the API server would trust nobody."""
    assert "caBundle" not in json.dumps(OBJECTS)


def test_every_part_asks_for_programs_of_its_modules_and_awaits_what_it_makes() -> None:
    made = {f"{one['kind'].lower()}/{name(one)}" for one in OBJECTS} | {f"statefulset/{prometheus.STATEFUL_SET}"}
    for part in PARTS:
        assert set(part.programs) <= {program for module in part.modules for program, _ in module.programs}
        assert made >= {*part.conditions, *part.roll_outs}
        assert part.roll_outs
    awaited = {one for part in PARTS for one in part.roll_outs}
    assert {f"deployment/{name(one)}" for one in of_kind("Deployment")} <= awaited


def test_the_operator_is_told_the_version_that_is_built() -> None:
    assert binaries.PROMETHEUS.linker_flags.endswith(f"={prometheus.VERSION.removeprefix('v')}")


def test_webhooks_and_api_services_lead_to_services_of_theirs() -> None:
    (validation,) = of_kind("ValidatingWebhookConfiguration")
    paths = {webhook["clientConfig"]["service"]["path"] for webhook in validation["webhooks"]}
    assert "/validate-keda-sh-v1alpha1-scaledobject" in paths
    assert "/validate-eventing-keda-sh-v1alpha1-cloudeventsource" in paths
    services = {name(one) for one in of_kind("Service")}
    for webhook in validation["webhooks"]:
        assert webhook["clientConfig"]["service"]["name"] in services
    for api_service in of_kind("APIService"):
        assert api_service["spec"]["service"]["name"] in services
        assert name(api_service) == f"{api_service['spec']['version']}.{api_service['spec']['group']}"
    arguments = {
        argument
        for one in of_kind("Deployment")
        for argument in one["spec"]["template"]["spec"]["containers"][0]["args"]
    }
    assert {f"--metrics-server-service-name={keda.ADAPTER}", f"--webhooks-service-name={keda.WEBHOOKS}"} <= arguments


def test_charts_are_fetched_when_each_is_there_in_its_pinned_version(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("dependencies: [{name: a, version: 1.2.3}, {name: b, version: 4.5.6}]")
    (tmp_path / "charts").mkdir()
    for archive, whole in (("a-1.2.3.tgz", False), ("b-4.5.5.tgz", False), ("b-4.5.6.tgz", True)):
        (tmp_path / "charts" / archive).touch()
        assert command.fetched(tmp_path) is whole


def test_the_adapter_has_the_charts_rules_over_a_shorter_time() -> None:
    chosen = yaml.safe_load((CHECKOUT / "charts/fairlead-stack/values.yaml").read_text())["prometheus-adapter"]
    (configuration,) = of_kind("ConfigMap")
    text = configuration["data"]["config.yaml"].replace(f"[{adapter.WINDOW}]", "[60s]")
    assert yaml.safe_load(text) == {"rules": chosen["rules"]["custom"]}
    (service,) = [one for one in of_kind("Service") if name(one) == adapter.NAME]
    assert service["spec"]["selector"] == {"app": adapter.NAME}
