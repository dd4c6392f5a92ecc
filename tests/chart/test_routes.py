"""Ingresses and HTTPRoutes lead to a port that there is, and MLflow answers the hosts that they give it."""

import pytest

from tests.chart.rendering import CHART, Helm, Manifest, pick, render
from tests.chart.test_mlflow_hosts import allowed_hosts
from tests.chart.test_values import notes

INGRESS = "{name}.ingress.enabled=true,{name}.ingress.hosts={{{name}.example.org}}"
GATEWAY = "{name}.httpRoute.enabled=true,{name}.httpRoute.parentRefs[0].name=gw"
ROUTE = GATEWAY + ",{name}.httpRoute.hostnames={{{name}.example.org}}"


def led_to(manifests: list[Manifest], kind: str, name: str) -> str:
    """Name of the Service's port that a route leads to."""
    made = pick(manifests, kind, name)
    if kind == "Ingress":
        (rule,) = made["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/", "Prefix")
        backend, port = path["backend"]["service"], path["backend"]["service"]["port"]["name"]
    else:
        (rule,) = made["spec"]["rules"]
        (backend,) = rule["backendRefs"]
        port = backend["port"]
    ports = pick(manifests, "Service", backend["name"])["spec"]["ports"]
    (found,) = [str(one["name"]) for one in ports if port in (one["name"], one["port"])]
    return found


@pytest.mark.parametrize(("kind", "values"), [("Ingress", INGRESS), ("HTTPRoute", ROUTE)])
@pytest.mark.parametrize("name", ["api", "mlflow"])
def test_a_route_leads_to_its_service(helm: Helm, kind: str, values: str, name: str) -> None:
    manifests = helm.template(CHART, "--set", values.format(name=name))
    assert led_to(manifests, kind, f"fairlead-{name}") == "http"
    assert not [one for one in render(helm, "default") if one["kind"] == kind], "off by default"


@pytest.mark.parametrize(("kind", "values"), [("Ingress", INGRESS), ("HTTPRoute", ROUTE)])
def test_with_tls_a_route_leads_to_the_port_that_speaks_it(helm: Helm, kind: str, values: str) -> None:
    manifests = helm.template(CHART, "--set", values.format(name="api"), "--set", "api.tls.secretName=tls")
    assert led_to(manifests, kind, "fairlead-api") == "https"


def test_an_ingress_has_class_annotations_hosts_and_tls(helm: Helm) -> None:
    ingress = pick(render(helm, "production"), "Ingress", "fairlead-api")
    assert ingress["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"secretName": "fairlead-tls", "hosts": ["fairlead.example.org"]}]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["fairlead.example.org"]


def test_a_route_has_gateways_annotations_and_hostnames(helm: Helm) -> None:
    route = pick(render(helm, "mlflow-storage"), "HTTPRoute", "fairlead-mlflow")
    assert route["metadata"]["annotations"] == {"example.org/owner": "ml-platform"}
    assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
    assert route["spec"]["hostnames"] == ["mlflow.example.org"]


def test_mlflow_answers_the_hosts_of_its_routes_and_no_others(helm: Helm) -> None:
    assert "mlflow.example.org" in allowed_hosts(helm, "mlflow-storage")
    off = ROUTE.format(name="mlflow").replace("enabled=true", "enabled=false")
    for values, allowed in ((INGRESS.format(name="mlflow"), True), (ROUTE.format(name="mlflow"), True), (off, False)):
        (container,) = pick(helm.template(CHART, "--set", values), "Deployment", "fairlead-mlflow")["spec"]["template"][
            "spec"
        ]["containers"]
        (hosts,) = [one for one in container["args"] if one.startswith("--allowed-hosts=")]
        assert ("mlflow.example.org" in hosts) is allowed


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("api.ingress.enabled=true", "api.ingress.hosts must name the hosts, such as [api.example.org]"),
        ("mlflow.httpRoute.enabled=true", "mlflow.httpRoute.parentRefs must name the Gateway"),
        (
            GATEWAY.format(name="mlflow"),
            "mlflow.httpRoute.hostnames must name the hosts",
        ),
        (INGRESS.format(name="mlflow") + ",networkPolicy.enabled=true", "networkPolicy.mlflowFrom must name"),
        (INGRESS.format(name="mlflow") + ",production=true", "- mlflow.auth.enabled: without it whoever reaches"),
    ],
)
def test_half_a_route_is_refused(helm: Helm, values: str, said: str) -> None:
    assert said in helm.refused(CHART, "--set", values).stderr


def test_notes_name_the_hosts(helm: Helm) -> None:
    printed = notes(helm, "--set", INGRESS.format(name="api"), "--set", ROUTE.format(name="mlflow"))
    assert "Reach the API at api.example.org, or:" in printed
    assert "Look at runs and models in MLflow at mlflow.example.org, or:" in printed
